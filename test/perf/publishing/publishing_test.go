package publishing

import (
	"testing"
	"time"

	"github.com/plimsoll/plimsoll/pkg/agent"
	"github.com/plimsoll/plimsoll/pkg/api/v1alpha1"
	"github.com/plimsoll/plimsoll/pkg/usage"
)

// readersLag is the time from a write to the moment at which readers see it.
const readersLag = time.Second

// outcome is what publishing a fleet's use came to.
type outcome struct {
	nodeSeconds, writes int
	// errorPermilleSeconds is the sum over nodes and seconds of the error of what readers see.
	errorPermilleSeconds int64
	// mostWrites is the largest number of writes in one second.
	mostWrites int
}

func (o outcome) meanErrorPercent() float64 {
	return float64(o.errorPermilleSeconds) / float64(o.nodeSeconds) / 10
}

func (o outcome) writesPerSecond(nodes int) float64 {
	return float64(o.writes) / float64(o.nodeSeconds) * float64(nodes)
}

// due decides for one node, once a second, whether to write; seen is what readers see of it at the latest.
type due func(now time.Time, told, is int64) bool

// run plays `nodes` nodes for some seconds: node i is machine i modulo their number, from an offset of
// its own on, so that the nodes do not move together.
func run(fleet []machine, nodes, length int, newNode func(node int, start time.Time) due) outcome {
	start := time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC)
	var o outcome
	writesAt := make([]int, length)
	lag := int(readersLag / time.Second)
	for node := range nodes {
		m := fleet[node%len(fleet)]
		offset := node / len(fleet) * 7919 % len(m)
		use := func(s int) int64 { return m[(offset+s)%len(m)] }
		decide := newNode(node, start)
		told := use(0)
		sees, pending, pendingSince := told, told, 0
		for s := range length {
			is := use(s)
			if decide(start.Add(time.Duration(s)*time.Second), told, is) {
				o.writes++
				writesAt[s]++
				sees = pendingOr(sees, pending, pendingSince, s, lag)
				told, pending, pendingSince = is, is, s
			}
			sees = pendingOr(sees, pending, pendingSince, s, lag)
			o.errorPermilleSeconds += max(sees-is, is-sees)
		}
		o.nodeSeconds += length
	}
	for _, n := range writesAt {
		o.mostWrites = max(o.mostWrites, n)
	}
	return o
}

// pendingOr is what readers see at second s: what was written at `since` once the lag has gone by.
func pendingOr(sees, pending int64, since, s, lag int) int64 {
	if s-since >= lag {
		return pending
	}
	return sees
}

// byRule writes as the agent does.
func byRule(r usage.PublishRule) func(int, time.Time) due {
	return func(node int, start time.Time) due {
		var p usage.Publishing
		// The nodes did not start together, so their heartbeats are not due together.
		p.Wrote(start.Add(-time.Duration(node*37%120) * time.Second))
		return func(now time.Time, told, is int64) bool {
			if !p.Due(r, now, usage.ErrorPermille(told, is, 1000)) {
				return false
			}
			p.Wrote(now)
			return true
		}
	}
}

// fixedReport writes once in every interval, each node at a phase of its own.
func fixedReport(interval time.Duration) func(int, time.Time) due {
	every := int64(interval / time.Second)
	return func(node int, _ time.Time) due {
		return func(now time.Time, _, _ int64) bool { return (now.Unix()+int64(node)*37)%every == 0 }
	}
}

// compare runs the agent's default rule and a fixed 60 s report over the same nodes.
func compare(fleet []machine, nodes, length int) (ours, fixed outcome) {
	rule := agent.PublishRule(v1alpha1.DefaultAgentConfiguration().Publish)
	return run(fleet, nodes, length, byRule(rule)), run(fleet, nodes, length, fixedReport(time.Minute))
}

// TestPublishingCostsLessAndTellsMoreThanAFixedReport holds the default configuration to its promise on
// 400 nodes for 6 hours; the benchmark measures 5,000 for a day.
func TestPublishingCostsLessAndTellsMoreThanAFixedReport(t *testing.T) {
	ours, fixed := compare(machines(t, holding), 400, 6*3600)
	if ours.writes >= fixed.writes {
		t.Errorf("%d writes, want fewer than the fixed report's %d", ours.writes, fixed.writes)
	}
	if got, limit := ours.meanErrorPercent(), fixed.meanErrorPercent()/5; got > limit {
		t.Errorf("mean error %.3f %% of a node's CPU, want at most a fifth of the fixed report's: %.3f %%", got, limit)
	}
}

// TestThePriceHoldsRestlessNodesToTheAverage: on the straight lines between rows, or around them, use never rests, so writes
// must not exceed the fixed report's there either.
func TestThePriceHoldsRestlessNodesToTheAverage(t *testing.T) {
	for _, f := range []fill{sloping, wandering} {
		ours, fixed := compare(machines(t, f), 400, 6*3600)
		if ours.writes >= fixed.writes {
			t.Errorf("%s: %d writes, want fewer than the fixed report's %d", f, ours.writes, fixed.writes)
		}
		if ours.meanErrorPercent() >= fixed.meanErrorPercent() {
			t.Errorf("%s: mean error %.3f %%, want less than the fixed report's %.3f %%", f, ours.meanErrorPercent(), fixed.meanErrorPercent())
		}
	}
}

// BenchmarkPublishing plays 5,000 nodes for a day: go test -run '^$' -bench Publishing -benchtime 1x ./test/perf/publishing
func BenchmarkPublishing(b *testing.B) {
	const nodes, length = 5000, 24 * 3600
	for _, f := range []fill{holding, sloping, wandering} {
		b.Run(string(f), func(b *testing.B) {
			fleet := machines(b, f)
			for b.Loop() {
				ours, fixed := compare(fleet, nodes, length)
				b.ReportMetric(ours.writesPerSecond(nodes), "writes/s")
				b.ReportMetric(fixed.writesPerSecond(nodes), "fixed-writes/s")
				b.ReportMetric(float64(ours.mostWrites), "most-writes/s")
				b.ReportMetric(ours.meanErrorPercent(), "error-%")
				b.ReportMetric(fixed.meanErrorPercent(), "fixed-error-%")
				b.ReportMetric(ours.meanErrorPercent()/fixed.meanErrorPercent(), "error-ratio")
			}
		})
	}
}
