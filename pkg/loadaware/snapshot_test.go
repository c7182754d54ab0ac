package loadaware

import (
	"fmt"
	"math"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"

	"github.com/google/go-cmp/cmp"

	"github.com/plimsoll/plimsoll/pkg/api/v1alpha1"
)

// start is the scheduler's time at which tests begin.
var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// utilization is a NodeUtilization observed at the given time by the node's clock.
func utilization(node string, observed time.Time, milliCPU int64) *v1alpha1.NodeUtilization {
	u := &v1alpha1.NodeUtilization{ObjectMeta: metav1.ObjectMeta{Name: node, UID: types.UID("uid of " + node)}}
	u.Status.ObservedTime = metav1.NewMicroTime(observed)
	u.Status.Node.MilliCPU = milliCPU
	return u
}

func TestViewKeepsWhatScoringNeeds(t *testing.T) {
	u := utilization("n1", start, 3000)
	u.Status.Node.MemoryBytes = 5 << 30
	u.Status.Classes = []v1alpha1.ClassUtilization{
		{Class: v1alpha1.ClassLatencySensitive, Resources: v1alpha1.Resources{MilliCPU: 1000}},
		{Class: v1alpha1.ClassBatch, Resources: v1alpha1.Resources{MilliCPU: 1500, MemoryBytes: 1 << 30}},
	}
	u.Status.Pods = []v1alpha1.PodUtilization{
		{UID: "a", MeasuredMilliseconds: 1234, Resources: v1alpha1.Resources{MilliCPU: 700}},
		{UID: "b", MeasuredMilliseconds: -5},
	}
	v, err := newView(u, start, nil, 0, 1)
	if err != nil {
		t.Fatal(err)
	}
	want := map[types.UID]podUse{"a": {milliCPU: 700, measuredMilliseconds: 1234}, "b": {}}
	if d := cmp.Diff(want, v.pods, cmp.AllowUnexported(podUse{})); d != "" {
		t.Errorf("pods (-want +got):\n%s", d)
	}
	if got := v.onlineMilliCPU(); got != 1500 { // 3000 - 1500
		t.Errorf("online use = %d, want 1500", got)
	}
	if got := v.system.MilliCPU; got != 500 { // 3000 - 1500 - 1000
		t.Errorf("use outside pods = %d, want 500", got)
	}
}

func TestBatchThatWasNotMeasuredCountsAsOnlineUse(t *testing.T) {
	v, err := newView(utilization("n1", start, 3000), start, nil, 0, 1)
	if err != nil {
		t.Fatal(err)
	}
	if got := v.onlineMilliCPU(); got != 3000 {
		t.Errorf("online use = %d, want 3000", got)
	}
}

func TestAMeasurementThatMakesNoSenseIsNotBelieved(t *testing.T) {
	tests := map[string]func(*v1alpha1.NodeUtilization){
		"no time":         func(u *v1alpha1.NodeUtilization) { u.Status.ObservedTime = metav1.MicroTime{} },
		"negative CPU":    func(u *v1alpha1.NodeUtilization) { u.Status.Node.MilliCPU = -1 },
		"absurd CPU":      func(u *v1alpha1.NodeUtilization) { u.Status.Node.MilliCPU = math.MaxInt64 },
		"negative memory": func(u *v1alpha1.NodeUtilization) { u.Status.Node.MemoryBytes = -1 },
		"negative batch": func(u *v1alpha1.NodeUtilization) {
			u.Status.Classes = []v1alpha1.ClassUtilization{{Class: v1alpha1.ClassBatch, Resources: v1alpha1.Resources{MilliCPU: -1}}}
		},
	}
	for name, spoil := range tests {
		t.Run(name, func(t *testing.T) {
			s := newStore(klog.Background(), func() time.Time { return start })
			mustAdd(t, s, utilization("n1", start, 1000))
			bad := utilization("n1", start.Add(time.Second), 1000)
			spoil(bad)
			mustAdd(t, s, bad)
			if v := s.current.Load().View("n1"); v != nil {
				t.Errorf("view = %+v, want none", v)
			}
			mustAdd(t, s, utilization("n1", start.Add(2*time.Second), 1000))
			if s.current.Load().View("n1") == nil {
				t.Error("a good measurement after a bad one is not taken in")
			}
		})
	}
}

