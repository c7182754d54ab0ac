package history

import (
	"encoding/json"
	"fmt"
	"math"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/plimsoll/plimsoll/pkg/api/v1alpha1"
	"github.com/plimsoll/plimsoll/pkg/planner"
)

var start = time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)

// seen is a node with a service and a batch pod at a time.
func seen(at time.Time, node string, capacity, used int64) Seen {
	pod := func(name, class string, requests corev1.ResourceList) corev1.Pod {
		return corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{
				Namespace: "payments", Name: name, Labels: map[string]string{v1alpha1.ClassLabel: class, "pod-template-hash": "5d4f"},
				OwnerReferences: []metav1.OwnerReference{{Kind: "ReplicaSet", Name: strings.TrimSuffix(name, "-x") + "-5d4f", Controller: new(true)}},
			},
			Spec: corev1.PodSpec{NodeName: node, Containers: []corev1.Container{{Resources: corev1.ResourceRequirements{Requests: requests}}}},
		}
	}
	api := pod("api-x", "latency-sensitive", corev1.ResourceList{"cpu": resource.MustParse("2"), "memory": resource.MustParse("1Gi")})
	api.UID = "u1"
	batch := pod("risk-x", "batch", corev1.ResourceList{v1alpha1.BatchCPUResource: resource.MustParse("1500"), v1alpha1.BatchMemoryResource: resource.MustParse("1Gi")})
	batch.UID = "u2"
	done := api
	done.UID, done.Status.Phase = "u3", corev1.PodSucceeded
	u := v1alpha1.NodeUtilization{Status: v1alpha1.NodeUtilizationStatus{
		ObservedTime: metav1.NewMicroTime(at.Add(-time.Second)), Capacity: v1alpha1.Resources{MilliCPU: capacity, MemoryBytes: 8 << 30},
		Node: v1alpha1.Resources{MilliCPU: used, MemoryBytes: 2 << 30},
		Classes: []v1alpha1.ClassUtilization{
			{Class: v1alpha1.ClassLatencySensitive, Resources: v1alpha1.Resources{MilliCPU: used - 500}, Pressure: &v1alpha1.Pressure{CPUSomePermille: new(int32(150))}},
			{Class: v1alpha1.ClassBatch, Resources: v1alpha1.Resources{MilliCPU: 400}},
		},
		Pods:     []v1alpha1.PodUtilization{{UID: "u1", Resources: v1alpha1.Resources{MilliCPU: 300}}, {UID: "u2", Resources: v1alpha1.Resources{MilliCPU: 400}}, {UID: "gone", Resources: v1alpha1.Resources{MilliCPU: 9000}}},
		Lendable: &v1alpha1.Lendable{MilliCPU: v1alpha1.LendableSum{Computed: 2000, Published: 1800, Lent: 1500}},
	}}
	minutes := int64(at.Sub(start) / time.Minute)
	u.Status.Harm = &v1alpha1.HarmTotals{ThrottledMilliseconds: new(6000 * minutes), BatchThrottledMilliseconds: new(3000 * minutes), Evictions: minutes / 5}
	u.Name = node
	return Seen{
		At: at, PoolLabel: "pool", Utilizations: []v1alpha1.NodeUtilization{u}, Pods: []corev1.Pod{api, batch, done},
		Nodes: []corev1.Node{{ObjectMeta: metav1.ObjectMeta{Name: node, Labels: map[string]string{"pool": "trading"}}}},
	}
}

