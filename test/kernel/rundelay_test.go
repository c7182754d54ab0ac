package kernel

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/plimsoll/plimsoll/pkg/cgroup"
	"github.com/plimsoll/plimsoll/pkg/usage"
)

func TestRunDelayIsWhatTasksWaitForACPU(t *testing.T) {
	tr := newTree(t)
	delays, err := cgroup.NewRunDelays(tr.Host, cgroup.DefaultMostTasks)
	if err != nil {
		t.Fatal(err)
	}
	defer delays.Close()
	if !delays.Supported() {
		withoutOption(t, "the run delay of tasks", "CONFIG_SCHED_INFO", "2.6.9")
	}
	tr.confine(lastCPU(t))
	group := tr.burstablePod() + "/" + containerID
	tr.make(group)
	pod := func() cgroup.Pod {
		groups, err := tr.Scan()
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range groups.Pods {
			if p.Path == tr.burstablePod() {
				return p
			}
		}
		t.Fatalf("no pod at %s among %+v", tr.burstablePod(), groups.Pods)
		return cgroup.Pod{}
	}()
	r := newReader(t, tr.Host)
	counter := func() usage.Reading {
		got := delays.Read(time.Now(), []cgroup.Pod{pod})
		if len(got) != 1 {
			t.Fatalf("%d readings of one pod", len(got))
		}
		return got[0].Micros
	}
	p := tr.start(group)
	if first := counter(); first.OK {
		t.Errorf("the first reading is %+v, want none", first)
	}
	// runnable is how many tasks ran or waited on average, over half a second of CPU time.
	runnable := func() float64 {
		counter()
		begin, delay, cpu := time.Now(), counter(), read(t, r, tr.burstablePod()).CPUMicros.Value
		var ran int64
		eventually(t, "the pod runs for half a second", func() bool {
			ran = read(t, r, tr.burstablePod()).CPUMicros.Value - cpu
			return ran > 500_000
		})
		after, elapsed := counter(), time.Since(begin)
		if !delay.OK || !after.OK {
			t.Fatalf("run delay %+v, then %+v", delay, after)
		}
		return float64(after.Value-delay.Value+ran) / float64(elapsed.Microseconds())
	}
	threads := func() float64 {
		file := "tasks"
		if tr.Mode == cgroup.V2 {
			file = "cgroup.threads"
		}
		return float64(len(strings.Fields(get(t, filepath.Join(tr.Dir("cpu", group), file)))))
	}
	asleep := func() float64 { // of a process that waits for a command
		begin, delay := time.Now(), counter()
		<-time.After(300 * time.Millisecond)
		return float64(counter().Value-delay.Value) / float64(time.Since(begin).Microseconds())
	}()
	// A thread that spins runs or waits, whatever else the CPU has to do, and none does both at once. The kernel
	// finds three quarters of it or more, and the runtime's own threads add to it on a busy CPU.
	p.tell("spin", 2)
	two := runnable()
	if asleep > two/2 {
		t.Errorf("of threads that sleep %.2f waited, %.2f when two spin", asleep, two)
	}
	if two < 1.2 || two > threads()*1.1 {
		t.Errorf("of %v threads, of which two spin, %.2f ran or waited", threads(), two)
	}
	if n := testing.AllocsPerRun(20, func() { counter() }); n > 1 { // the slice of one pod
		t.Errorf("%v allocations a reading", n)
	}
}
