package probe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/plimsoll/plimsoll/pkg/cgroup"
	"github.com/plimsoll/plimsoll/pkg/qos"
)

// The test of cpu.idle: spinners threads that never sleep in one group, and beside it a task that sleeps
// and should run at once when it wakes, all on one CPU. With one spinner the balancing of wake-ups could hide
// what the flag does.
const (
	spinners = 4
	armTime  = 250 * time.Millisecond
	// attempts is how often it is tried on a node that is too busy to tell.
	attempts = 3
	// shieldPatience bounds it all; on an idle CPU it takes a second.
	shieldPatience = 8 * time.Second
)

// arms are the median wake-up latencies of the three arms, in microseconds.
type arms struct {
	alone, equal, idle int64
	// gotPermille is how much of the CPU the scratch group got in the last arm, in which it could have used
	// all of it: the rest others had.
	gotPermille int64
}

// A wake-up takes some ten microseconds, on an emulated machine a few hundred; waiting for a spinner to be
// done with its slice takes one to a few milliseconds.
const (
	quietMicros  = 700
	betterFactor = 3
	// leastPermille is how much of the CPU must have been ours for a bad latency to be the spinners' doing.
	leastPermille = 900
)

// verdict says what the three medians mean.
func (a arms) verdict() (State, string) {
	medians := fmt.Sprintf("median wake-up %d us alone, %d us beside %d spinners of equal weight, %d us when they are idle", a.alone, a.equal, spinners, a.idle)
	switch {
	case a.idle <= quietMicros, a.equal > betterFactor*a.idle:
		return Works, medians
	case a.alone > quietMicros, a.gotPermille < leastPermille:
		return Unknown, fmt.Sprintf("%s; others had %d per mille of the CPU meanwhile: the node is too busy to tell", medians, 1000-a.gotPermille)
	default:
		return Fails, medians + ": the flag does not make a waking task run at once on this kernel"
	}
}

// shields tests whether cpu.idle really shields a waking task. The scratch group itself is idle meanwhile.
func (s *scratch) shields(ctx context.Context, task []string, knobs []Result) Result {
	r := Result{Name: FeatureShields, State: Unknown}
	for _, k := range knobs {
		if k.Name == string(qos.CPUIdle) && k.State != Works {
			r.State, r.Detail = k.State, k.Detail
			return r
		}
	}
	if len(task) == 0 {
		r.Detail = "no program to run tasks with"
		return r
	}
	ctx, cancel := context.WithTimeout(ctx, shieldPatience)
	defer cancel()
	for range attempts {
		measured, err := s.measure(ctx, task)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			r.Detail = "the node is too busy to tell: a task in an idle group got next to no CPU"
			return r
		}
		if err != nil {
			r.Detail = err.Error()
			return r
		}
		if r.State, r.Detail = measured.verdict(); r.State != Unknown {
			return r
		}
	}
	return r
}

func (s *scratch) measure(ctx context.Context, task []string) (a arms, err error) {
	cpu, err := s.idlestCPU()
	if err != nil {
		return a, err
	}
	if err := s.enable(); err != nil {
		return a, err
	}
	for _, group := range []string{s.online, s.batch} {
		if err := s.make(group); err != nil && !errors.Is(err, unix.EEXIST) {
			return a, err
		}
	}
	idle := func(group, flag string) error {
		return writeFile(filepath.Join(s.host.Dir("cpu", group), "cpu.idle"), flag)
	}
	if err := idle(s.group, "1"); err != nil {
		return a, err
	}
	defer func() { err = errors.Join(err, idle(s.group, "0"), s.removeArms()) }()

	reader := cgroup.NewReader(s.host)
	defer reader.Close()

	if a.alone, err = s.wake(ctx, task, cpu); err != nil {
		return a, err
	}
	batch, err := s.start(ctx, task, s.batch, taskSpin, cpu, spinners)
	if err != nil {
		return a, err
	}
	defer func() {
		// A task of an idle group may get no CPU, and needs some to end.
		err = errors.Join(err, idle(s.batch, "0"), idle(s.group, "0"), batch.end())
	}()
	if a.equal, err = s.wake(ctx, task, cpu); err != nil {
		return a, err
	}
	if err := idle(s.batch, "1"); err != nil {
		return a, err
	}
	used := func() int64 {
		sample, readErr := reader.Read(s.group)
		err = errors.Join(err, readErr)
		return sample.CPUMicros.Value
	}
	begin, before := time.Now(), used()
	if err != nil {
		return a, err
	}
	a.idle, err = s.wake(ctx, task, cpu)
	a.gotPermille = (used() - before) * 1000 / max(time.Since(begin).Microseconds(), 1)
	return a, err
}

