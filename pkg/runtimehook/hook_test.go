package runtimehook

import (
	"context"
	"testing"

	"github.com/containerd/nri/pkg/api"
	"github.com/google/go-cmp/cmp"

	"github.com/plimsoll/plimsoll/pkg/api/v1alpha1"
)

func newTestHook(enforce bool, placed *[]bool) *plugin {
	o := testOptions()
	o.Enforce = enforce
	o.OnPlace = func(enforced bool) { *placed = append(*placed, enforced) }
	return &plugin{New(o)}
}

func TestOnlyContainersOfBatchPodsArePlaced(t *testing.T) {
	batch := map[string]string{v1alpha1.ClassLabel: v1alpha1.BatchLabelValue}
	tests := map[string]struct {
		enforce    bool
		labels     map[string]string
		wantPath   string
		wantPlaced []bool
	}{
		"a batch pod":                     {true, batch, "/kubepods/plimsoll-batch/c1", []bool{true}},
		"a batch pod, looking on only":    {false, batch, "", []bool{false}},
		"a pod without a class":           {true, nil, "", nil},
		"a pod with another class":        {true, map[string]string{v1alpha1.ClassLabel: "Batch"}, "", nil},
		"a label that only looks like it": {true, map[string]string{"class": "batch"}, "", nil},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			var placed []bool
			p := newTestHook(tc.enforce, &placed)
			pod := &api.PodSandbox{Uid: "u1", Namespace: "ns", Name: "p", Labels: tc.labels}
			adjust, updates, err := p.CreateContainer(context.Background(), pod, &api.Container{Id: "c1"})
			if err != nil || updates != nil {
				t.Fatalf("CreateContainer: updates %v, error %v", updates, err)
			}
			if got := adjust.GetLinux().GetCgroupsPath(); got != tc.wantPath {
				t.Errorf("cgroups path %q, want %q", got, tc.wantPath)
			}
			if diff := cmp.Diff(tc.wantPlaced, placed); diff != "" {
				t.Errorf("placements told of (-want +got):\n%s", diff)
			}
		})
	}
}

func TestContainersAreKnownFromCreationOrSynchronizationUntilRemoval(t *testing.T) {
	ctx := context.Background()
	var placed []bool
	p := newTestHook(true, &placed)
	pod := &api.PodSandbox{Id: "s1", Uid: "u1", Namespace: "ns", Name: "p"}
	old, stray, fresh := &api.Container{Id: "old", PodSandboxId: "s1"}, &api.Container{Id: "stray", PodSandboxId: "gone"}, &api.Container{Id: "fresh", PodSandboxId: "s1"}

	if p.hook.Connected() {
		t.Error("connected before the runtime synchronized")
	}
	if _, err := p.Synchronize(ctx, []*api.PodSandbox{pod}, []*api.Container{old, stray}); err != nil {
		t.Fatal(err)
	}
	if !p.hook.Connected() {
		t.Error("not connected after the runtime synchronized")
	}
	if _, _, err := p.CreateContainer(ctx, pod, fresh); err != nil {
		t.Fatal(err)
	}
	if err := p.RemoveContainer(ctx, pod, old); err != nil {
		t.Fatal(err)
	}
	want := map[string]PodRef{"fresh": {UID: "u1", Namespace: "ns", Name: "p"}}
	if diff := cmp.Diff(want, p.hook.containers); diff != "" {
		t.Errorf("containers (-want +got):\n%s", diff)
	}
	if _, ok := p.hook.PodOf("old"); ok {
		t.Error("a removed container is still known")
	}
}

// The runtime looks for its containers by the name that it would have given their groups.
func TestTheRuntimesOwnPathIsKnownToWhoMakesTheNewOne(t *testing.T) {
	var placed []bool
	p := newTestHook(true, &placed)
	p.hook.opts.CgroupsPath = func(id, meant string) string { return id + " instead of " + meant }
	pod := &api.PodSandbox{Uid: "u1", Labels: map[string]string{v1alpha1.ClassLabel: v1alpha1.BatchLabelValue}}
	c := &api.Container{Id: "c1", Linux: &api.LinuxContainer{CgroupsPath: "a.slice:crio:c1"}}
	adjust, _, err := p.CreateContainer(context.Background(), pod, c)
	if want := "c1 instead of a.slice:crio:c1"; err != nil || adjust.GetLinux().GetCgroupsPath() != want {
		t.Errorf("cgroups path %q, %v, want %q", adjust.GetLinux().GetCgroupsPath(), err, want)
	}
}
