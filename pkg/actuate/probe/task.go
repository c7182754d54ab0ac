package probe

import (
	"bufio"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// What a task of the probe can be told to do.
const (
	taskSpin = "spin"
	taskWake = "wake"
	ready    = "ready"
)

// taskLifetime is the most that a spinning task lives, should nobody end it.
const taskLifetime = 5 * time.Second

// Task is what a program does that the probe has started: args are the kind of task, the CPU to run on and
// a number. It waits to be moved into its group first, and ends with its input.
func Task(args []string, in io.Reader, out io.Writer) error {
	if len(args) != 3 {
		return fmt.Errorf("a task of the probe needs a kind, a CPU and a number, not %q", args)
	}
	cpu, err := strconv.Atoi(args[1])
	if err != nil {
		return fmt.Errorf("the CPU of a task: %w", err)
	}
	number, err := strconv.Atoi(args[2])
	if err != nil {
		return fmt.Errorf("the number of a task: %w", err)
	}
	if _, err := bufio.NewReader(in).ReadString('\n'); err != nil {
		return fmt.Errorf("waiting for the word to go: %w", err)
	}
	switch args[0] {
	case taskSpin:
		return spin(cpu, number, out)
	case taskWake:
		return wake(cpu, time.Duration(number)*time.Millisecond, out)
	default:
		return fmt.Errorf("no task of the probe is called %q", args[0])
	}
}

func pin(cpu int) error {
	runtime.LockOSThread()
	var set unix.CPUSet
	set.Set(cpu)
	if err := unix.SchedSetaffinity(0, &set); err != nil {
		return fmt.Errorf("running on CPU %d only: %w", cpu, err)
	}
	return nil
}

// spin keeps threads busy.
func spin(cpu, threads int, out io.Writer) error {
	runtime.GOMAXPROCS(threads + 1)
	started, end := make(chan error, threads), time.Now().Add(taskLifetime)
	ended := make(chan struct{}, threads)
	for range threads {
		go func() {
			err := pin(cpu)
			started <- err
			for err == nil && time.Now().Before(end) {
			}
			ended <- struct{}{}
		}()
	}
	for range threads {
		if err := <-started; err != nil {
			return err
		}
	}
	if _, err := fmt.Fprintln(out, ready); err != nil {
		return fmt.Errorf("telling that the task runs: %w", err)
	}
	for range threads {
		<-ended
	}
	return nil
}

// wake sleeps and wakes for a time and prints the median of how much too late, in microseconds.
func wake(cpu int, howLong time.Duration, out io.Writer) error {
	if err := pin(cpu); err != nil {
		return err
	}
	if err := unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0); err != nil { // nanosecond: the default is 50 us
		return fmt.Errorf("asking for exact timers: %w", err)
	}
	if _, err := fmt.Fprintln(out, ready); err != nil {
		return fmt.Errorf("telling that the task runs: %w", err)
	}
	const nap = 2 * time.Millisecond
	var late []time.Duration
	for begin := time.Now(); time.Since(begin) < howLong || len(late) < 5; {
		at := time.Now()
		ts := unix.NsecToTimespec(int64(nap))
		if err := unix.ClockNanosleep(unix.CLOCK_MONOTONIC, 0, &ts, nil); err != nil && err != unix.EINTR {
			return fmt.Errorf("sleeping: %w", err)
		}
		late = append(late, time.Since(at)-nap)
	}
	slices.Sort(late)
	if _, err := fmt.Fprintln(out, late[len(late)/2].Microseconds()); err != nil {
		return fmt.Errorf("telling the median: %w", err)
	}
	return nil
}
