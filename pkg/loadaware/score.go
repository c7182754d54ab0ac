package loadaware

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	resourcehelper "k8s.io/component-helpers/resource"
	fwk "k8s.io/kube-scheduler/framework"

	"github.com/plimsoll/plimsoll/pkg/api/v1alpha1"
)

const (
	// batchCPUResource is the extended resource by which a batch pod asks for CPU, in milli-cores.
	batchCPUResource corev1.ResourceName = v1alpha1.GroupName + "/batch-cpu"

	// defaultMilliCPU is what a container that requests no CPU counts as: the value that the scheduler
	// itself uses to keep such containers from piling up on one node.
	defaultMilliCPU = 100

	// maxMilliCPU bounds what enters the arithmetic, so that an absurd request or capacity cannot
	// overflow it: a billion cores.
	maxMilliCPU = 1_000_000_000_000
)

// podNeed is what a pod's scores depend on.
type podNeed struct {
	batch    bool
	milliCPU int64
}

// needOf estimates a pod that is about to be placed. It allocates: once a cycle, not once a node.
func needOf(pod *corev1.Pod) podNeed {
	requests := resourcehelper.PodRequests(pod, resourcehelper.PodResourcesOptions{
		NonMissingContainerRequests: corev1.ResourceList{
			corev1.ResourceCPU: *resource.NewMilliQuantity(defaultMilliCPU, resource.DecimalSI),
		},
	})
	need := podNeed{
		batch:    isBatch(pod),
		milliCPU: clamp(requests.Cpu().MilliValue(), 0, maxMilliCPU),
	}
	if batchCPU, ok := requests[batchCPUResource]; ok && need.batch {
		need.milliCPU = clamp(batchCPU.Value(), 0, maxMilliCPU)
	}
	return need
}

// placedMilliCPU is needOf's estimate for a pod on a node, from what the scheduler computed when it
// put the pod there.
func placedMilliCPU(pod fwk.PodInfo, batch bool) int64 {
	r := pod.CalculateResource() // remembered by the scheduler's PodInfo: no work, no allocation
	if batch {
		if milliCPU, ok := r.Resource.GetScalarResources()[batchCPUResource]; ok {
			return clamp(milliCPU, 0, maxMilliCPU)
		}
	}
	return clamp(r.Non0CPU, 0, maxMilliCPU)
}

func isBatch(pod *corev1.Pod) bool {
	return v1alpha1.ClassOf(pod.Labels, pod.Spec.PriorityClassName) == v1alpha1.ClassBatch
}

// loadMilliCPU is what the node will carry once the pod is on it:
//
//	measured use + sum over placed pods of estimate x (1 - measured time / maturity time) + the pod's estimate
//
// where the factor in brackets is not below 0, and 1 for a pod that was not measured. Unless the pod
// is batch itself, batch counts in neither of the first two: it gives way. Without a view nothing was
// measured, so the load is the sum of all estimates: scoring by requests is the same formula.
func loadMilliCPU(view *View, pods []fwk.PodInfo, pod podNeed, maturityMilliseconds int64) int64 {
	load := pod.milliCPU + view.useMilliCPU(pod.batch)
	for _, placed := range pods {
		p := placed.GetPod()
		measured, ok := view.measuredMilliseconds(p.UID)
		if ok && measured >= maturityMilliseconds {
			continue // most pods: their use is in the node's, whatever their class
		}
		batch := isBatch(p)
		if batch && !pod.batch {
			continue
		}
		estimate := placedMilliCPU(placed, batch)
		if ok {
			estimate = estimate * (maturityMilliseconds - measured) / maturityMilliseconds
		}
		load += estimate
	}
	return load
}

// score is 100 x (1 - load/safe), cut off at 0 and 100, where safe = safePercent/100 x capacity. More
// load never scores higher, more capacity never lower. A node without CPU scores 0.
func score(loadMilliCPU, capacityMilliCPU, safePercent int64) int64 {
	// In hundredths of a milli-core, so that safePercent of the capacity is a whole number.
	safe := clamp(capacityMilliCPU, 0, maxMilliCPU) * safePercent
	if safe <= 0 {
		return fwk.MinScore
	}
	load := clamp(loadMilliCPU, 0, maxMilliCPU) * 100
	if load >= safe {
		return fwk.MinScore
	}
	return fwk.MaxScore * (safe - load) / safe
}

func clamp(v, low, high int64) int64 {
	return max(low, min(v, high))
}