// arrivalAt is one NodeUtilization: when the node's clock says it was measured and when it arrived,
// both in seconds after start by the scheduler's clock.
type arrivalAt struct{ observed, received float64 }

func at(seconds float64) time.Time {
	return start.Add(time.Duration(seconds * float64(time.Second)))
}

func TestAgeOfAMeasurementToleratesClocksThatDiffer(t *testing.T) {
	tests := map[string]struct {
		arrivals []arrivalAt
		now      float64
		want     float64 // age in seconds
	}{
		"equal clocks":                                            {[]arrivalAt{{0, 0}}, 7, 7},
		"the first one arrives old: it is old":                    {[]arrivalAt{{-300, 0}}, 5, 305},
		"a node's clock ahead: no measurement is from the future": {[]arrivalAt{{300, 0}}, 5, 5},
		"a node's clock behind: unknown at first":                 {[]arrivalAt{{-300, 0}}, 0, 300},
		// Both took 300 s by the clocks; a second one that is newer says that this is the clocks' doing.
		"a node's clock behind: known from the second on": {[]arrivalAt{{-300, 0}, {-290, 10}}, 15, 5},
		// The first arrived 20 s old, the second at once: the offset is 0, the age counts from 30.
		"an old one and then a new one": {[]arrivalAt{{-20, 0}, {10, 10}}, 15, 5},
		// The offset of 0 is known from 0 and 10; the one listed after the break was measured at 20.
		"a watch that broke brings an old one":           {[]arrivalAt{{0, 0}, {10, 10}, {20, 610}}, 610, 590 - 0.6},
		"the same measurement again is as old as it was": {[]arrivalAt{{0, 0}, {0, 50}}, 60, 60},
		// The clock was set back by 1000 s: what was known is void, so 1000 s of age until the next.
		"a node's clock set back is unknown again":       {[]arrivalAt{{0, 0}, {10, 10}, {-980, 20}}, 20, 1000},
		"a node's clock set back is known from the next": {[]arrivalAt{{0, 0}, {10, 10}, {-980, 20}, {-970, 30}}, 35, 5},
		"a node's clock set forward is known at once":    {[]arrivalAt{{0, 0}, {10, 10}, {1020, 20}}, 25, 5},
		// It loses 100 s in 1e6 s, the bound follows with up to 1000 s in that time.
		"a clock that goes slow is followed": {[]arrivalAt{{0, 0}, {10, 10}, {1e6 - 100, 1e6}}, 1e6 + 5, 5},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var v *View
			for _, a := range tt.arrivals {
				var err error
				if v, err = newView(utilization("n1", at(a.observed), 0), at(a.received), v, 0, 1); err != nil {
					t.Fatal(err)
				}
			}
			if got := v.age(at(tt.now)).Seconds(); math.Abs(got-tt.want) > 0.02 {
				t.Errorf("age = %.3f s, want %.3f s", got, tt.want)
			}
		})
	}
}

func TestAReplacedNodeStartsWithoutAPast(t *testing.T) {
	old, err := newView(utilization("n1", at(0), 0), at(0), nil, 0, 1)
	if err != nil {
		t.Fatal(err)
	}
	u := utilization("n1", at(10), 0)
	u.UID = "another"
	v, err := newView(u, at(10), old, 0, 1)
	if err != nil {
		t.Fatal(err)
	}
	if v.offset.confirmed {
		t.Error("the clock of the old node is held to be the new one's")
	}
}

func mustAdd(t testing.TB, s *store, u *v1alpha1.NodeUtilization) {
	t.Helper()
	if err := s.Add(u); err != nil {
		t.Fatal(err)
	}
}

