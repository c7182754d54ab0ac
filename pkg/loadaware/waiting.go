package loadaware

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"
)

// The scheduler can be told to retry a pod by events of a custom resource, but only through its own dynamic
// informer: it decodes each whole object once more, and does not schedule at all while the kind is not
// served. So the plugin's own watch tells: each new View of a node is compared with the last one, and the
// pods that were refused for load are activated for which it makes the difference.

const (
	// maxWaiting bounds the pods that are watched for. Further ones wait for the scheduler's own retry, which
	// comes after five minutes at most.
	maxWaiting = 1024
	// retryPause keeps a node that hovers at its limit from having a pod retried at each measurement.
	retryPause = 2 * time.Second
	// forgetAfter is twice what the scheduler takes to retry an unschedulable pod by itself: a pod that was
	// not refused again for so long is gone.
	forgetAfter = 10 * time.Minute
)

// waiting is the pods of a profile that were refused a node by this plugin and not placed since.
type waiting struct {
	plugin    *Plugin
	activator fwk.PodActivator // nil in tests of other things
	count     atomic.Int64     // of pods, so that updates without any cost nothing

	mu   sync.Mutex
	pods map[types.UID]*waitingPod
}

type waitingPod struct {
	pod     *corev1.Pod
	need    podNeed
	refused time.Time
	tried   time.Time
}

func newWaiting(p *Plugin) *waiting {
	return &waiting{plugin: p, pods: map[types.UID]*waitingPod{}}
}

// add notes that the pod was refused a node.
func (w *waiting) add(pod *corev1.Pod, need *podNeed, now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if known := w.pods[pod.UID]; known != nil {
		known.pod, known.need, known.refused = pod, *need, now
		return
	}
	if len(w.pods) >= maxWaiting {
		return
	}
	w.pods[pod.UID] = &waitingPod{pod: pod, need: *need, refused: now}
	w.count.Store(int64(len(w.pods)))
}

func (w *waiting) remove(uid types.UID) {
	if w.count.Load() == 0 {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.pods, uid)
	w.count.Store(int64(len(w.pods)))
}

// changed has the pods retried that the node's new measurement may make room for.
func (w *waiting) changed(logger klog.Logger, before, after *View, now time.Time) {
	if w.count.Load() == 0 || w.activator == nil {
		return
	}
	retry := map[string]*corev1.Pod{}
	w.mu.Lock()
	for uid, known := range w.pods {
		if now.Sub(known.refused) > forgetAfter {
			delete(w.pods, uid)
			continue
		}
		if now.Sub(known.tried) < retryPause || !w.plugin.cooled(before, after, &known.need, now) {
			continue
		}
		known.tried = now
		retry[known.pod.Namespace+"/"+known.pod.Name] = known.pod
	}
	w.count.Store(int64(len(w.pods)))
	w.mu.Unlock()
	if len(retry) > 0 {
		w.activator.Activate(logger, retry)
	}
}

// cooled says whether a node's measurement makes room for a pod for which the one before it made none. It
// does not see the node's pods that are not measured yet: Filter does, when the pod is retried.
func (p *Plugin) cooled(before, after *View, need *podNeed, now time.Time) bool {
	admits := func(v *View) bool {
		if need.batch {
			return v != nil && v.age(now) < p.batchMaxAge
		}
		if v == nil || v.age(now) >= p.stale {
			return true
		}
		o := v.measuredOnly(p)
		o.foresee(v, now)
		o.summarise()
		return p.refuse(o, need, p.since(now)) == reasonNone
	}
	if need.batch && before != nil && before.age(now) >= p.batchMaxAge {
		return admits(after)
	}
	return admits(after) && !admits(before)
}

// measuredOnly is the outlook of a node of which only the measurement is at hand.
func (v *View) measuredOnly(p *Plugin) *outlook {
	o := &outlook{known: true, measuredAt: p.since(v.measuredAt), allocatable: v.capacity.MilliCPU, memoryAllocatable: v.capacity.MemoryBytes}
	o.horizon = p.horizonHours()
	o.onlineMemory = v.onlineMemory()
	return o
}

// EventsToRegister names what else may make room for a pod that this plugin refused: a node that is new or
// larger, a pod that leaves, and the pod itself asking for less.
func (p *Plugin) EventsToRegister(context.Context) ([]fwk.ClusterEventWithHint, error) {
	return []fwk.ClusterEventWithHint{
		{Event: fwk.ClusterEvent{Resource: fwk.Node, ActionType: fwk.Add | fwk.UpdateNodeAllocatable}, QueueingHintFn: p.afterNodeChange},
		{Event: fwk.ClusterEvent{Resource: fwk.Pod, ActionType: fwk.Delete}, QueueingHintFn: p.afterPodDeletion},
		{Event: fwk.ClusterEvent{Resource: fwk.Pod, ActionType: fwk.UpdatePodScaleDown}, QueueingHintFn: p.afterScaleDown},
	}, nil
}

// afterNodeChange retries when the node is new, or has more CPU or memory than before.
func (p *Plugin) afterNodeChange(_ klog.Logger, _ *corev1.Pod, oldObj, newObj any) (fwk.QueueingHint, error) {
	before, _ := oldObj.(*corev1.Node)
	after, ok := newObj.(*corev1.Node)
	if before == nil || !ok {
		return fwk.Queue, nil
	}
	for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
		if after.Status.Allocatable.Name(name, "").Cmp(*before.Status.Allocatable.Name(name, "")) > 0 {
			return fwk.Queue, nil
		}
	}
	return fwk.QueueSkip, nil
}

// afterPodDeletion retries when a pod leaves that counted in its node's online use, for a pod that it counted for.
func (p *Plugin) afterPodDeletion(_ klog.Logger, pod *corev1.Pod, oldObj, _ any) (fwk.QueueingHint, error) {
	gone, ok := oldObj.(*corev1.Pod)
	if !ok || (gone.Spec.NodeName != "" && !isBatch(gone) && !isBatch(pod)) {
		return fwk.Queue, nil
	}
	return fwk.QueueSkip, nil
}

// afterScaleDown retries when a pod asks for less that is the refused one, or is on a node.
func (p *Plugin) afterScaleDown(_ klog.Logger, pod *corev1.Pod, _, newObj any) (fwk.QueueingHint, error) {
	changed, ok := newObj.(*corev1.Pod)
	if !ok || changed.UID == pod.UID || (changed.Spec.NodeName != "" && !isBatch(changed) && !isBatch(pod)) {
		return fwk.Queue, nil
	}
	return fwk.QueueSkip, nil
}
