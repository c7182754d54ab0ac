package agent

import (
	"fmt"
	"testing"
	"time"

	"github.com/plimsoll/plimsoll/pkg/actuate"
	"github.com/plimsoll/plimsoll/pkg/api/v1alpha1"
	"github.com/plimsoll/plimsoll/pkg/qos"
)

// What is remembered of outcomes and remarks goes with the groups that they are about.
func TestWhatIsKeptOfGroupsThatAreGoneIsDropped(t *testing.T) {
	l := newTestLoop(t, newTree(t), v1alpha1.ModeEnforce)
	made := ""
	step := func(s qos.State) qos.Plan {
		p := qos.Plan{}
		for _, g := range s.Groups {
			p.Changes = append(p.Changes, qos.Change{Group: g.Path, Knob: qos.CPUIdle, Value: "1", Reason: "test"})
			made = "a remark about " + g.Path
			p.Notes = append(p.Notes, made)
		}
		return p
	}
	l.actor.strategies = []running{{qos.Strategy{Name: "test", Knobs: []qos.Knob{qos.CPUIdle}, Step: step}, v1alpha1.ModeObserve}}
	noPod := func(string) string { return "" }
	for i := range 5000 {
		group := qos.Group{Path: fmt.Sprintf("/kubepods/plimsoll-batch/%d", i), Kind: qos.KindBatchContainer}
		s := qos.State{Now: at.Add(time.Duration(i) * 10 * time.Second), Groups: []qos.Group{group}}
		l.actor.act(s, noPod, func(actuate.Result) {})
		l.actor.forget(s)
		if n := len(l.actor.latest); n != 1 {
			t.Fatalf("outcomes of %d knobs are kept of one group", n)
		}
		if n := len(l.actor.notes); n > 360 { // an hour's
			t.Fatalf("%d remarks are kept after %d groups", n, i+1)
		}
	}
	if len(l.actor.notes) < 300 || l.actor.notes["test: "+made].IsZero() {
		t.Errorf("%d remarks are kept, want those of an hour", len(l.actor.notes))
	}
	l.actor.forget(qos.State{Now: at.Add(100 * time.Hour)})
	if len(l.actor.latest) != 0 || len(l.actor.notes) != 0 {
		t.Errorf("%d outcomes and %d remarks are kept of no group", len(l.actor.latest), len(l.actor.notes))
	}
}
