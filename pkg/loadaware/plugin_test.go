package loadaware

import (
	"context"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
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
	if one.snapshot != two.snapshot || one.history != two.history {
		t.Error("each profile has measurements of its own")
	}
	if one.index == two.index {
		t.Error("both profiles keep their outlooks in one place")
	}
	if one.args.SafeCPUPercent != 60 || two.args.SafeCPUPercent != 90 {
		t.Errorf("safe lines = %d and %d, want 60 and 90", one.args.SafeCPUPercent, two.args.SafeCPUPercent)
	}
}

func TestOneCycleSeesOneMoment(t *testing.T) {
	b := newTestbed(t, nil)
	b.publish(utilization("n1", at(0), 1200))
	pod := newPod("incoming", withCPU("400m"))
	state := newFakeState()
	if result, status := b.PreFilter(t.Context(), state, pod, nil); result != nil || !status.IsSuccess() {
		t.Fatalf("PreFilter = %v, %v; want all nodes and success", result, status)
	}
	cloned := state.Clone()
	node, other := fakeNode("n1", 4000), fakeNode("n1", 4000)
	if _, status := b.Score(t.Context(), state, pod, other); !status.IsSuccess() {
		t.Fatal(status.AsError())
	}
	b.publish(utilization("n1", at(1), 2800))
	score := func(state fwk.CycleState) int64 {
		t.Helper()
		got, status := b.Score(t.Context(), state, pod, node)
		if !status.IsSuccess() {
			t.Fatal(status.AsError())
		}
		return got
	}
	// 1/2 x (1 + 1 - 1600/3200)
	if got, gotCloned := score(state), score(cloned); got != 750_000 || gotCloned != got {
		t.Errorf("score = %d, of a clone %d; want 750000", got, gotCloned)
	}
	// With PreFilter switched off, Score begins the cycle: 1/2 x (1 + 1 - 3200/3200)
	if got := score(newFakeState()); got != 500_000 {
		t.Errorf("score in the next cycle = %d, want 500000", got)
	}
	// What the next cycle found is not what the old one goes by, and what the old one found not what this one does.
	if got, gotCloned := score(state), score(cloned); got != 750_000 || gotCloned != got {
		t.Errorf("score in the old cycle = %d, of a clone %d; want 750000 still", got, gotCloned)
	}
	node = other
	if got := score(newFakeState()); got != 500_000 {
		t.Errorf("score of what the old cycle has judged before = %d, want 500000", got)
	}
}

func TestPodsScoredAlikeAreSignedAlike(t *testing.T) {
	p := newTestbed(t, nil)
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
	annotated := func(d string) podOption {
		return func(p *corev1.Pod) { p.Annotations = map[string]string{v1alpha1.DurationAnnotation: d} }
	}
	if cmp.Equal(sign(batchLabel, annotated("1h")), sign(batchLabel, annotated("2h"))) {
		t.Error("jobs of 1 and 2 hours are signed alike")
	}
	if d := cmp.Diff(sign(annotated("1h")), sign(annotated("2h"))); d != "" {
		t.Errorf("an annotation that does not count for online pods makes them differ:\n%s", d)
	}
	before := sign()
	u := utilization("n1", at(0), 0)
	u.Status.Workloads = []v1alpha1.WorkloadProfile{service("default/Pod/a", 1, 3, 4, 10, 20)}
	p.publish(u)
	if cmp.Equal(before, sign()) {
		t.Error("a pod with a history is signed like one without")
	}
}
