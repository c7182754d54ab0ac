package kernel

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/plimsoll/plimsoll/pkg/actuate/probe"
	"github.com/plimsoll/plimsoll/pkg/cgroup"
)

// processVariable makes this test binary a process that does what it is told, line by line.
const processVariable = "PLIMSOLL_TEST_PROCESS"

func TestMain(m *testing.M) {
	if os.Getenv(processVariable) != "" {
		obey(os.Stdin, os.Stdout)
		return
	}
	if arguments := os.Getenv(plannerVariable); arguments != "" {
		if err := planForEver(arguments, os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, "random plans:", err)
			os.Exit(1)
		}
		return
	}
	if len(os.Args) > 1 && os.Args[1] == probeTask {
		if err := probe.Task(os.Args[2:], os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, "a task of the probe:", err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// obey answers each command with a line, and ends with its input, so that no process outlives its test.
func obey(commands io.Reader, answers io.Writer) {
	fmt.Fprintln(answers, "ready")
	var held [][]byte
	var files []*os.File
	var streamed atomic.Int64
	for lines := bufio.NewScanner(commands); lines.Scan(); {
		verb, argument, _ := strings.Cut(lines.Text(), " ")
		n, _ := strconv.Atoi(argument)
		var err error
		answer := usedMicros
		switch verb {
		case "burn": // this much more CPU time of our own, in microseconds
			burn(int64(n))
		case "cookie": // of a thread
			var cookie uint64
			cookie, err = cgroup.Cookie(n)
			answer = func() int64 { return int64(cookie) }
		case "look": // so many times
			answer = func() int64 { return lateLooks(n) }
		case "procs": // at most so many threads of ours run Go code at once
			runtime.GOMAXPROCS(n)
		case "spin": // threads, for ever
			runtime.GOMAXPROCS(n + 1)
			for range n {
				go func() {
					for {
						spin(1 << 30)
					}
				}()
			}
		case "hold": // bytes of memory
			var b []byte
			if b, err = unix.Mmap(-1, 0, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE|unix.MAP_POPULATE); err == nil {
				held = append(held, b)
			}
		case "read": // readBytes of a file, which stay in the page cache; OFFSET NAME, or NAME alone
			var f *os.File
			if f, err = readFile(argument); err == nil {
				files = append(files, f)
			}
		case "stream": // from a file, past the page cache, for ever: readers and its name
			err = stream(argument, &streamed)
		case "streamed": // how many blocks were read so far
			answer = streamed.Load
		default:
			err = fmt.Errorf("no such command")
		}
		if err != nil {
			fmt.Fprintf(answers, "failed: %s: %v\n", lines.Text(), err)
			continue
		}
		fmt.Fprintln(answers, answer())
	}
	runtime.KeepAlive(held)
	runtime.KeepAlive(files)
}

// readBytes is how much of a file a process reads.
const readBytes = 32 << 20

// readFile gives the file still open: the pages of a block device go with the last who has it open.
func readFile(argument string) (*os.File, error) {
	offset := int64(0)
	name := argument
	if number, rest, ok := strings.Cut(argument, " "); ok {
		var err error
		if offset, err = strconv.ParseInt(number, 10, 64); err != nil {
			return nil, err
		}
		name = rest
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	_, err = io.Copy(io.Discard, struct{ io.Reader }{io.NewSectionReader(f, offset, readBytes)})
	return f, err
}

func spin(rounds int) {
	for x := range rounds {
		_ = x
	}
}

// burn uses this much more CPU time, in microseconds.
func burn(micros int64) {
	for until := usedMicros() + micros; usedMicros() < until; {
		spin(10_000)
	}
}

// usedMicros is the CPU time of this process so far.
func usedMicros() int64 {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		panic(err) //nolint:forbidigo // the kernel never refuses this one
	}
	return (u.Utime.Nano() + u.Stime.Nano()) / 1000
}

// process is one that runs in a group.
type process struct {
	t       testing.TB
	pid     int
	input   io.WriteCloser
	answers *bufio.Reader
}

// start runs a process in a group from its first instruction (v2), or at least from its first command.
func (tr *tree) start(group string) *process {
	t := tr.t
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command(self)
	c.Env = append(os.Environ(), processVariable+"=1")
	c.Stderr = os.Stderr
	input, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	output, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if tr.Mode == cgroup.V2 {
		dir, err := os.Open(tr.Dir("", group))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = dir.Close() }() // read-only
		c.SysProcAttr = &unix.SysProcAttr{UseCgroupFD: true, CgroupFD: int(dir.Fd())}
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	end := sync.OnceFunc(func() {
		tr.wake()
		_ = c.Process.Kill() // it may have ended
		_ = c.Wait()         // killed: there is no other outcome
	})
	tr.ends = append(tr.ends, end)
	t.Cleanup(end)
	p := &process{t: t, pid: c.Process.Pid, input: input, answers: bufio.NewReader(output)}
	if tr.Mode != cgroup.V2 {
		for _, h := range tr.hierarchies {
			put(t, filepath.Join(h, group, "cgroup.procs"), strconv.Itoa(p.pid))
		}
	}
	if got := p.answer(); got != "ready" {
		t.Fatalf("the process says %q, want ready", got)
	}
	return p
}

// endAll ends every process that was started so far, and takes what they held from their groups.
func (tr *tree) endAll() {
	for _, end := range tr.ends {
		end()
	}
	tr.ends = nil
}

func (p *process) answer() string {
	p.t.Helper()
	line := make(chan string, 1)
	go func() {
		s, err := p.answers.ReadString('\n')
		if err != nil {
			s = fmt.Sprintf("failed: reading its answer: %v", err)
		}
		line <- strings.TrimSpace(s)
	}()
	select {
	case s := <-line:
		return s
	case <-time.After(2 * time.Minute):
		p.t.Fatalf("process %d gave no answer in 2 minutes", p.pid)
		return ""
	}
}

// order gives a command and does not wait: the kernel may not let the process do it.
func (p *process) order(verb string, argument any) {
	p.t.Helper()
	if _, err := fmt.Fprintln(p.input, verb, argument); err != nil {
		p.t.Fatal(err)
	}
}

// done waits for an order to be carried out.
func (p *process) done() {
	p.t.Helper()
	if answer := p.answer(); strings.HasPrefix(answer, "failed") {
		p.t.Fatalf("a process says %q", answer)
	}
}

// tell gives a command and returns, when it is done, the CPU time in microseconds that the process has used so
// far, or what the command asks for.
func (p *process) tell(verb string, argument any) (answered int64) {
	p.t.Helper()
	if _, err := fmt.Fprintln(p.input, verb, argument); err != nil {
		p.t.Fatal(err)
	}
	answer := p.answer()
	answered, err := strconv.ParseInt(answer, 10, 64)
	if err != nil {
		p.t.Fatalf("telling a process to %s %v: %s", verb, argument, answer)
	}
	return answered
}
