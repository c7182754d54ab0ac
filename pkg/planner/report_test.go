package planner

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

var nan = math.NaN()

// twoDays is 48 steps of an hour.
func twoDays() ReportOptions {
	return ReportOptions{Start: time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC), Steps: 48, StepSeconds: 3600, SafeLine: 0.8, Risk: 0, PressureRatio: 0.1, Headroom: 0.2}
}

func same(v float64) []float64 {
	s := make([]float64, 48)
	for i := range s {
		s[i] = v
	}
	return s
}

// counter grows by so much an hour, and had some before.
func counter(each float64) []float64 {
	s := same(0)
	for i := range s {
		s[i] = 1000 + float64(i)*each
	}
	return s
}

func with(s []float64, step int, v float64) []float64 {
	s[step] = v
	return s
}

func aNode(name string, capacity, used float64) NodeHistory {
	return NodeHistory{
		Name: name, Pool: "p", CPU: Amounts{Capacity: same(capacity), Requested: same(capacity / 2), Used: same(used), Batch: same(1), Lent: same(2), Lendable: same(3)},
		Memory: Amounts{Capacity: same(64 * gib), Requested: same(8 * gib), Used: same(4 * gib)}, Pressure: same(0.01),
		ThrottledSeconds: counter(60), BatchThrottledSeconds: counter(30), Evictions: counter(1),
	}
}

