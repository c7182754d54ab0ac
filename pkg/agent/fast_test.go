package agent

import (
	"fmt"
	"testing"
	"time"

	"github.com/plimsoll/plimsoll/pkg/api/v1alpha1"
	"github.com/plimsoll/plimsoll/pkg/cgroup"
	"github.com/plimsoll/plimsoll/pkg/usage"
)

// fastLooks gives groups the pressure of a calm node, and returns what sets it and what goes a fast tick on.
func fastLooks(t *testing.T, tree aTree, groups ...string) (pressure func(group, resource string, some, full int), look func(what string, after time.Duration, want bool)) {
	t.Helper()
	pressure = func(group, resource string, some, full int) {
		tree.write(tree.host.FSRoot, group+"/"+resource+".pressure", fmt.Sprintf("some avg10=0 total=%d\nfull avg10=0 total=%d\n", some, full))
	}
	for _, group := range groups {
		for _, resource := range []string{"cpu", "memory", "io"} {
			pressure(group, resource, 0, 0)
		}
	}
	l := newTestLoop(t, tree, v1alpha1.ModeObserve)
	now := at
	l.tick(now)
	return pressure, func(what string, after time.Duration, want bool) {
		t.Helper()
		now = now.Add(after)
		if got := l.fast(now); got != want {
			t.Errorf("%s: the next tick comes at once: %v, want %v", what, got, want)
		}
	}
}

func TestPressureThatRisesMakesTheNextTickComeAtOnce(t *testing.T) {
	const pod, branch = "kubepods/burstable/podone", "kubepods/plimsoll-batch"
	tree := newTree(t)
	pressure, f := fastLooks(t, tree, pod, branch)
	f("the first fast tick has nothing to compare with", fastTick, false)
	f("nothing happened", fastTick, false)
	pressure(pod, "cpu", 20_000, 0)
	f("a fifth of the time", fastTick, false) // 20 of 100 ms, 250 per mille are 25 ms
	pressure(pod, "cpu", 50_000, 0)
	f("more than a quarter of it", fastTick, true) // 30 of 100 ms
	pressure(pod, "cpu", 100_000, 0)
	f("it lasts", fastTick, false)
	f("it ends", fastTick, false)
	pressure(pod, "memory", 90_000, 0)
	f("it is back too soon", fastTick, false)
	f("it ends again", 3*fastTick, false)
	pressure(pod, "io", 0, 90_000)
	f("another resource, later", fastTick, true)
	f("it ends once more", 3*fastTick, false)
	pressure(branch, "cpu", 900_000, 0)
	f("batch may wait", fastTick, false)
	pressure(pod, "cpu", 5_000_000, 0)
	f("after a gap it cannot tell", time.Minute, false)
}

// What the agent saves: a wait that the pod's own counter tells of is not seen until the tier's has moved.
func TestPodsAreLookedAtWhereTasksOfTheirTierWaited(t *testing.T) {
	const tier, pod = "kubepods/burstable", "kubepods/burstable/podone"
	tree := newTree(t)
	tree.group("/" + tier)
	pressure, f := fastLooks(t, tree, "kubepods", tier, pod)
	f("the first fast tick reads all", fastTick, false)
	pressure(pod, "cpu", 90_000, 0)
	f("nobody in the tier waited", fastTick, false)
	pressure("kubepods", "cpu", 90_000, 0)
	f("somebody above it did: that alone is a rise", fastTick, true)
	f("the tier's counter is the one that counts", 5*fastTick, false)
	pressure(tier, "memory", 1, 0)
	f("tasks of the tier waited, for something else", fastTick, false)
	pressure(tier, "cpu", 1, 0)
	f("for CPU", fastTick, true)
	pressure(pod, "io", 0, 90_000)
	f("nobody in the tier waited for a disk", 5*fastTick, false)
	pressure(tier, "io", 1, 0) // some of its tasks; all of the pod's
	f("somebody did", fastTick, true)
}

func TestWhatWasReadInAFastTickIsNotReadAgain(t *testing.T) {
	sample := usage.GroupSample{Key: usage.GroupKey{Path: "/g", ID: 7}, CPUSomeMicros: usage.Of(5)}
	f := func(name string, already map[string]usage.GroupSample, asked, want cgroup.Counters, cpu usage.Reading) {
		t.Helper()
		var got cgroup.Counters
		w := pressureWatch{read: already}
		s, err := w.sample("/g", asked, func(_ string, counters cgroup.Counters) (usage.GroupSample, error) {
			got = counters
			return usage.GroupSample{Key: sample.Key}, nil
		})
		if err != nil || got != want || s.CPUSomeMicros != cpu {
			t.Errorf("%s: counters %b are read, want %b; CPU pressure %v, want %v; %v", name, got, want, s.CPUSomeMicros, cpu, err)
		}
	}
	before, another := map[string]usage.GroupSample{"/g": sample}, map[string]usage.GroupSample{"/g": {Key: usage.GroupKey{Path: "/g", ID: 6}, CPUSomeMicros: usage.Of(5)}}
	f("nothing was read", nil, cgroup.Pressure, cgroup.Pressure, usage.Reading{})
	f("CPU pressure was", before, cgroup.Pressure, cgroup.MemoryPressure|cgroup.IOPressure, usage.Of(5))
	f("and nothing else is asked for", before, cgroup.CPUPressure, 0, usage.Of(5))
	f("another group was there", another, cgroup.Pressure, cgroup.MemoryPressure|cgroup.IOPressure, usage.Reading{})
}
