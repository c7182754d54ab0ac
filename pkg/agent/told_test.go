package agent

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/plimsoll/plimsoll/pkg/api/v1alpha1"
)

// namedPods knows every pod as one of the same Deployment.
type namedPods struct{ noPods }

func (namedPods) byUID(uid string) (podInfo, bool) {
	return podInfo{Namespace: "pay", Name: "api-" + uid, Class: v1alpha1.ClassLatencySensitive, Workload: "pay/Deployment/api", Started: at.Add(-time.Hour)}, true
}

func TestReadersAreToldOfWindowsWorkloadsAndTheForecast(t *testing.T) {
	tree := newTree(t)
	l := newTestLoop(t, tree, v1alpha1.ModeObserve)
	l.sensor.pods = namedPods{}
	var got *v1alpha1.NodeUtilizationStatus
	for s := range 130 { // the pod uses half a core, the node a whole one of one
		tree.proc("stat", fmt.Sprintf("cpu  %d 0 0 900 0 0 0 0 0 0\ncpu0 %d 0 0 900 0 0 0 0 0 0\n", 100*s, 100*s))
		for _, group := range []string{"/kubepods", "/kubepods/burstable/podone"} {
			tree.write(tree.host.FSRoot, group+"/cpu.stat", fmt.Sprintf("usage_usec %d\n", 500_000*s))
		}
		l.tick(at.Add(time.Duration(s) * time.Second))
		select {
		case got = <-l.pub.waiting:
		default:
		}
	}
	if got == nil {
		t.Fatal("nothing was published")
	}
	online := got.Classes[1]
	if len(online.Windows) != 2 || online.Windows[1].WindowSeconds != 60 || online.Windows[1].MilliCPU.P95 < 495 || online.Windows[1].MilliCPU.Max > 505 {
		t.Errorf("windows of %s: %+v, want 10 s and 1 min of 500 milli-cores", online.Class, online.Windows)
	}
	if len(got.Workloads) != 1 || got.Workloads[0].Name != "pay/Deployment/api" || got.Workloads[0].Pods != 1 || got.Workloads[0].MilliCPU.P50 < 495 {
		t.Errorf("workloads %+v, want one pod of api that uses 500 milli-cores", got.Workloads)
	}
	if got.Forecast == nil || !got.Forecast.ColdStart || len(got.Forecast.PeakMilliCPU) != forecastSteps {
		t.Errorf("forecast %+v, want a cold one of %d steps", got.Forecast, forecastSteps)
	}
	if got.Lendable == nil || got.Lendable.MilliCPU.Published != 0 {
		t.Errorf("lendable %+v, want nothing lent by a cold start", got.Lendable)
	}
	// The pod ends: readers learn how long it ran.
	l.workloads.sampled = time.Time{}
	l.workloads.add(at.Add(10*time.Minute), reading{}, nil)
	if w := l.workloads.report(); len(w) != 1 || w[0].Pods != 0 || w[0].RunSeconds == nil || w[0].RunSeconds.Max != 70*60 {
		t.Errorf("workloads %+v, want one that ran for 70 minutes", w)
	}
}

