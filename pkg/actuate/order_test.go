package actuate

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/plimsoll/plimsoll/pkg/qos"
)

func TestWritesAreOrderedSoThatTheKernelTakesThem(t *testing.T) {
	const parent, child, other = "/kubepods/plimsoll-batch", "/kubepods/plimsoll-batch/5f3e", "/kubepods/plimsoll-batch/77aa"
	wider := func(group string, knob qos.Knob) move { return move{group, knob, true} }
	tighter := func(group string, knob qos.Knob) move { return move{group, knob, false} }
	for name, want := range map[string][]move{
		"widening: a parent before its children":    {wider(parent, qos.CPUSetCPUs), wider(child, qos.CPUSetCPUs), wider(other, qos.CPUSetCPUs)},
		"tightening: children before their parent":  {tighter(child, qos.CPUSetCPUs), tighter(other, qos.CPUSetCPUs), tighter(parent, qos.CPUSetCPUs)},
		"what one gives up before what another has": {tighter(other, qos.CPUQuota), wider(parent, qos.CPUQuota), wider(child, qos.CPUQuota)},
		"raising: the quota before its burst":       {wider(parent, qos.CPUQuota), wider(parent, qos.CPUBurst)},
		"lowering: the burst before its quota":      {tighter(parent, qos.CPUBurst), tighter(parent, qos.CPUQuota)},
		"waking: the flag before the weight":        {wider(parent, qos.CPUIdle), wider(parent, qos.CPUWeight)},
		"idling: the weight before the flag":        {tighter(parent, qos.CPUWeight), tighter(parent, qos.CPUIdle)},
		"otherwise by group and knob":               {wider(child, qos.IOMax), wider(child, qos.MemoryMax), wider(other, qos.IOMax)},
	} {
		t.Run(name, func(t *testing.T) {
			random := rand.New(rand.NewPCG(1, 1))
			for range 20 {
				got := slices.Clone(want)
				random.Shuffle(len(got), func(i, j int) { got[i], got[j] = got[j], got[i] })
				slices.SortStableFunc(got, compareMoves)
				if diff := cmp.Diff(want, got, cmp.AllowUnexported(move{})); diff != "" {
					t.Fatalf("order (-want +got):\n%s", diff)
				}
			}
		})
	}
}

// A comparison that contradicts itself would make the order depend on the order before.
func TestTheOrderIsTotal(t *testing.T) {
	var all []move
	for _, group := range []string{"/a", "/a/b", "/a/c", "/b"} {
		for _, knob := range []qos.Knob{qos.CPUIdle, qos.CPUWeight, qos.CPUBurst, qos.CPUQuota, qos.IOMax} {
			all = append(all, move{group, knob, true}, move{group, knob, false})
		}
	}
	for _, a := range all {
		for _, b := range all {
			ab, ba := compareMoves(a, b), compareMoves(b, a)
			if ab != -ba || (ab == 0) != (a == b) {
				t.Errorf("%+v and %+v: %d and %d", a, b, ab, ba)
			}
			for _, c := range all {
				if ab < 0 && compareMoves(b, c) < 0 && compareMoves(a, c) >= 0 {
					t.Errorf("%+v < %+v < %+v, and not %+v < %+v", a, b, c, a, c)
				}
			}
		}
	}
}

func TestAGroupIsRelatedToItselfAndToWhatIsAboveAndBelow(t *testing.T) {
	f := func(a, b string, want bool) {
		t.Helper()
		if got := related(a, b); got != want {
			t.Errorf("related(%q, %q) = %v, want %v", a, b, got, want)
		}
	}
	f("/a/b", "/a/b", true)
	f("/a/b", "/a/b/c", true)
	f("/a/b/c", "/a", true)
	f("/a/b", "/a/bc", false)
	f("/a/b", "/a/c", false)
	f("/", "/a", true)
}
