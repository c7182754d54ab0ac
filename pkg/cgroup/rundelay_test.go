package cgroup

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/plimsoll/plimsoll/pkg/usage"
)

// delayTree is a made-up procfs and v2 hierarchy.
type delayTree struct {
	t    *testing.T
	host Host
	now  time.Time
}

func newDelayTree(t *testing.T) *delayTree {
	t.Helper()
	dir := t.TempDir()
	d := &delayTree{t: t, host: Host{ProcRoot: dir + "/proc", FSRoot: dir + "/cgroup", Mode: V2}, now: time.Unix(1000, 0)}
	d.task(1, 5)
	return d
}

func (d *delayTree) put(file, text string) {
	d.t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o750); err != nil {
		d.t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		d.t.Fatal(err)
	}
}

// task sets what a task has waited.
func (d *delayTree) task(id int, waitedMillis int64) {
	d.put(fmt.Sprintf("%s/%d/schedstat", d.host.ProcRoot, id), fmt.Sprintf("7000000 %d 3\n", waitedMillis*1_000_000))
}

// pod makes a pod of one container with these tasks.
func (d *delayTree) pod(name string, tasks ...int) Pod {
	d.put(d.host.Dir("cpu", "/"+name+"/c")+"/"+threadsFileV2, strings.Trim(strings.ReplaceAll(fmt.Sprintln(tasks), " ", "\n"), "[]\n")+"\n")
	return Pod{UID: name, Path: "/" + name, GroupID: 1, Containers: []Container{{ID: "c", Path: "/" + name + "/c", GroupID: 2}}}
}

// read lets a second go by and reads.
func (d *delayTree) read(r *RunDelays, pods ...Pod) map[string]usage.Reading {
	d.now = d.now.Add(time.Second)
	got := map[string]usage.Reading{}
	for _, x := range r.Read(d.now, pods) {
		got[pods[x.Pod].UID] = x.Micros
	}
	return got
}

func (d *delayTree) want(got map[string]usage.Reading, want map[string]usage.Reading) {
	d.t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		d.t.Errorf("run delays (-want +got):\n%s", diff)
	}
}

