package loadaware

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"

	"github.com/plimsoll/plimsoll/pkg/api/v1alpha1"
)

type fakeHandle struct{ fwk.Handle }

func (fakeHandle) ProfileName() string      { return "online" }
func (fakeHandle) KubeConfig() *rest.Config { return &rest.Config{Host: "http://127.0.0.1:1"} }

func TestArgumentsAreDecodedStrictlyOverTheDefaults(t *testing.T) {
	const args = "profiles[online].pluginConfig[LoadAware].args"
	tests := map[string]struct {
		args      runtime.Object
		want      func(*v1alpha1.LoadAwareArgs)
		wantError []string
	}{
		"no arguments":    {args: nil},
		"empty arguments": {args: &runtime.Unknown{}},
		"one field": {
			args: &runtime.Unknown{Raw: []byte(`{"safeCPUPercent": 65}`)},
			want: func(a *v1alpha1.LoadAwareArgs) { a.SafeCPUPercent = 65 },
		},
		"kind and version": {
			args: &runtime.Unknown{Raw: []byte(`{"apiVersion": "plimsoll.dev/v1alpha1", "kind": "LoadAwareArgs", "maturityMilliseconds": 0}`)},
			want: func(a *v1alpha1.LoadAwareArgs) { a.MaturityMilliseconds = 0 },
		},
		"a misspelt field": {
			args:      &runtime.Unknown{Raw: []byte(`{"safeCpuPercentage": 65}`)},
			wantError: []string{args, `unknown field "safeCpuPercentage"`},
		},
		"every value out of range is named": {
			args: &runtime.Unknown{Raw: []byte(`{"safeCPUPercent": 101, "staleAfterSeconds": 1, "maturityMilliseconds": -1}`)},
			wantError: []string{
				args + ".safeCPUPercent: Invalid value: 101: must be from 1 to 100",
				args + ".staleAfterSeconds: Invalid value: 1: must be from 2 to 3600",
				args + ".maturityMilliseconds: Invalid value: -1: must be from 0 to 3600000",
			},
		},
		"a value of the wrong type": {
			args:      &runtime.Unknown{Raw: []byte(`{"safeCPUPercent": "80%"}`)},
			wantError: []string{args, "safeCPUPercent"},
		},
		"another kind": {
			args:      &runtime.Unknown{Raw: []byte(`{"kind": "NodeResourcesFitArgs"}`)},
			wantError: []string{args + ".kind", "NodeResourcesFitArgs", "LoadAwareArgs"},
		},
		"arguments that someone decoded": {
			args:      &v1alpha1.LoadAwareArgs{},
			wantError: []string{args, "LoadAwareArgs"},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			cancel() // the factory starts a watch; this test wants none
			got, err := new(Factory).New(ctx, tt.args, fakeHandle{})
			if len(tt.wantError) > 0 {
				if err == nil {
					t.Fatalf("no error, want one with %q", tt.wantError)
				}
				for _, want := range tt.wantError {
					if !strings.Contains(err.Error(), want) {
						t.Errorf("error = %v, want it to contain %q", err, want)
					}
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			want := v1alpha1.DefaultLoadAwareArgs()
			if tt.want != nil {
				tt.want(want)
			}
			if d := cmp.Diff(*want, got.(*Plugin).args); d != "" {
				t.Errorf("arguments (-want +got):\n%s", d)
			}
		})
	}
}

func TestProfilesShareMeasurementsAndNotArguments(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var f Factory
	build := func(args string) *Plugin {
		t.Helper()
		p, err := f.New(ctx, &runtime.Unknown{Raw: []byte(args)}, fakeHandle{})
		if err != nil {
			t.Fatal(err)
		}
		return p.(*Plugin)
	}
	one, two := build(`{"safeCPUPercent": 60}`), build(`{"safeCPUPercent": 90}`)
	if one.snapshot != two.snapshot {
		t.Error("each profile has measurements of its own")
	}
	if one.args.SafeCPUPercent != 60 || two.args.SafeCPUPercent != 90 {
		t.Errorf("safe lines = %d and %d, want 60 and 90", one.args.SafeCPUPercent, two.args.SafeCPUPercent)
	}
}

// newTestPlugin is a plugin with default arguments on a store, at the time that now points to.
func newTestPlugin(s *store, now *time.Time) *Plugin {
	return &Plugin{args: *v1alpha1.DefaultLoadAwareArgs(), snapshot: &s.current, now: func() time.Time { return *now }}
}

func mustScore(t testing.TB, p *Plugin, state fwk.CycleState, node fwk.NodeInfo) int64 {
	t.Helper()
	got, status := p.Score(t.Context(), state, newPod("incoming", withCPU("400m")), node)
	if !status.IsSuccess() {
		t.Fatal(status.AsError())
	}
	return got
}

func preFilter(t testing.TB, p *Plugin, state fwk.CycleState) {
	t.Helper()
	result, status := p.PreFilter(t.Context(), state, newPod("incoming", withCPU("400m")), nil)
	if result != nil || !status.IsSuccess() {
		t.Fatalf("PreFilter = %v, %v; want all nodes and success", result, status)
	}
}

func TestScoreGoesByMeasurementUntilItIsStale(t *testing.T) {
	now := at(0)
	s := newStore(klog.Background(), func() time.Time { return now })
	p := newTestPlugin(s, &now)
	// By requests the node carries 2000, by measurement 600.
	u := utilization("n1", at(0), 600)
	u.Status.Pods = []v1alpha1.PodUtilization{{UID: "a", MeasuredMilliseconds: 60_000}}
	mustAdd(t, s, u)
	node := fakeNode("n1", 4000, placed(newPod("a", withCPU("2"))))
	// Measured: 100 x (1 - (600+400)/3200) = 68.75; by requests: 100 x (1 - (2000+400)/3200) = 25
	const byMeasurement, byRequests = 68, 25

	for _, tt := range []struct {
		seconds float64
		want    int64
	}{{0, byMeasurement}, {299, byMeasurement}, {300, byRequests}, {1e6, byRequests}} {
		now = at(tt.seconds)
		state := newFakeState()
		preFilter(t, p, state)
		if got := mustScore(t, p, state, node); got != tt.want {
			t.Errorf("score at %v s = %d, want %d", tt.seconds, got, tt.want)
		}
	}
}

func TestANodeWithoutMeasurementScoresByRequests(t *testing.T) {
	now := at(0)
	p := newTestPlugin(newStore(klog.Background(), func() time.Time { return now }), &now)
	state := newFakeState()
	preFilter(t, p, state)
	got := mustScore(t, p, state, fakeNode("n1", 4000, placed(newPod("a", withCPU("2")))))
	if want := int64(25); got != want { // 100 x (1 - (2000+400)/3200)
		t.Errorf("score = %d, want %d", got, want)
	}
}

func TestOneCycleSeesOneMoment(t *testing.T) {
	now := at(0)
	s := newStore(klog.Background(), func() time.Time { return now })
	p := newTestPlugin(s, &now)
	mustAdd(t, s, utilization("n1", at(0), 1200))
	state := newFakeState()
	preFilter(t, p, state)
	cloned := state.Clone()
	mustAdd(t, s, utilization("n1", at(1), 2800))
	node := fakeNode("n1", 4000)
	for name, state := range map[string]fwk.CycleState{"state": state, "its clone": cloned} {
		if got, want := mustScore(t, p, state, node), int64(50); got != want { // 100 x (1 - (1200+400)/3200)
			t.Errorf("score in the %s = %d, want %d", name, got, want)
		}
	}
	next := newFakeState()
	preFilter(t, p, next)
	if got, want := mustScore(t, p, next, node), int64(0); got != want { // 100 x (1 - (2800+400)/3200)
		t.Errorf("score in the next cycle = %d, want %d", got, want)
	}
}

func TestScoreWorksWithPreFilterSwitchedOff(t *testing.T) {
	now := at(0)
	s := newStore(klog.Background(), func() time.Time { return now })
	mustAdd(t, s, utilization("n1", at(0), 1200))
	if got, want := mustScore(t, newTestPlugin(s, &now), newFakeState(), fakeNode("n1", 4000)), int64(50); got != want {
		t.Errorf("score = %d, want %d", got, want)
	}
}

func TestPodsScoredAlikeAreSignedAlike(t *testing.T) {
	now := at(0)
	p := newTestPlugin(newStore(klog.Background(), time.Now), &now)
	sign := func(options ...podOption) []fwk.SignFragment {
		t.Helper()
		fragments, status := p.SignPod(t.Context(), newPod("a", options...))
		if !status.IsSuccess() {
			t.Fatal(status.AsError())
		}
		return fragments
	}
	if d := cmp.Diff(sign(withCPU("100m")), sign()); d != "" {
		t.Errorf("a request of 100m and none at all differ:\n%s", d)
	}
	if cmp.Equal(sign(withCPU("1")), sign(withCPU("2"))) {
		t.Error("requests of 1 and 2 cores are signed alike")
	}
	if cmp.Equal(sign(withCPU("1")), sign(withCPU("1"), batchLabel)) {
		t.Error("online and batch are signed alike")
	}
}

// fleet is 5,000 nodes of 30 pods each; each node has 2 pods not measured yet.
func fleet(t testing.TB, p *Plugin, s *store, nodes int) []fwk.NodeInfo {
	const podsPerNode = 30
	var infos []fwk.NodeInfo
	for i := range nodes {
		name := fmt.Sprintf("node-%04d.cluster.example", i)
		u := utilization(name, p.now(), int64(i%4000))
		var pods []fwk.PodInfo
		for j := range podsPerNode {
			pod := newPod(string(uidOf(i, j)), withCPU("50m"))
			pod.Labels = map[string]string{"app": "web", "team": "payments", "pod-template-hash": "5d4f8c7b9"}
			pods = append(pods, placed(pod))
			if j >= 2 {
				u.Status.Pods = append(u.Status.Pods, v1alpha1.PodUtilization{UID: string(pod.UID), MeasuredMilliseconds: 60_000})
			}
		}
		mustAdd(t, s, u)
		infos = append(infos, fakeNode(name, 4000, pods...))
	}
	return infos
}

func TestScoreAllocatesNothing(t *testing.T) {
	now := at(0)
	s := newStore(klog.Background(), func() time.Time { return now })
	p := newTestPlugin(s, &now)
	nodes := fleet(t, p, s, 10)
	nodes = append(nodes, fakeNode("not measured", 4000, placed(newPod("a")), placed(newPod("b", batchLabel))))
	for name, pod := range map[string][]podOption{"online": {withCPU("400m")}, "batch": {batchLabel}} {
		incoming := newPod("incoming", pod...)
		state := newFakeState()
		if _, status := p.PreFilter(t.Context(), state, incoming, nil); !status.IsSuccess() {
			t.Fatal(status.AsError())
		}
		ctx := t.Context()
		got := testing.AllocsPerRun(100, func() {
			for _, n := range nodes {
				p.Score(ctx, state, incoming, n)
			}
		})
		if got != 0 {
			t.Errorf("scoring an %s pod on %d nodes allocates %v times, want 0", name, len(nodes), got)
		}
	}
}

// One iteration scores one of 5,000 nodes.
func BenchmarkScoreOneOf5000NodesOf30Pods(b *testing.B) {
	now := at(0)
	s := newStore(klog.Background(), func() time.Time { return now })
	p := newTestPlugin(s, &now)
	nodes := fleet(b, p, s, 5000)
	incoming := newPod("incoming", withCPU("400m"))
	state := newFakeState()
	preFilter(b, p, state)
	ctx := b.Context()
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		p.Score(ctx, state, incoming, nodes[i%len(nodes)])
	}
}

func BenchmarkPreFilter(b *testing.B) {
	now := at(0)
	p := newTestPlugin(newStore(klog.Background(), time.Now), &now)
	incoming := newPod("incoming", withCPU("400m"))
	state := newFakeState()
	b.ReportAllocs()
	for b.Loop() {
		p.PreFilter(b.Context(), state, incoming, nil)
	}
}