func TestSnapshotOnceTakenNeverChanges(t *testing.T) {
	now := start
	s := newStore(klog.Background(), func() time.Time { return now })
	for i := range 1000 {
		mustAdd(t, s, utilization(fmt.Sprint("node-", i), now, int64(i)))
	}
	before := s.current.Load()
	now = now.Add(time.Second)
	for i := range 1000 {
		mustAdd(t, s, utilization(fmt.Sprint("node-", i), now, 9999))
	}
	if err := s.Delete(utilization("node-7", now, 0)); err != nil {
		t.Fatal(err)
	}
	after := s.current.Load()
	for i := range 1000 {
		name := fmt.Sprint("node-", i)
		if got := before.View(name).onlineMilliCPU(); got != int64(i) {
			t.Fatalf("%s in the old snapshot uses %d, want %d", name, got, i)
		}
		if i == 7 {
			if after.View(name) != nil {
				t.Errorf("%s was deleted and is still there", name)
			}
			continue
		}
		if got := after.View(name).onlineMilliCPU(); got != 9999 {
			t.Fatalf("%s in the new snapshot uses %d, want 9999", name, got)
		}
	}
}

func TestReplaceForgetsNodesThatAreGoneAndKeepsWhatIsKnownOfClocks(t *testing.T) {
	now := at(0)
	s := newStore(klog.Background(), func() time.Time { return now })
	mustAdd(t, s, utilization("stays", at(-300), 1)) // its clock is 300 s behind
	mustAdd(t, s, utilization("goes", at(0), 1))
	now = at(10)
	mustAdd(t, s, utilization("stays", at(-290), 2))
	now = at(20)
	if err := s.Replace([]any{utilization("stays", at(-280), 3)}, "7"); err != nil {
		t.Fatal(err)
	}
	snapshot := s.current.Load()
	if snapshot.View("goes") != nil {
		t.Error("a node that is not in the list is still there")
	}
	if v := snapshot.View("stays"); v.onlineMilliCPU() != 3 || v.age(now) > time.Second {
		t.Errorf("use = %d, age = %v; want 3 and under a second", v.onlineMilliCPU(), v.age(now))
	}
}

func TestStoreRefusesWhatIsNoNodeUtilization(t *testing.T) {
	s := newStore(klog.Background(), time.Now)
	for name, err := range map[string]error{
		"add":     s.Add("x"),
		"update":  s.Update("x"),
		"delete":  s.Delete("x"),
		"replace": s.Replace([]any{"x"}, ""),
	} {
		if err == nil {
			t.Errorf("%s takes a string", name)
		}
	}
}

// One writer moves all nodes from one round to the next in order. A reader that saw a snapshot mixed
// by anything but that order would have read it while it changed.
func TestReadersSeeWholeSnapshotsWhileAWriterWorks(t *testing.T) {
	const nodes, rounds, readers = 50, 200, 4
	s := newStore(klog.Background(), time.Now)
	names := make([]string, nodes)
	for i := range names {
		names[i] = fmt.Sprint("node-", i)
		mustAdd(t, s, utilization(names[i], start, 0))
	}
	done := make(chan struct{})
	var wg sync.WaitGroup
	for range readers {
		wg.Go(func() {
			last := int64(0)
			for {
				snapshot := s.current.Load()
				first := snapshot.View(names[0]).onlineMilliCPU()
				previous := first
				for _, name := range names {
					use := snapshot.View(name).onlineMilliCPU()
					if use > previous || use < first-1 {
						t.Errorf("%s is in round %d after one in round %d of a snapshot that began with %d", name, use, previous, first)
						return
					}
					previous = use
				}
				if first < last {
					t.Errorf("round %d after round %d", first, last)
					return
				}
				last = first
				select {
				case <-done:
					return
				default:
				}
			}
		})
	}
	for round := range rounds {
		for _, name := range names {
			mustAdd(t, s, utilization(name, start.Add(time.Duration(round)*time.Second), int64(round)))
		}
	}
	close(done)
	wg.Wait()
}

func BenchmarkUpdateOfOneOf5000Nodes(b *testing.B) {
	s := newStore(klog.Background(), time.Now)
	var all []*v1alpha1.NodeUtilization
	for i := range 5000 {
		u := utilization(fmt.Sprintf("node-%04d.cluster.example", i), time.Now(), 1000)
		for j := range 30 {
			u.Status.Pods = append(u.Status.Pods, v1alpha1.PodUtilization{UID: string(uidOf(i, j))})
		}
		all = append(all, u)
		mustAdd(b, s, u)
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		mustAdd(b, s, all[i%len(all)])
	}
}