func newRunDelays(t *testing.T, h Host, mostTasks int) *RunDelays {
	t.Helper()
	r, err := NewRunDelays(h, mostTasks)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

func TestRunDelayIsWhatAPodsTasksWaitedSinceItsLastTurn(t *testing.T) {
	d := newDelayTree(t)
	d.task(10, 9000)
	d.task(11, 100)
	pod := d.pod("a", 10, 11)
	r := newRunDelays(t, d.host, 100)
	d.want(d.read(r, pod), map[string]usage.Reading{"a": {}}) // what was before is not known to be recent
	d.task(10, 9030)
	d.task(11, 120)
	d.want(d.read(r, pod), map[string]usage.Reading{"a": usage.Of(50_000)}) // 30 + 20 ms

	d.pod("a", 10, 12) // 11 has ended, 12 has begun
	d.task(10, 9031)
	d.task(12, 400)
	d.want(d.read(r, pod), map[string]usage.Reading{"a": usage.Of(451_000)}) // 50 + 1 + 400 ms
	d.task(12, 200)                                                          // another task by now
	d.pod("a", 10, 12, 13)
	d.task(13, 1500)                                                         // has waited for longer than the turn took: it came from elsewhere
	d.want(d.read(r, pod), map[string]usage.Reading{"a": usage.Of(651_000)}) // 451 + 200 ms
	d.task(13, 1501)
	if err := os.RemoveAll(d.host.ProcRoot + "/10"); err != nil { // ended after it was listed
		t.Fatal(err)
	}
	d.want(d.read(r, pod), map[string]usage.Reading{"a": usage.Of(652_000)})

	other := pod
	other.GroupID = 99 // made again under the same name
	d.want(d.read(r, other), map[string]usage.Reading{"a": {}})
	d.want(d.read(r), map[string]usage.Reading{})
	if len(r.pods) != 0 {
		t.Errorf("%d pods are remembered after all were gone", len(r.pods))
	}
}

func TestPodsTakeTurnsWithinTheBound(t *testing.T) {
	d := newDelayTree(t)
	var pods []Pod
	for i, name := range []string{"a", "b", "c", "d"} {
		d.task(20+2*i, 0)
		d.task(21+2*i, 0)
		pods = append(pods, d.pod(name, 20+2*i, 21+2*i))
	}
	r := newRunDelays(t, d.host, 7) // two pods of a list and two tasks
	d.want(d.read(r, pods...), map[string]usage.Reading{"a": {}, "b": {}})
	d.want(d.read(r, pods...), map[string]usage.Reading{"c": {}, "d": {}})
	d.task(20, 40)
	d.want(d.read(r, pods...), map[string]usage.Reading{"a": usage.Of(40_000), "b": usage.Of(0)})
	d.want(d.read(r, pods[2:]...), map[string]usage.Reading{"c": usage.Of(0), "d": usage.Of(0)})

	// One pod that is at the bound still has its turn, alone.
	r = newRunDelays(t, d.host, 2)
	d.want(d.read(r, pods...), map[string]usage.Reading{"a": {}})
	d.want(d.read(r, pods...), map[string]usage.Reading{"b": {}})
}

func TestARunDelayThatCannotBeToldIsMissing(t *testing.T) {
	d := newDelayTree(t)
	for _, id := range []int{10, 11, 12, 13, 14} {
		d.task(id, 0)
	}
	few, many := d.pod("few", 10), d.pod("many", 10, 11, 12, 13, 14)
	hidden, garbage := d.pod("hidden", 0), d.pod("garbage")
	d.put(d.host.Dir("cpu", "/garbage/c")+"/"+threadsFileV2, "12x\n")
	gone := Pod{UID: "gone", Path: "/gone", GroupID: 1, Containers: []Container{{Path: "/gone/c"}}}
	r := newRunDelays(t, d.host, 4)
	none := map[string]usage.Reading{"many": {}, "hidden": {}, "garbage": {}}
	d.want(d.read(r, many, hidden, garbage), none)
	d.want(d.read(r, many, hidden, garbage), none)
	d.read(r, few)
	d.want(d.read(r, few, many), map[string]usage.Reading{"few": usage.Of(0), "many": {}})
	d.want(d.read(r, gone), map[string]usage.Reading{"gone": {}})
	d.want(d.read(r, gone), map[string]usage.Reading{"gone": usage.Of(0)}) // no task, no wait

	d.pod("few", 10, 11, 12, 13, 14) // has grown beyond the bound, and shrinks again: the gap is not bridged
	d.want(d.read(r, few), map[string]usage.Reading{"few": {}})
	d.pod("few", 10)
	d.task(10, 900)
	d.want(d.read(r, few), map[string]usage.Reading{"few": {}})
	d.task(10, 901)
	d.want(d.read(r, few), map[string]usage.Reading{"few": usage.Of(1000)})
}

func TestAKernelThatDoesNotCountRunDelayHasNone(t *testing.T) {
	for name, text := range map[string]string{"no file": "", "all zeros": "0 0 0\n", "garbage": "x"} {
		d := newDelayTree(t)
		file := d.host.ProcRoot + "/1/schedstat"
		d.put(file, text)
		if text == "" {
			if err := os.Remove(file); err != nil {
				t.Fatal(err)
			}
		}
		r := newRunDelays(t, d.host, 10)
		if got := r.Read(d.now, []Pod{d.pod("a", 1)}); r.Supported() || len(got) != 0 {
			t.Errorf("%s: supported %v, %v", name, r.Supported(), got)
		}
	}
	if _, err := NewRunDelays(Host{ProcRoot: "/no/such/proc"}, 10); err == nil {
		t.Error("a procfs that is not there is no error")
	}
	if _, err := NewRunDelays(newDelayTree(t).host, 0); err == nil {
		t.Error("a bound of 0 tasks is no error")
	}
}

func TestReadingRunDelaysAllocatesNothing(t *testing.T) {
	d := newDelayTree(t)
	var pods []Pod
	for i := range 20 {
		d.task(100+i, 0)
		pods = append(pods, d.pod(fmt.Sprintf("p%02d", i), 100+i))
	}
	r := newRunDelays(t, d.host, 10)
	read := func() {
		d.now = d.now.Add(time.Second)
		r.Read(d.now, pods)
	}
	for range 20 {
		read()
	}
	if n := testing.AllocsPerRun(100, read); n != 0 {
		t.Errorf("%v allocations a reading, want 0", n)
	}
}
