package loadaware

import (
	"fmt"
	"maps"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"

	"github.com/plimsoll/plimsoll/pkg/api/v1alpha1"
)

// The parts of the framework that the plugin touches; a call of anything else is a nil dereference.

type fakeResource struct {
	fwk.Resource
	milliCPU, memory int64
	scalars          map[corev1.ResourceName]int64
}

func (r *fakeResource) GetMemory() int64 { return r.memory }

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
	requested   fakeResource
	nonZero     fakeResource
	generation  int64
}

func (n *fakeNodeInfo) GetRequested() fwk.Resource        { return &n.requested }
func (n *fakeNodeInfo) GetNonZeroRequested() fwk.Resource { return &n.nonZero }
func (n *fakeNodeInfo) GetGeneration() int64              { return n.generation }

// generations is what the scheduler numbers the states of all nodes with.
var generations atomic.Int64

// put puts a pod on the node, as the scheduler does when it assumes one.
func (n *fakeNodeInfo) put(pods ...fwk.PodInfo) {
	for _, p := range pods {
		n.pods = append(n.pods, p)
		r := p.CalculateResource()
		n.requested.milliCPU += r.Resource.GetMilliCPU()
		n.requested.memory += r.Resource.GetMemory()
		for name, v := range r.Resource.GetScalarResources() {
			n.requested.scalars[name] += v
		}
		n.nonZero.milliCPU += r.Non0CPU
		n.generation = generations.Add(1)
	}
}

func (n *fakeNodeInfo) Node() *corev1.Node           { return n.node }
func (n *fakeNodeInfo) GetPods() []fwk.PodInfo       { return n.pods }
func (n *fakeNodeInfo) GetAllocatable() fwk.Resource { return &n.allocatable }

func fakeNode(name string, milliCPU int64, pods ...fwk.PodInfo) *fakeNodeInfo {
	n := &fakeNodeInfo{
		node:        &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID("node " + name)}},
		allocatable: fakeResource{milliCPU: milliCPU, memory: 64 << 30},
		requested:   fakeResource{scalars: map[corev1.ResourceName]int64{}},
	}
	n.generation = generations.Add(1)
	n.put(pods...)
	return n
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
	memory := requests[corev1.ResourceMemory]
	r := &fakeResource{milliCPU: cpu.MilliValue(), memory: memory.Value(), scalars: map[corev1.ResourceName]int64{}}
	if q, ok := requests[batchCPUResource]; ok {
		r.scalars[batchCPUResource] = q.Value()
	}
	return &fakePodInfo{pod: p, resources: fwk.PodResource{Resource: r, Non0CPU: non0}}
}

// testbed is a store with one profile and a clock that stands still until it is set.
type testbed struct {
	t     testing.TB
	clock time.Time
	store *store
	*Plugin
}

func newTestbed(t testing.TB, change func(*v1alpha1.LoadAwareArgs)) *testbed {
	b := &testbed{t: t, clock: at(0)}
	now := func() time.Time { return b.clock }
	b.store = newStore(klog.Background(), now)
	args := v1alpha1.DefaultLoadAwareArgs()
	if change != nil {
		change(args)
	}
	b.Plugin = newPlugin(*args, "online", b.store, now)
	return b
}

// publish has the node's utilization arrive.
func (b *testbed) publish(u *v1alpha1.NodeUtilization) {
	b.t.Helper()
	mustAdd(b.t, b.store, u)
}

// judge is what the plugin makes of one node for a pod, in a cycle of its own.
func (b *testbed) judge(pod *corev1.Pod, node *fakeNodeInfo) (Prospect, reason) {
	b.t.Helper()
	c := b.newCycle(pod)
	o := b.outlookOf(c, node.node, node)
	return b.foreseen(o, &c.need, node, c), b.refuse(o, &c.need, c.since)
}

// peak is the load that the node would have at its worst.
func (b *testbed) peak(pod *corev1.Pod, node *fakeNodeInfo) int64 {
	b.t.Helper()
	f, _ := b.judge(pod, node)
	return f.Peak
}

func uidOf(node, pod int) types.UID {
	return types.UID(fmt.Sprintf("%08d-0000-4000-8000-%012d", node, pod))
}