func TestSumsAreOverTheStepsInWhichEverythingIsKnown(t *testing.T) {
	b := NewReportBuilder(twoDays())
	n := aNode("n1", 10, 4)
	n.CPU.Used[5] = nan      // not measured: neither its capacity nor its requests count then
	n.CPU.Requested[6] = nan // neither does a step without requests
	b.AddNode(n)
	r := b.Report()
	want := Balance{Capacity: 460, Requested: 230, Used: 184, Batch: 46, Lent: 92, CouldBeLent: 138} // 46 of 48 hours
	if diff := cmp.Diff(want, r.Nodes[0].CPUHours, cmpopts.EquateApprox(0, 1e-9)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := r.Fleet.CPUHours; got != r.Nodes[0].CPUHours {
		t.Errorf("the fleet of one node has %+v", got)
	}
	if got := r.Nodes[0].Coverage; math.Abs(got-46.0/48) > 1e-9 {
		t.Errorf("coverage %v, want 46 of 48", got)
	}
	if all := strings.Join(r.Remarks, "\n"); !strings.Contains(all, "1 nodes were not measured all the time") || !strings.Contains(all, "n1 (95.8 %)") {
		t.Errorf("remarks: %s", all)
	}
	if r.Series.Capacity[5] != nil || r.Series.Nodes[5] != 0 || *r.Series.Used[4] != 4 {
		t.Errorf("step 5 of the series is %v of %d nodes, want a gap", r.Series.Capacity[5], r.Series.Nodes[5])
	}
}

func TestANodeThatChangedCapacityCountsWithWhatItHad(t *testing.T) {
	b := NewReportBuilder(twoDays())
	n := aNode("n1", 10, 4)
	for i := 24; i < 48; i++ {
		n.CPU.Capacity[i] = 20
	}
	b.AddNode(n)
	r := b.Report()
	if got := r.Fleet.CPUHours.Capacity; got != 24*10+24*20 {
		t.Errorf("capacity %v core-hours, want 720", got)
	}
	if all := strings.Join(r.Remarks, "\n"); !strings.Contains(all, "n1 from 10 to 20 cores at 2026-03-02 00:00") {
		t.Errorf("remarks: %s", all)
	}
	if r.Fleet.UsedMax != 0.4 || r.Fleet.UsedP50 != 0.2 {
		t.Errorf("used at most %v, median %v of capacity, want 0.4 and 0.2", r.Fleet.UsedMax, r.Fleet.UsedP50)
	}
}

func TestWithoutNodesNothingIsSaid(t *testing.T) {
	r := NewReportBuilder(twoDays()).Report()
	if all := strings.Join(r.Remarks, "\n"); !strings.Contains(all, "no node in this period") || r.Fleet.CPUHours != (Balance{}) || r.Worst != nil || len(r.SwitchOff.ByUse) != 0 || r.SwitchOff.Why != "nothing was measured" {
		t.Errorf("%+v", r)
	}
	b := NewReportBuilder(twoDays())
	b.AddNode(NodeHistory{Name: "silent"})
	if r = b.Report(); r.Fleet.Coverage != 0 || !strings.Contains(strings.Join(r.Remarks, "\n"), "silent (0.0 %)") {
		t.Errorf("a node without a measurement: %+v", r.Remarks)
	}
}

func TestNodesAreSwitchedOffWhileTheRestCarriesWhatIsNeeded(t *testing.T) {
	b := NewReportBuilder(twoDays())
	// Each of 5 nodes of 10 cores uses 3 and one of it is batch: 10 cores are needed, 12.5 at a safe line of 80 %.
	for _, name := range []string{"e", "d", "c", "b", "a"} {
		b.AddNode(aNode(name, 10, 3))
	}
	got := b.Report().SwitchOff
	// 2 nodes carry 12.5 cores; 3 carry requests of 25.
	if diff := cmp.Diff([]string{"a", "b", "c"}, got.ByUse); diff != "" || got.ByRequests != 2 || got.NeedCores != 12.5 {
		t.Errorf("%+v (-want +got):\n%s", got, diff)
	}
	// One step that needs it all: no node can go without a risk, and the same three with one.
	peak := func(risk float64) SwitchOff {
		o := twoDays()
		o.Risk = risk
		b := NewReportBuilder(o)
		for _, name := range []string{"a", "b", "c", "d", "e"} {
			n := aNode(name, 10, 3)
			n.CPU.Used[30] = 9
			b.AddNode(n)
		}
		return b.Report().SwitchOff
	}
	if got := peak(0); len(got.ByUse) != 0 {
		t.Errorf("without a risk: %+v, want none", got)
	}
	if got := peak(1.0 / 48); len(got.ByUse) != 3 {
		t.Errorf("with a risk of one step: %+v, want three", got)
	}
	// A node whose requests are not known may be asked for anything.
	b = NewReportBuilder(twoDays())
	n := aNode("a", 10, 1)
	n.CPU.Requested = nil
	b.AddNode(n)
	b.AddNode(aNode("b", 10, 1))
	if r := b.Report(); r.SwitchOff.ByRequests != 0 || !strings.Contains(strings.Join(r.Remarks, "\n"), "no requests of 1 nodes") {
		t.Errorf("%+v, %v", r.SwitchOff, r.Remarks)
	}
}

func TestTheWorstStepIsTheOneWithMostNodesUnderPressure(t *testing.T) {
	b := NewReportBuilder(twoDays())
	for _, name := range []string{"a", "b"} {
		n := aNode(name, 10, 5)
		n.Pressure[7] = 0.2
		b.AddNode(n)
	}
	n := aNode("c", 10, 9)
	n.Pressure = with(with(n.Pressure, 7, 0.3), 9, 0.9) // worse for one, and of one only
	b.AddNode(n)
	r := b.Report()
	want := &WorstStep{At: time.Date(2026, 3, 1, 7, 0, 0, 0, time.UTC), NodesUnderPressure: 3, Node: "c", PressureRatio: 0.3, UsedShare: 0.9}
	if diff := cmp.Diff(want, r.Worst); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := r.Fleet.PressureMinutes; got == nil || *got != 4*60 {
		t.Errorf("%v node-minutes under pressure, want 240", got)
	}
}

func TestAServiceIsOverProvisionedOnlyWithADayOfEvidence(t *testing.T) {
	load := func(used, requested []float64) WorkloadHistory {
		return WorkloadHistory{Namespace: "payments", Workload: "Deployment/api", Class: "LatencySensitive", Used: used, Requested: requested}
	}
	b := NewReportBuilder(twoDays())
	b.AddWorkload(load(with(same(1), 20, 2), same(10)))
	r := b.Report()
	// 10 asked for, less the 99.9th percentile of 2 and a fifth of it.
	want := []OverProvisioned{{
		Workload: "payments/Deployment/api", RequestedCores: 10, UsedP50Cores: 1, UsedP999Cores: 2, UsedMaxCores: 2,
		MaxAt: time.Date(2026, 3, 1, 20, 0, 0, 0, time.UTC), SpareCores: 7.6, MeasuredHours: 48,
	}}
	if diff := cmp.Diff(want, r.OverProvisioned, cmpopts.EquateApprox(0, 1e-9)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if r.Namespaces[0].Name != "payments" || math.Abs(r.Namespaces[0].CPUHours.Used-49) > 1e-9 {
		t.Errorf("namespaces %+v, want payments with 49 core-hours", r.Namespaces)
	}
	short := same(1)
	for i := range 25 {
		short[i] = nan
	}
	b = NewReportBuilder(twoDays())
	b.AddWorkload(load(short, same(10)))   // 23 hours
	b.AddWorkload(load(same(9), same(10))) // within its headroom
	batch := load(same(1), same(10))
	batch.Class = "Batch" // asks for what is lent
	b.AddWorkload(batch)
	if got := b.Report().OverProvisioned; len(got) != 0 {
		t.Errorf("%+v, want none", got)
	}
}

func TestHoursOfTheDayHaveTheirOwnPercentiles(t *testing.T) {
	b := NewReportBuilder(twoDays())
	n := aNode("a", 10, 1)
	n.CPU.Used[9], n.CPU.Used[24+9] = 5, 7
	b.AddNode(n)
	h := b.Report().Hours
	if h[9].UsedP50 != 0.5 || h[9].UsedMax != 0.7 || h[9].Steps != 2 || h[10].UsedMax != 0.1 || h[9].RequestedMean != 0.5 {
		t.Errorf("hour 9: %+v, hour 10: %+v", h[9], h[10])
	}
}

func TestCostIsOfTheCapacityThatWasMeasured(t *testing.T) {
	o := twoDays()
	o.Prices = &Prices{Currency: "EUR", PerCoreHour: 0.03, PerGiBHour: 0.004}
	b := NewReportBuilder(o)
	b.AddNode(aNode("a", 10, 1))
	if got, want := b.Report().Fleet.Cost, 480*0.03+48*64*0.004; math.Abs(got-want) > 1e-9 {
		t.Errorf("cost %v, want %v", got, want)
	}
}
