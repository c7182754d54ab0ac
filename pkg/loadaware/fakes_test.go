package loadaware

import (
	"fmt"
	"maps"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	fwk "k8s.io/kube-scheduler/framework"

	"github.com/plimsoll/plimsoll/pkg/api/v1alpha1"
)

// The parts of the framework that the plugin touches; a call of anything else is a nil dereference.

type fakeResource struct {
	fwk.Resource
	milliCPU int64
	scalars  map[corev1.ResourceName]int64
}

func (r *fakeResource) GetMilliCPU() int64                                { return r.milliCPU }
func (r *fakeResource) GetScalarResources() map[corev1.ResourceName]int64 { return r.scalars }

type fakePodInfo struct {
	fwk.PodInfo
	pod       *corev1.Pod
	resources fwk.PodResource
}

func (p *fakePodInfo) GetPod() *corev1.Pod                { return p.pod }
func (p *fakePodInfo) CalculateResource() fwk.PodResource { return p.resources }

type fakeNodeInfo struct {
	fwk.NodeInfo
	node        *corev1.Node
	pods        []fwk.PodInfo
	allocatable fakeResource
}

func (n *fakeNodeInfo) Node() *corev1.Node           { return n.node }
func (n *fakeNodeInfo) GetPods() []fwk.PodInfo       { return n.pods }
func (n *fakeNodeInfo) GetAllocatable() fwk.Resource { return &n.allocatable }

func fakeNode(name string, milliCPU int64, pods ...fwk.PodInfo) *fakeNodeInfo {
	return &fakeNodeInfo{
		node:        &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}},
		pods:        pods,
		allocatable: fakeResource{milliCPU: milliCPU},
	}
}

type fakeState struct {
	fwk.CycleState
	data map[fwk.StateKey]fwk.StateData
}

func newFakeState() *fakeState { return &fakeState{data: map[fwk.StateKey]fwk.StateData{}} }

func (s *fakeState) Read(key fwk.StateKey) (fwk.StateData, error) {
	if d, ok := s.data[key]; ok {
		return d, nil
	}
	return nil, fwk.ErrNotFound
}
func (s *fakeState) Write(key fwk.StateKey, d fwk.StateData) { s.data[key] = d }
func (s *fakeState) Clone() fwk.CycleState                   { return &fakeState{data: maps.Clone(s.data)} }

// podOption changes a pod under construction.
type podOption func(*corev1.Pod)

func withCPU(quantity string) podOption {
	return func(p *corev1.Pod) {
		p.Spec.Containers[0].Resources.Requests = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(quantity)}
	}
}

func withBatchCPU(quantity string) podOption {
	return func(p *corev1.Pod) {
		p.Spec.Containers[0].Resources.Requests = corev1.ResourceList{batchCPUResource: resource.MustParse(quantity)}
	}
}

func batchLabel(p *corev1.Pod) {
	p.Labels = map[string]string{v1alpha1.ClassLabel: v1alpha1.BatchLabelValue}
}

func newPod(uid string, options ...podOption) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: uid, Namespace: "default", UID: types.UID(uid)},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "main"}}},
	}
	for _, o := range options {
		o(p)
	}
	return p
}

// placed is the pod as the scheduler's NodeInfo holds it.
func placed(p *corev1.Pod) fwk.PodInfo {
	requests := p.Spec.Containers[0].Resources.Requests
	cpu, ok := requests[corev1.ResourceCPU]
	non0 := cpu.MilliValue()
	if !ok {
		non0 = 100
	}
	r := &fakeResource{milliCPU: cpu.MilliValue(), scalars: map[corev1.ResourceName]int64{}}
	if q, ok := requests[batchCPUResource]; ok {
		r.scalars[batchCPUResource] = q.Value()
	}
	return &fakePodInfo{pod: p, resources: fwk.PodResource{Resource: r, Non0CPU: non0}}
}

// viewOf is a View with so much measured.
func viewOf(nodeMilliCPU, batchMilliCPU int64, measured map[types.UID]int64) *View {
	v := &View{node: v1alpha1.Resources{MilliCPU: nodeMilliCPU}, batch: v1alpha1.Resources{MilliCPU: batchMilliCPU}, pods: map[types.UID]podUse{}}
	for uid, ms := range measured {
		v.pods[uid] = podUse{measuredMilliseconds: ms}
	}
	return v
}

func uidOf(node, pod int) types.UID {
	return types.UID(fmt.Sprintf("%08d-0000-4000-8000-%012d", node, pod))
}
