package qos

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestTwoClaimantsOfOneKnobAreNamed(t *testing.T) {
	a := Strategy{Name: "first", Knobs: []Knob{CPUIdle}}
	b := Strategy{Name: "second", Knobs: []Knob{"cpu.quota", CPUIdle}}
	if err := CheckOwners([]Strategy{a}); err != nil {
		t.Errorf("one claimant: %v", err)
	}
	err := CheckOwners([]Strategy{a, b})
	if err == nil {
		t.Fatal("two claimants of cpu.idle: no error")
	}
	for _, want := range []string{"cpu.idle", "first", "second"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error %q does not name %q", err, want)
		}
	}
}

func TestAKnobMayHaveAnotherOwnerOnAnotherKindOfGroup(t *testing.T) {
	branch := Strategy{Name: "branch", Knobs: []Knob{CPUQuota}, Kinds: []Kind{KindBatchBranch}}
	pods := Strategy{Name: "pods", Knobs: []Knob{CPUQuota}, Kinds: []Kind{KindPod, KindContainer}}
	all := Strategy{Name: "all", Knobs: []Knob{CPUQuota}}
	containers := Strategy{Name: "containers", Knobs: []Knob{CPUQuota}, Kinds: []Kind{KindContainer}}
	for name, tc := range map[string]struct {
		strategies []Strategy
		conflict   bool
	}{
		"kinds apart":                    {[]Strategy{branch, pods}, false},
		"a kind in common":               {[]Strategy{pods, containers}, true},
		"every kind, last":               {[]Strategy{branch, all}, true},
		"every kind, first, and a third": {[]Strategy{all, branch, pods}, true},
	} {
		if err := CheckOwners(tc.strategies); (err != nil) != tc.conflict {
			t.Errorf("%s: error %v, want one: %v", name, err, tc.conflict)
		}
	}
}

func TestDiffKeepsOnlyWhatIsNotSo(t *testing.T) {
	state := func(s Setting) State {
		return State{Groups: []Group{{Path: "/b", Settings: map[Knob]Setting{CPUIdle: s}}}}
	}
	plan := Plan{Changes: []Change{{Group: "/b", Knob: CPUIdle, Value: "1"}}}
	tests := map[string]struct {
		state State
		want  []Change
	}{
		"already so":                   {state(Setting{Value: "1", OK: true}), nil},
		"somebody set it back":         {state(Setting{Value: "0", OK: true}), plan.Changes},
		"could not be read":            {state(Setting{}), plan.Changes},
		"the kernel has no such knob":  {state(Setting{Unsupported: true}), nil},
		"a group that was not sampled": {State{}, plan.Changes},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, Diff(tc.state, plan)); diff != "" {
				t.Errorf("changes (-want +got):\n%s", diff)
			}
		})
	}
}

func TestBindKeepsMemoryBetweenSteps(t *testing.T) {
	s := Bind("count", nil, func(_ State, n int) (Plan, int) {
		n++
		return Plan{Notes: make([]string, n)}, n
	})
	for want := 1; want <= 3; want++ {
		if got := len(s.Step(State{}).Notes); got != want {
			t.Errorf("step %d remembered %d", want, got)
		}
	}
}

func TestAChangeToAnUnclaimedKnobIsForeign(t *testing.T) {
	s := Strategy{Name: "s", Knobs: []Knob{CPUIdle}, Kinds: []Kind{KindBatchBranch}}
	st := State{Groups: []Group{{Path: "/b", Kind: KindBatchBranch}, {Path: "/b/c", Kind: KindBatchContainer}}}
	stray := Change{Group: "/b", Knob: "cpu.quota", Value: "1"}
	otherKind := Change{Group: "/b/c", Knob: CPUIdle, Value: "1"}
	unknown := Change{Group: "/x", Knob: CPUIdle, Value: "1"}
	p := Plan{Changes: []Change{{Group: "/b", Knob: CPUIdle, Value: "1"}, stray, otherKind, unknown}}
	if diff := cmp.Diff([]Change{stray, otherKind, unknown}, s.Foreign(st, p)); diff != "" {
		t.Errorf("foreign changes (-want +got):\n%s", diff)
	}
}
