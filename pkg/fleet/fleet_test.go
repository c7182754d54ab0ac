package fleet

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/plimsoll/plimsoll/pkg/api/v1alpha1"
)

var now = time.Date(2026, 3, 2, 10, 0, 0, 0, time.UTC)

func node(name string, age time.Duration, change func(*v1alpha1.NodeUtilizationStatus)) v1alpha1.NodeUtilization {
	u := v1alpha1.NodeUtilization{Status: v1alpha1.NodeUtilizationStatus{
		ObservedTime: metav1.NewMicroTime(now.Add(-age)),
		Capacity:     v1alpha1.Resources{MilliCPU: 4000, MemoryBytes: 16 << 30}, Node: v1alpha1.Resources{MilliCPU: 1000, MemoryBytes: 4 << 30},
		Classes: []v1alpha1.ClassUtilization{{Class: v1alpha1.ClassBatch, Resources: v1alpha1.Resources{MilliCPU: 300}}},
		Lendable: &v1alpha1.Lendable{
			MilliCPU: v1alpha1.LendableSum{Computed: 2000, Published: 1500, Lent: 800, ForecastPeak: 900}, Reason: "raised slowly",
		},
	}}
	u.Name = name
	if change != nil {
		change(&u.Status)
	}
	return u
}

func TestTotalsAreOverTheNodesThatWereMeasuredAndSaySo(t *testing.T) {
	f := New(now, []v1alpha1.NodeUtilization{
		node("a", time.Second, nil),
		node("b", 10*time.Minute, nil), // stale: in no total
		node("c", time.Second, func(s *v1alpha1.NodeUtilizationStatus) { s.Lendable = nil }),
		node("d", -time.Minute, nil), // its clock is ahead, and what it measured counts
	})
	want := Totals{
		Nodes: 4, Stale: 1, Untold: 1,
		Capacity: v1alpha1.Resources{MilliCPU: 12000, MemoryBytes: 48 << 30}, Used: v1alpha1.Resources{MilliCPU: 3000, MemoryBytes: 12 << 30},
		Batch: v1alpha1.Resources{MilliCPU: 900}, Lent: v1alpha1.Resources{MilliCPU: 1600}, Lendable: v1alpha1.Resources{MilliCPU: 3000},
	}
	if diff := cmp.Diff(want, f.Totals); diff != "" {
		t.Errorf("totals (-want +got):\n%s", diff)
	}
	all := strings.Join(f.Remarks, "\n")
	for _, want := range []string{"1 of 4 nodes are in no total", "1 nodes do not tell what they lend", "ahead of this machine's: d"} {
		if !strings.Contains(all, want) {
			t.Errorf("remarks %q, want %q among them", all, want)
		}
	}
}

func TestAnEmptyClusterHasNoTotals(t *testing.T) {
	if diff := cmp.Diff(Fleet{At: now, Nodes: []Row{}}, New(now, nil)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestWhatIsHeldBackIsToldWithItsReason(t *testing.T) {
	r := rowOf(now, new(node("a", 0, func(s *v1alpha1.NodeUtilizationStatus) {
		s.Conditions = []metav1.Condition{{Type: "BatchProtected", Status: "False", Message: "mode Observe"}, {Type: "SettingsHold", Status: "True"}}
		s.Changes = []v1alpha1.ChangeStatus{{Knob: "cpu.idle", Outcome: v1alpha1.OutcomeRefused, Error: "EINVAL"}, {Knob: "cpu.idle", Outcome: v1alpha1.OutcomeApplied}}
	})))
	want := []string{"500m of CPU: raised slowly", "not BatchProtected: mode Observe", "cpu.idle refused by the kernel: EINVAL"}
	if diff := cmp.Diff(want, r.HeldBack); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if r.LatencySensitive != nil || r.PressurePermille != nil {
		t.Errorf("a class that was not measured is shown: %+v", r)
	}
}

func TestRowsAreSortedAndWhatWasNotMeasuredIsLast(t *testing.T) {
	f := New(now, []v1alpha1.NodeUtilization{
		node("b", 0, nil), node("a", 0, nil),
		node("none", 0, func(s *v1alpha1.NodeUtilizationStatus) { s.Lendable = nil }),
		node("most", 0, func(s *v1alpha1.NodeUtilizationStatus) { s.Lendable.MilliCPU.Lent = 900 }),
	})
	names := func(by string) string {
		t.Helper()
		if err := f.Sort(by); err != nil {
			t.Fatal(err)
		}
		var all []string
		for _, r := range f.Nodes {
			all = append(all, r.Node)
		}
		return strings.Join(all, " ")
	}
	if got := names("lent"); got != "most a b none" {
		t.Errorf("by lent: %s", got)
	}
	if got := names("name"); got != "a b most none" {
		t.Errorf("by name: %s", got)
	}
	if err := f.Sort("colour"); err == nil || !strings.Contains(err.Error(), "pressure") {
		t.Errorf("an unknown column: %v, want what there is", err)
	}
}