// fullStatus is a node of 250 pods on which everything that is bounded is full, with long names.
func fullStatus() *v1alpha1.NodeUtilizationStatus {
	long := strings.Repeat("n", 40)
	pressure := &v1alpha1.Pressure{CPUSomePermille: ptr.To[int32](100), MemorySomePermille: ptr.To[int32](100), IOSomePermille: ptr.To[int32](100)}
	use := v1alpha1.Resources{MilliCPU: 123_456, MemoryBytes: 123 << 30}
	spread := v1alpha1.Distribution{Mean: 123 << 30, P50: 123 << 30, P95: 123 << 30, P99: 123 << 30, Max: 123 << 30}
	s := &v1alpha1.NodeUtilizationStatus{ObservedTime: metav1.NewMicroTime(at), WindowMilliseconds: 10_000, Capacity: use, Node: use}
	for _, c := range []v1alpha1.Class{v1alpha1.ClassBatch, v1alpha1.ClassLatencySensitive, v1alpha1.ClassSystem} {
		class := v1alpha1.ClassUtilization{Class: c, Pods: 250, Resources: use, Pressure: pressure}
		for _, w := range []int32{10, 60, 300, 3600} {
			class.Windows = append(class.Windows, v1alpha1.WindowUtilization{WindowSeconds: w, MilliCPU: spread, MemoryBytes: spread})
		}
		s.Classes = append(s.Classes, class)
	}
	for i := range 250 {
		s.Pods = append(s.Pods, v1alpha1.PodUtilization{
			UID: fmt.Sprintf("01234567-89ab-cdef-0123-456789ab%04d", i), Namespace: "payments-production", Name: long + "-6d4cf56db6-x7k2p",
			Class: v1alpha1.ClassLatencySensitive, MeasuredMilliseconds: 1 << 30, Resources: use, Pressure: pressure,
			Recent: &v1alpha1.PodRecent{MeanMilliCPU: 123_456, P95MilliCPU: 123_456, MaxMilliCPU: 123_456, P95MemoryBytes: 123 << 30, MaxMemoryBytes: 123 << 30},
		})
	}
	for i := range mostPublished {
		hours := make([]int64, 24)
		for h := range hours {
			hours[h] = 123_456
		}
		s.Workloads = append(s.Workloads, v1alpha1.WorkloadProfile{
			Name: fmt.Sprintf("payments-production/Deployment/%s-%d", long, i), Class: v1alpha1.ClassLatencySensitive, Pods: 8,
			HistorySeconds: 1 << 20, MilliCPU: spread, MemoryBytes: spread, HourlyPeakMilliCPU: hours, RunSeconds: &spread,
		})
	}
	steps := make([]int64, forecastSteps)
	for i := range steps {
		steps[i] = 123_456
	}
	sum := v1alpha1.LendableSum{SafeLine: 123 << 30, System: 123 << 30, ForecastPeak: 123 << 30, Margin: 123 << 30, Computed: 123 << 30, Published: 123 << 30, Lent: 123 << 30, LentUnused: 123 << 30, UsedBeyondLent: 123 << 30}
	s.Forecast = &v1alpha1.Forecast{Start: metav1.NewTime(at), StepSeconds: 3600, QuantilePermille: 990, ConfidencePermille: 1000, HistorySeconds: 1 << 20, PeakMilliCPU: steps, MedianMilliCPU: steps, PeakMemoryBytes: 123 << 30}
	s.Lendable = &v1alpha1.Lendable{MilliCPU: sum, MemoryBytes: sum, HorizonSeconds: 3600, Reason: strings.Repeat("r", 256)}
	for i := range 64 {
		s.Capabilities = append(s.Capabilities, v1alpha1.Capability{Name: fmt.Sprintf("knob.%d", i), State: v1alpha1.CapabilityWorks, Detail: strings.Repeat("d", 80)})
	}
	for range maxChanges {
		s.Changes = append(s.Changes, v1alpha1.ChangeStatus{Time: metav1.NewMicroTime(at), Strategy: "batchidle", Group: "/kubepods/plimsoll-batch/" + strings.Repeat("c", 64), Knob: "cpu.quota", Value: "100000", Outcome: v1alpha1.OutcomeApplied, Reason: strings.Repeat("r", 120)})
	}
	return s
}

// TestAStatusOf250PodsIsBounded: 124 kB of JSON, of which the pods are 84. The API server takes 1.5 MB.
func TestAStatusOf250PodsIsBounded(t *testing.T) {
	body, err := json.Marshal(fullStatus())
	if err != nil {
		t.Fatal(err)
	}
	pods, err := json.Marshal(fullStatus().Pods)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d bytes, the pods %d", len(body), len(pods))
	if limit := 160 << 10; len(body) > limit {
		t.Errorf("%d bytes, want at most %d", len(body), limit)
	}
}

func BenchmarkTold(b *testing.B) {
	last, next := fullStatus(), fullStatus()
	for b.Loop() {
		told(last, next)
	}
}

// BenchmarkLearn is what a tick pays for windows, workloads and lending.
func BenchmarkLearn(b *testing.B) {
	r, _ := aNode()
	l := enforcing(nil)
	w, profiles := newClassWindows(time.Second), newWorkloads()
	status := fullStatus()
	now := at
	for b.Loop() {
		now = now.Add(time.Second)
		r.Sample.At = now
		w.add(r)
		profiles.add(now, r, status.Pods)
		in := aQuietNode(now.Sub(at))
		in.pods = status.Pods
		l.step(in)
		l.profile(now)
	}
}
