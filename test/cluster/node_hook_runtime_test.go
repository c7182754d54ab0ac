package cluster

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/containerd/nri/pkg/api"
	"github.com/containerd/nri/pkg/stub"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/plimsoll/plimsoll/pkg/api/v1alpha1"
	"github.com/plimsoll/plimsoll/pkg/qos"
	"github.com/plimsoll/plimsoll/pkg/runtimehook"
)

// rivalPlugin is another NRI plugin, which gives batch containers a CPU weight of its own choice.
type rivalPlugin struct{}

func (rivalPlugin) CreateContainer(_ context.Context, pod *api.PodSandbox, _ *api.Container) (*api.ContainerAdjustment, []*api.ContainerUpdate, error) {
	if pod.GetName() != "contested" {
		return nil, nil, nil
	}
	a := &api.ContainerAdjustment{}
	a.SetLinuxCPUShares(7)
	return a, nil, nil
}

// testRivalPlugin runs a pod whose container's weight two plugins want to set, which the runtime refuses.
func (n *node) testRivalPlugin(t *testing.T) {
	s, err := stub.New(rivalPlugin{}, stub.WithPluginName("rival"), stub.WithPluginIdx("60"), stub.WithSocketPath(n.cluster.Layout().NRISocket()))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer s.Stop()
	contested := n.startBatch(t, "contested")
	n.wantHook(t, "Conflict", "container work of pod default/contested")
	container := n.host.BatchBranch() + "/" + contested.container
	eventually(t, "the container's limits", func(context.Context) (bool, error) {
		return n.holds(container, map[qos.Knob]string{qos.CPUQuota: "20000", qos.MemoryMax: "33554432", qos.PIDsMax: "4096"}), nil
	})
	n.deletePod(t, "contested")
	n.wantHook(t, "Connected", "when they are created")
}

// testHookSynchronizes starts a container of a batch pod while there is no hook, and connects one.
func (n *node) testHookSynchronizes(t *testing.T) {
	const pod = "synchronized"
	n.lend(t, 1500, 1<<30)
	n.runPod(t, pod, map[string]string{v1alpha1.ClassLabel: v1alpha1.BatchLabelValue},
		corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("100m"), corev1.ResourceMemory: resource.MustParse("64Mi")})
	defer n.deletePod(t, pod)
	runtime := n.runtime(t)
	sandbox := sandboxOf(t, runtime, pod)
	list, err := runtime.ListContainers(t.Context(), &cri.ListContainersRequest{Filter: &cri.ContainerFilter{PodSandboxId: sandbox.Id}})
	if err != nil || len(list.Containers) != 1 {
		t.Fatalf("containers of the pod: %v, %v", list, err)
	}
	group, err := n.groupOf(sandbox.Metadata.Uid)
	if err != nil {
		t.Fatal(err)
	}
	container := group + "/" + list.Containers[0].Id
	if !n.holds(container, map[qos.Knob]string{qos.CPUQuota: "max", qos.MemoryMax: "max"}) {
		t.Fatal("a batch container is limited without anybody who limits it: the test cannot fail")
	}
	_, stop := n.connectHook(t, nil)
	defer stop()
	eventually(t, "the limits of a container from before the hook", func(context.Context) (bool, error) {
		return n.holds(container, map[qos.Knob]string{qos.CPUQuota: "10000", qos.MemoryMax: "67108864", qos.CPUWeight: "17"}), nil // 102 shares; an update has no limit of tasks
	})
}

// testStuckHook has a hook that does not come to an end: the runtime is not to wait for it for long.
func (n *node) testStuckHook(t *testing.T, plain *corev1.Pod) {
	const pod, timeout = "refused", 50 * time.Millisecond
	n.lend(t, 1500, 1<<30)
	n.runPod(t, pod, map[string]string{v1alpha1.ClassLabel: v1alpha1.BatchLabelValue},
		corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("100m"), corev1.ResourceMemory: resource.MustParse("64Mi")})
	defer n.deletePod(t, pod)
	free := make(chan struct{})
	hook, stop := n.connectHook(t, func(o *runtimehook.Options) {
		o.Timeout, o.CgroupsPath = timeout, func(_, _ string) string { <-free; return "" }
	})
	defer stop()
	defer close(free) // not before the containers below are made, or refused
	runtime := n.runtime(t)
	eventually(t, "an online container of which the hook was asked", func(context.Context) (bool, error) {
		_, asked := createContainer(t, runtime, sandboxOf(t, runtime, plain.Name), n.host.BatchBranch(), "online", hook)
		return asked, nil
	})
	sandbox := sandboxOf(t, runtime, pod)
	begin := time.Now()
	_, err := runtime.CreateContainer(t.Context(), &cri.CreateContainerRequest{
		PodSandboxId:  sandbox.Id,
		Config:        &cri.ContainerConfig{Metadata: &cri.ContainerMetadata{Name: "late"}, Image: &cri.ImageSpec{Image: boundsImage}, Linux: &cri.LinuxContainerConfig{}},
		SandboxConfig: &cri.PodSandboxConfig{Metadata: sandbox.Metadata, Linux: &cri.LinuxPodSandboxConfig{}},
	})
	if err == nil || !strings.Contains(err.Error(), "must not run unbounded") {
		t.Errorf("a batch container whose limits nobody told: %v, want a refusal that says so", err)
	}
	if took := time.Since(begin); took < timeout {
		t.Errorf("the refusal took %v, before the %v that a hook has", took, timeout)
	}
}
