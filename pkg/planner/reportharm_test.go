package planner

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestHarmIsToldBesideTheGain(t *testing.T) {
	b := NewReportBuilder(twoDays())
	b.AddNode(aNode("a", 10, 5))
	n := aNode("b", 10, 5)
	n.Pool = "q"
	for i := 10; i < 48; i++ { // the agent started anew: 1540 s before, 2 s soon after, and 60 s an hour again
		n.ThrottledSeconds[i] = float64(i-10)*60 + 2
	}
	b.AddNode(n)
	r := b.Report()
	// 47 hours between 48 readings; of b 9 x 60 s before the restart, 2 s after it and 37 x 60 s.
	want := Harm{PressureMinutes: new(0.0), ThrottledPodMinutes: new(47 + (9*60+2+37*60)/60.0), BatchThrottledMinutes: new(47.0), Evictions: new(94.0)}
	if diff := cmp.Diff(want, r.Fleet.Harm); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := r.Pools[0].Harm; *got.ThrottledPodMinutes != 47 || *got.Evictions != 47 {
		t.Errorf("pool p: %v minutes, %v evictions, want 47 and 47", *got.ThrottledPodMinutes, *got.Evictions)
	}
	if len(r.Remarks) != 0 {
		t.Errorf("remarks %q, want none", r.Remarks)
	}
}

// A period for which nothing was recorded is told of, and is not one without harm.
func TestHarmThatIsNotKnownIsNotNone(t *testing.T) {
	n := aNode("old", 10, 5)
	n.Pressure, n.ThrottledSeconds, n.BatchThrottledSeconds, n.Evictions = nil, nil, nil, nil
	b := NewReportBuilder(twoDays())
	b.AddNode(n)
	r := b.Report()
	if diff := cmp.Diff(Harm{}, r.Fleet.Harm); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for _, want := range []string{"the pressure on services of 1 nodes", "how long limits stopped services on 1 nodes", "how long the quota of batch stopped it on 1 nodes", "the evictions of 1 nodes"} {
		if !slices.ContainsFunc(r.Remarks, func(s string) bool { return strings.HasPrefix(s, want) && strings.HasSuffix(s, ": old (0.0 %)") }) {
			t.Errorf("remarks %q, want one that begins with %q and names the node", r.Remarks, want)
		}
	}

	// What grew in a gap is known from the reading after it; what was before the first reading is not.
	n = aNode("half", 10, 5)
	for i := range 48 {
		if i < 12 || i >= 20 && i < 32 {
			n.Evictions[i], n.Pressure[i] = nan, nan
		}
	}
	n.Pressure[40] = 0.5
	n.BatchThrottledSeconds = with(slices.Repeat([]float64{nan}, 48), 30, 7) // one reading tells of no time
	b.AddNode(n)
	r = b.Report()
	half := r.Nodes[0]
	if *half.Evictions != 35 || *half.PressureMinutes != 60 || half.BatchThrottledMinutes != nil {
		t.Errorf("%v evictions, %v minutes, batch %v, want 35, 60 and not known", *half.Evictions, *half.PressureMinutes, half.BatchThrottledMinutes)
	}
	if *r.Fleet.Evictions != 35 {
		t.Errorf("the fleet has %v evictions, want those that are known", *r.Fleet.Evictions)
	}
	if all := strings.Join(r.Remarks, "\n"); !strings.Contains(all, "the evictions of 2 nodes are not in the history all the time") || !strings.Contains(all, "half (50.0 %), old (0.0 %)") {
		t.Errorf("remarks: %s", all)
	}
}
