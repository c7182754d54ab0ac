package kernel

import (
	"cmp"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/plimsoll/plimsoll/pkg/cgroup"
)

// oneCore is a service and batch work on the threads of one core.
type oneCore struct {
	*apart
	group          string // of the batch container
	reader         *cgroup.Reader
	service, batch *process
}

// worked is for how many nanoseconds a process's threads ran, and waited for a CPU, without the Go runtime's
// watchdog: it is the first thread beside the main one, sleeps for moments so short that an emulated CPU is taken up by them, and
// runs beside its own process as it may.
func (c oneCore) worked(p *process) (ran, waited int64) {
	t := c.tr.t
	t.Helper()
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", p.pid))
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(tasks, func(a, b string) int { return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b)) })
	for i, file := range tasks {
		var r, w int64
		if _, err := fmt.Sscan(get(t, file), &r, &w); err != nil {
			t.Fatal(err)
		}
		if i != 1 {
			ran, waited = ran+r, waited+w
		}
	}
	return ran, waited
}

// forcedIdle is for how many microseconds a thread of a core was left idle for want of a task with the right cookie.
func (c oneCore) forcedIdle() (micros int64) {
	t := c.tr.t
	t.Helper()
	for line := range strings.Lines(get(t, c.tr.Dir("cpu", c.tr.Kubepods)+"/cpu.stat")) {
		if n, ok := strings.CutPrefix(line, "core_sched.force_idle_usec "); ok {
			if _, err := fmt.Sscan(n, &micros); err != nil {
				t.Fatal(err)
			}
		}
	}
	return micros
}

// together is how much of the time a service that wants to run ran, batch beside it, and one of the core's threads was
// left idle. Service and batch together much more than 1 has only who runs at the same time.
func (c oneCore) together(what string) (service, batch, idle float64) {
	t := c.tr.t
	t.Helper()
	serviceBefore, _ := c.worked(c.service)
	batchBefore, _ := c.worked(c.batch)
	idleBefore, began := c.forcedIdle(), time.Now()
	c.service.tell("burn", 500_000)
	elapsed := float64(time.Since(began).Nanoseconds())
	serviceAfter, _ := c.worked(c.service)
	batchAfter, _ := c.worked(c.batch)
	service, batch = float64(serviceAfter-serviceBefore)/elapsed, float64(batchAfter-batchBefore)/elapsed
	idle = float64(c.forcedIdle()-idleBefore) * 1000 / elapsed
	t.Logf("%s: the service runs in %.2f of the time, batch in %.2f; a thread is left idle in %.2f", what, service, batch, idle)
	return service, batch, idle
}

// shares fails the test where service and batch do not run at the same time. In one of some windows is enough: a fair
// scheduler may put both on one thread and the service's runtime on the other.
func (c oneCore) shares(what string) {
	c.tr.t.Helper()
	for range 8 {
		s, b, idle := c.together(what)
		if idle > 0.02 {
			c.tr.t.Errorf("%s: a thread is left idle in %.2f of the time", what, idle)
		}
		if s+b > together {
			return
		}
	}
	c.tr.t.Errorf("%s: the service and batch never run at the same time", what)
}

// together is what service and batch have at most of a core that they do not share at the same time, and at least of one that they
// do: 1 and 2, but that a guest's other CPU takes a moment to stop what it runs.
const together = 1.4

// threadsOfBatch is how many threads batch has while the service sleeps.
func (c oneCore) threadsOfBatch() float64 {
	t := c.tr.t
	t.Helper()
	const micros = 1_000_000
	before, began := read(t, c.reader, c.group).CPUMicros.Value, time.Now()
	used := int64(0)
	eventually(t, "batch runs", func() bool {
		used = read(t, c.reader, c.group).CPUMicros.Value - before
		return used > micros
	})
	got := float64(used) / float64(time.Since(began).Microseconds())
	t.Logf("while the service sleeps batch has %.3f threads", got)
	return got
}

// wakes is how long the service waits for a CPU, on average, when it wakes up to run for a millisecond.
func (c oneCore) wakes(what string) {
	t := c.tr.t
	t.Helper()
	const times = 200
	_, before := c.worked(c.service)
	for range times {
		c.service.tell("burn", 1000)
	}
	_, after := c.worked(c.service)
	t.Logf("%s: a service that wakes up waits %d us", what, (after-before)/times/1000)
}