// removeArms removes the two groups below the scratch group, for the next attempt.
func (s *scratch) removeArms() error {
	var errs []error
	for _, group := range []string{s.online, s.batch} {
		for _, h := range s.hierarchies {
			errs = append(errs, removeGroup(filepath.Join(h, group)))
		}
	}
	return errors.Join(errs...)
}

// wake measures one arm and returns the median latency in microseconds.
func (s *scratch) wake(ctx context.Context, task []string, cpu int) (int64, error) {
	p, err := s.start(ctx, task, s.online, taskWake, cpu, int(armTime/time.Millisecond))
	if err != nil {
		return 0, err
	}
	line, err := p.answer(ctx)
	err = errors.Join(err, p.end())
	if err != nil {
		return 0, err
	}
	median, err := strconv.ParseInt(line, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("a task of the probe answered %q: %w", line, err)
	}
	return median, nil
}

// process is a task of the probe in one of its groups.
type process struct {
	*os.Process
	stdin, stdout *os.File
}

// start starts a task, puts it into a group and lets it go.
func (s *scratch) start(ctx context.Context, task []string, group, kind string, cpu, number int) (p *process, err error) {
	childIn, stdin, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	stdout, childOut, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, childIn.Close(), stdin.Close())
	}
	args := append(append([]string{}, task...), kind, strconv.Itoa(cpu), strconv.Itoa(number))
	child, err := os.StartProcess(task[0], args, &os.ProcAttr{Files: []*os.File{childIn, childOut, os.Stderr}})
	_, _ = childIn.Close(), childOut.Close() // the child has its own
	p = &process{Process: child, stdin: stdin, stdout: stdout}
	if child == nil {
		return nil, errors.Join(fmt.Errorf("starting a task of the probe: %w", err), stdin.Close(), stdout.Close())
	}
	started := p
	defer func() {
		if err != nil {
			err = errors.Join(err, started.end())
		}
	}()
	for _, controller := range []string{"cpu", "cpuacct"} { // the latter counts; it may be a hierarchy of its own
		if err := writeFile(filepath.Join(s.host.Dir(controller, group), "cgroup.procs"), strconv.Itoa(child.Pid)); err != nil {
			return nil, fmt.Errorf("moving a task of the probe: %w", err)
		}
	}
	if _, err := io.WriteString(stdin, "go\n"); err != nil {
		return nil, fmt.Errorf("starting a task of the probe: %w", err)
	}
	line, err := p.answer(ctx)
	if err != nil {
		return nil, err
	}
	if line != ready {
		return nil, fmt.Errorf("a task of the probe answered %q instead of %q", line, ready)
	}
	return p, nil
}

// answer is the next line that a task prints.
func (p *process) answer(ctx context.Context) (string, error) {
	if deadline, ok := ctx.Deadline(); ok {
		if err := p.stdout.SetReadDeadline(deadline); err != nil {
			return "", fmt.Errorf("waiting for a task of the probe: %w", err)
		}
	}
	var line []byte
	for b := make([]byte, 1); ; {
		n, err := p.stdout.Read(b)
		if err != nil {
			return "", fmt.Errorf("waiting for a task of the probe: %w", err)
		}
		if n == 1 && b[0] == '\n' {
			return string(line), nil
		}
		line = append(line, b[:n]...)
	}
}

// end kills a task and waits for it.
func (p *process) end() error {
	err := p.Kill()
	if errors.Is(err, os.ErrProcessDone) {
		err = nil
	}
	_, waitErr := p.Wait()
	return errors.Join(err, waitErr, p.stdin.Close(), p.stdout.Close())
}

// idlestCPU is the CPU that had least to do for a moment.
func (s *scratch) idlestCPU() (int, error) {
	n, err := cgroup.NewNodeReader(s.host)
	if err != nil {
		return 0, err
	}
	defer n.Close()
	before, _, err := n.Read()
	if err != nil {
		return 0, err
	}
	time.Sleep(100 * time.Millisecond)
	after, _, err := n.Read()
	if err != nil {
		return 0, err
	}
	var mine unix.CPUSet
	if err := unix.SchedGetaffinity(0, &mine); err != nil {
		return 0, fmt.Errorf("finding a CPU: %w", err)
	}
	was := map[int]int64{}
	for _, c := range before.PerCPU {
		was[c.CPU] = c.IdleMicros.Value
	}
	best, most := -1, int64(-1)
	for _, c := range after.PerCPU {
		if idle := c.IdleMicros.Value - was[c.CPU]; mine.IsSet(c.CPU) && idle > most {
			best, most = c.CPU, idle
		}
	}
	if best < 0 {
		return 0, errors.New("finding a CPU: this process may use none that is online")
	}
	return best, nil
}
