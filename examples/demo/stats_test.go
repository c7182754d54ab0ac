package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSpreadOf(t *testing.T) {
	f := func(values []float64, want spread) {
		t.Helper()
		if diff := cmp.Diff(want, spreadOf(values)); diff != "" {
			t.Errorf("spreadOf(%v) (-want,+got):\n%s", values, diff)
		}
	}
	f(nil, spread{})
	f([]float64{3}, spread{3, 3, 3})
	f([]float64{9, 1}, spread{5, 1, 9})
	f([]float64{2, 9, 1}, spread{2, 1, 9})
	f([]float64{4, 1, 9, 2}, spread{3, 1, 9})
}

func TestPlanRunsEachArmOnceARoundInAnotherOrder(t *testing.T) {
	slots := plan(5, 1)
	if len(slots) != 27 || slots[0].arm != batchAlone || slots[26].arm != batchAlone {
		t.Fatalf("plan has %d windows from %s to %s, want 27 with batch alone at both ends", len(slots), slots[0].arm, slots[len(slots)-1].arm)
	}
	orders := map[string]bool{}
	for round := range 5 {
		count := map[armName]int{}
		var order string
		for _, s := range slots[1+5*round : 6+5*round] {
			count[s.arm]++
			order += string(s.arm) + " "
			if s.round != round+1 {
				t.Errorf("%s is in round %d, want %d", s.arm, s.round, round+1)
			}
		}
		orders[order] = true
		if diff := cmp.Diff(map[armName]int{alone: 1, ordinary: 1, bestEffort: 1, idleOnly: 1, plimsoll: 1}, count); diff != "" {
			t.Errorf("round %d (-want,+got):\n%s", round+1, diff)
		}
	}
	if len(orders) < 3 {
		t.Errorf("5 rounds have %d orders, want several", len(orders))
	}
	if diff := cmp.Diff(plan(5, 1), plan(5, 1), cmp.AllowUnexported(slot{}, load{}, batchKind{})); diff != "" {
		t.Errorf("the same seed gave another plan (-first,+again):\n%s", diff)
	}
}

func TestThousands(t *testing.T) {
	f := func(value float64, digits int, want string) {
		t.Helper()
		if got := thousands(value, digits); got != want {
			t.Errorf("thousands(%g, %d) = %q, want %q", value, digits, got, want)
		}
	}
	f(0, 1, "0.0")
	f(999, 0, "999")
	f(1000, 0, "1,000")
	f(1234567.89, 1, "1,234,567.9")
}
