package agent

import (
	"fmt"
	"testing"
	"time"

	"github.com/plimsoll/plimsoll/pkg/api/v1alpha1"
)

func TestPressureThatRisesMakesTheNextTickComeAtOnce(t *testing.T) {
	const pod, branch = "kubepods/burstable/podone", "kubepods/plimsoll-batch"
	tree := newTree(t)
	pressure := func(group, resource string, some, full int) {
		tree.write(tree.host.FSRoot, group+"/"+resource+".pressure", fmt.Sprintf("some avg10=0 total=%d\nfull avg10=0 total=%d\n", some, full))
	}
	for _, group := range []string{pod, branch} {
		for _, resource := range []string{"cpu", "memory", "io"} {
			pressure(group, resource, 0, 0)
		}
	}
	l := newTestLoop(t, tree, v1alpha1.ModeObserve)
	now := at
	l.tick(now)
	f := func(what string, after time.Duration, want bool) {
		t.Helper()
		now = now.Add(after)
		if got := l.fast(now); got != want {
			t.Errorf("%s: the next tick comes at once: %v, want %v", what, got, want)
		}
	}
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