// recorded is a history of 12 readings at 5 minutes; change may alter or drop one.
func recorded(t *testing.T, change func(i int, s *Seen) bool) (dir string) {
	t.Helper()
	dir = t.TempDir()
	r, err := OpenRecorder(dir, 365*24*time.Hour*10)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 12 {
		s := seen(start.Add(time.Duration(i)*5*time.Minute+7*time.Second), "n1", 4000, 1000)
		if change != nil && !change(i, &s) {
			continue
		}
		points, _ := s.Points()
		if err := r.Append(t.Context(), s.At, points); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

func options() planner.ReportOptions {
	return planner.ReportOptions{Start: start, Steps: 12, StepSeconds: 300, SafeLine: 0.8, Risk: 0, PressureRatio: 0.1, Headroom: 0.2}
}

func reportOf(t *testing.T, dir string) planner.Report {
	t.Helper()
	e, err := OpenEmbedded(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	}()
	r, err := Load(t.Context(), e, Selection{}, options())
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestWhatIsRecordedIsReported(t *testing.T) {
	dir := recorded(t, nil)
	r := reportOf(t, dir)
	// An hour: 4 cores, 2 requested by the service that has not ended, 1 used, 0.4 of it by batch.
	if diff := cmp.Diff(planner.Balance{Capacity: 4, Requested: 2, Used: 1, Batch: 0.4, Lent: 1.5, CouldBeLent: 1.8}, round(r.Fleet.CPUHours)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if n := r.Nodes[0]; n.Pool != "trading" || n.Coverage != 1 || *n.PressureMinutes != 60 {
		t.Errorf("%+v, want a node of pool trading that was measured all the time, under pressure for an hour", n)
	}
	var names []string
	for _, w := range r.Workloads {
		names = append(names, fmt.Sprintf("%s %s %.1f of %.1f", w.Name, w.Pool, w.CPUHours.Used, w.CPUHours.Requested))
	}
	// From the first reading to the last are 55 minutes: 6 s of each stopped services, 3 s batch; one pod each time.
	wantHarm := planner.Harm{PressureMinutes: new(60.0), ThrottledPodMinutes: new(5.5), BatchThrottledMinutes: new(2.75), Evictions: new(11.0)}
	if diff := cmp.Diff(wantHarm, r.Fleet.Harm); diff != "" {
		t.Errorf("harm (-want +got):\n%s", diff)
	}
	want := []string{"payments/Deployment/api LatencySensitive 0.3 of 2.0", "payments/Deployment/risk Batch 0.4 of 1.5"}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("workloads (-want +got):\n%s", diff)
	}
	// The same inputs give the same bytes; one other sample gives another hash.
	first, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	again, err := json.Marshal(reportOf(t, dir))
	if err != nil || string(first) != string(again) {
		t.Errorf("the same inputs give\n%s\nand\n%s\n%v", first, again, err)
	}
	other := reportOf(t, recorded(t, func(i int, s *Seen) bool {
		if i == 3 {
			s.Utilizations[0].Status.Node.MemoryBytes++
		}
		return true
	}))
	if other.InputsHash == r.InputsHash || len(r.InputsHash) != 64 {
		t.Errorf("another input has the hash %s too", r.InputsHash)
	}
}

func round(b planner.Balance) planner.Balance {
	f := func(v float64) float64 { return math.Round(v*1e6) / 1e6 }
	return planner.Balance{Capacity: f(b.Capacity), Requested: f(b.Requested), Used: f(b.Used), Batch: f(b.Batch), Lent: f(b.Lent), CouldBeLent: f(b.CouldBeLent)}
}

func TestBrokenHistoriesAreToldOfAndGiveNoWrongTotal(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(i int, s *Seen) bool
		want   planner.Balance
		remark string
	}{
		"a gap of three readings": {
			func(i int, _ *Seen) bool { return i < 3 || i > 5 },
			planner.Balance{Capacity: 3, Requested: 1.5, Used: 0.75, Batch: 0.3, Lent: 1.125, CouldBeLent: 1.35}, "n1 (75.0 %)",
		},
		"a node whose clock is an hour ahead for a while": {
			func(i int, s *Seen) bool {
				if i < 6 {
					s.Utilizations[0].Status.ObservedTime = metav1.NewMicroTime(s.At.Add(time.Hour))
				}
				return true
			},
			planner.Balance{Capacity: 2, Requested: 1, Used: 0.5, Batch: 0.2, Lent: 0.75, CouldBeLent: 0.9}, "n1 (50.0 %)",
		},
		"a node that got more cores": {
			func(i int, s *Seen) bool {
				if i >= 6 {
					s.Utilizations[0].Status.Capacity.MilliCPU = 8000
				}
				return true
			},
			planner.Balance{Capacity: 6, Requested: 2, Used: 1, Batch: 0.4, Lent: 1.5, CouldBeLent: 1.8}, "n1 from 4 to 8 cores at 2026-03-01 00:30",
		},
		"an agent that does not tell of harm yet": {
			func(_ int, s *Seen) bool { s.Utilizations[0].Status.Harm = nil; return true },
			planner.Balance{Capacity: 4, Requested: 2, Used: 1, Batch: 0.4, Lent: 1.5, CouldBeLent: 1.8}, "the evictions of 1 nodes are not in the history all the time",
		},
		"an empty cluster": {
			func(_ int, s *Seen) bool { s.Utilizations = nil; return true }, planner.Balance{}, "no node in this period",
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := reportOf(t, recorded(t, tc.change))
			if diff := cmp.Diff(tc.want, round(r.Fleet.CPUHours)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if all := strings.Join(r.Remarks, "\n"); !strings.Contains(all, tc.remark) {
				t.Errorf("remarks %q, want %q among them", all, tc.remark)
			}
		})
	}
}

func TestNodesThatWereNotMeasuredAreNamedAndNotRecorded(t *testing.T) {
	s := seen(start, "n1", 4000, 1000)
	s.Utilizations[0].Status.ObservedTime = metav1.NewMicroTime(start.Add(-5 * time.Minute))
	points, left := s.Points()
	if len(points) != 0 || !slices.Equal(left, []string{"n1"}) {
		t.Errorf("%d points, left out %v", len(points), left)
	}
}

func TestAClockThatWentBackIsRefused(t *testing.T) {
	r, err := OpenRecorder(t.TempDir(), 24*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	points, _ := seen(start, "n1", 4000, 1000).Points()
	if err := r.Append(t.Context(), start, points); err != nil {
		t.Fatal(err)
	}
	if err := r.Append(t.Context(), start.Add(-time.Minute), points); err == nil || !strings.Contains(err.Error(), "clock is behind") {
		t.Errorf("error %v, want one that names the clock", err)
	}
}

func TestWhereThereIsNoHistoryTheRemedyIsTold(t *testing.T) {
	if _, err := OpenEmbedded(filepath.Join(t.TempDir(), "none")); err == nil || !strings.Contains(err.Error(), "plimsoll record") {
		t.Errorf("no folder: %v", err)
	}
	if _, err := NewPrometheus("prometheus:9090", nil); err == nil || !strings.Contains(err.Error(), "http://") {
		t.Errorf("no URL: %v", err)
	}
	p, err := NewPrometheus("http://127.0.0.1:1", http.DefaultClient)
	if err != nil {
		t.Fatal(err)
	}
	if _, err = Load(t.Context(), p, Selection{}, options()); err == nil || !strings.Contains(err.Error(), "--prometheus") {
		t.Errorf("no Prometheus there: %v", err)
	}
	e, err := OpenEmbedded(recorded(t, nil))
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	if _, err := Load(t.Context(), e, Selection{Nodes: "("}, options()); err == nil || !strings.Contains(err.Error(), "--nodes") {
		t.Errorf("a bad expression: %v", err)
	}
	if r, err := Load(t.Context(), e, Selection{Pool: "none"}, options()); err != nil || len(r.Nodes) != 0 {
		t.Errorf("a pool without nodes: %+v, %v", r.Nodes, err)
	}
}

// A real Prometheus on the same samples gives the same report to the byte.
func TestPrometheusAndTheFolderGiveTheSameReport(t *testing.T) {
	program, err := exec.LookPath("prometheus")
	if err != nil {
		t.Skip("there is no prometheus: hack/install-deps.sh installs it")
	}
	dir := recorded(t, func(i int, _ *Seen) bool { return i != 4 })
	want, err := json.Marshal(reportOf(t, dir))
	if err != nil {
		t.Fatal(err)
	}
	p := startPrometheus(t, program, dir)
	r, err := Load(t.Context(), p, Selection{}, options())
	if err != nil {
		t.Fatal(err)
	}
	got, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("folder and Prometheus differ (-folder +Prometheus):\n%s", diff)
	}
}

// startPrometheus serves a TSDB; it scrapes nothing.
func startPrometheus(t *testing.T, program, dir string) *Prometheus {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	config := filepath.Join(t.TempDir(), "prometheus.yml")
	if err := os.WriteFile(config, []byte("global: {}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var said strings.Builder
	cmd := exec.Command(program, "--config.file="+config, "--storage.tsdb.path="+dir, "--web.listen-address="+address, "--storage.tsdb.retention.time=30y", "--log.level=error")
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	deadline := time.Now().Add(time.Minute)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for ; time.Now().Before(deadline); <-tick.C {
		response, err := http.Get("http://" + address + "/-/ready")
		if err != nil {
			continue
		}
		response.Body.Close()
		if response.StatusCode == http.StatusOK {
			p, err := NewPrometheus("http://"+address, http.DefaultClient)
			if err != nil {
				t.Fatal(err)
			}
			return p
		}
	}
	t.Fatalf("Prometheus did not become ready:\n%s", said.String())
	return nil
}
