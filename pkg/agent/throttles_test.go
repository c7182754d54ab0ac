package agent

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/plimsoll/plimsoll/pkg/api/v1alpha1"
)

func TestHowLongLimitsStoppedPodsAndBatchIsAddedUp(t *testing.T) {
	const group, container = "kubepods/burstable/podone", "kubepods/burstable/podone/5f3e9a1c0b7d"
	tree := newTree(t)
	tree.group(container)
	stat := func(g string, stopped time.Duration, periods, throttledPeriods int) {
		tree.write(tree.host.FSRoot, g+"/cpu.stat", fmt.Sprintf("usage_usec 1\nnr_periods %d\nnr_throttled %d\nthrottled_usec %d\n", periods, throttledPeriods, stopped.Microseconds()))
	}
	l := newTestLoop(t, tree, v1alpha1.ModeObserve)
	l.sensor.pods = &burster{}
	seconds := 0
	run := func(n int) *v1alpha1.HarmTotals {
		for range n {
			seconds++
			tree.proc("stat", fmt.Sprintf("cpu  %d 0 0 900 0 0 0 0 0 0\ncpu0 %d 0 0 900 0 0 0 0 0 0\n", seconds, seconds))
			l.tick(at.Add(time.Duration(seconds) * time.Second))
		}
		return l.sensor.throttles.totals(l.actor.evicted)
	}
	want := func(what string, got *v1alpha1.HarmTotals, online, batch *int64) {
		t.Helper()
		if diff := cmp.Diff(&v1alpha1.HarmTotals{ThrottledMilliseconds: online, BatchThrottledMilliseconds: batch}, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}
	want("groups whose counters are not there", run(2), nil, nil)

	stat(group, time.Hour, 1000, 500)
	stat(container, time.Hour, 1000, 500)
	stat("kubepods/plimsoll-batch", time.Hour, 1000, 500)
	want("what was before the agent is not counted", run(2*throttleTurns), new(int64(0)), new(int64(0)))

	// Of the 100 periods of 10 s the container was stopped in 20, on several CPUs at a time: 8 s of CPU time, at most
	// 2 s of the time that went by. The pod's own limit stopped it too, at the same time.
	stat(container, time.Hour+8*time.Second, 1100, 520)
	stat(group, time.Hour+1500*time.Millisecond, 1100, 515)
	// The branch's quota stopped it for 0.4 s of the next second, in each of its periods.
	stat("kubepods/plimsoll-batch", time.Hour+400*time.Millisecond, 1010, 510)
	want("both", run(2*throttleTurns), new(int64(2000)), new(int64(400)))

	tree.write(tree.host.FSRoot, container+"/cpu.stat", "usage_usec 1\n")
	want("a container whose counter is gone makes the sum one that is not known", run(throttleTurns), nil, new(int64(400)))
	stat(container, time.Hour+9*time.Second, 2000, 1420)
	want("and it goes on from what is read again", run(throttleTurns), new(int64(2000)), new(int64(400)))
}

func TestWhatIsNotKnownOfHarmIsNotShown(t *testing.T) {
	m := newMetrics()
	m.show(&v1alpha1.NodeUtilizationStatus{Harm: &v1alpha1.HarmTotals{ThrottledMilliseconds: new(int64(1500)), Evictions: 2}})
	want := `# HELP plimsoll_evictions_total Batch pods that the API server evicted for the agent.
# TYPE plimsoll_evictions_total counter
plimsoll_evictions_total 2
# HELP plimsoll_throttled_seconds_total Time in which CPU limits stopped latency-sensitive pods (their own limits; summed over pods), and in which the quota of all batch work stopped it.
# TYPE plimsoll_throttled_seconds_total counter
plimsoll_throttled_seconds_total{class="LatencySensitive"} 1.5
`
	if err := testutil.GatherAndCompare(m, strings.NewReader(want), "plimsoll_throttled_seconds_total", "plimsoll_evictions_total"); err != nil {
		t.Error(err)
	}
}
