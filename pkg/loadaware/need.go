package loadaware

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	resourcehelper "k8s.io/component-helpers/resource"
	fwk "k8s.io/kube-scheduler/framework"

	"github.com/plimsoll/plimsoll/pkg/api/v1alpha1"
)

const (
	// batchCPUResource is the extended resource by which a batch pod asks for CPU, in milli-cores.
	batchCPUResource corev1.ResourceName = v1alpha1.GroupName + "/batch-cpu"
	// batchMemoryResource is the one by which it asks for memory, in bytes.
	batchMemoryResource corev1.ResourceName = v1alpha1.GroupName + "/batch-memory"

	// defaultMilliCPU is what a container that requests no CPU counts as: the value that the scheduler
	// itself uses to keep such containers from piling up on one node.
	defaultMilliCPU = 100

	// maxMilliCPU bounds what enters the arithmetic, so that an absurd request or capacity cannot
	// overflow it: a million cores.
	maxMilliCPU = 1_000_000_000
	// maxBytes does the same for memory: an exbibyte.
	maxBytes = 1 << 60

	hoursPerDay = 24
)

// podNeed is what a pod's scores depend on.
type podNeed struct {
	batch bool
	use   expectedUse
	worst int64 // the most that use is at any hour
	// requestMilliCPU is use by requests, for nodes of which nothing is known.
	requestMilliCPU int64
	memoryBytes     int64
	duration        time.Duration // how long a batch pod is expected to run
}

// expectedUse is the CPU that a pod is expected to use, in milli-cores.
type expectedUse struct {
	median, peak int64
	// hourly is the peak by hour of the day, from the present hour on; nil when the time of day is not known.
	hourly *[hoursPerDay]int32
}

// needOf estimates a pod that is about to be placed. It allocates: once a cycle, not once a node.
func (p *Plugin) needOf(pod *corev1.Pod, now time.Time) podNeed {
	batch := isBatch(pod)
	requests := resourcehelper.PodRequests(pod, resourcehelper.PodResourcesOptions{
		NonMissingContainerRequests: corev1.ResourceList{
			corev1.ResourceCPU: *resource.NewMilliQuantity(defaultMilliCPU, resource.DecimalSI),
		},
	})
	milliCPU, bytes := requests.Cpu().MilliValue(), requests.Memory().Value()
	if batch {
		if q, ok := requests[batchCPUResource]; ok {
			milliCPU = q.Value()
		}
		if q, ok := requests[batchMemoryResource]; ok {
			bytes = q.Value()
		}
	}
	need := podNeed{
		batch:           batch,
		requestMilliCPU: p.byRequest(pod, clamp(milliCPU, 0, maxMilliCPU), batch),
		memoryBytes:     clamp(bytes, 0, maxBytes),
	}
	profile := p.history.of(pod)
	need.use = useOf(profile, need.requestMilliCPU, now)
	need.worst = need.use.peak
	if need.use.hourly != nil {
		need.worst = int64(slices.Max(need.use.hourly[:]))
	}
	if batch {
		need.duration = durationOf(pod, profile, time.Duration(p.args.DefaultDurationSeconds)*time.Second)
	}
	return need
}

// byRequest is what a pod without a history is expected to use, from its request:
//
//	request x requestPercent/100 + (limit - request) x burstPercent/100
func (p *Plugin) byRequest(pod *corev1.Pod, requestMilliCPU int64, batch bool) int64 {
	e := p.args.Estimates.LatencySensitive
	if batch {
		e = p.args.Estimates.Batch
	}
	estimate := requestMilliCPU * e.RequestPercent / 100
	if e.BurstPercent > 0 && !batch { // extended resources have no limit of their own
		if limit, ok := cpuLimit(pod); ok && limit > requestMilliCPU {
			estimate += (limit - requestMilliCPU) * e.BurstPercent / 100
		}
	}
	return clamp(estimate, 0, maxMilliCPU)
}

// cpuLimit is the sum of the limits of the pod's containers, if each has one.
func cpuLimit(pod *corev1.Pod) (int64, bool) {
	var sum int64
	for i := range pod.Spec.Containers {
		limit, ok := pod.Spec.Containers[i].Resources.Limits[corev1.ResourceCPU]
		if !ok {
			return 0, false
		}
		sum += clamp(limit.MilliValue(), 0, maxMilliCPU)
	}
	return clamp(sum, 0, maxMilliCPU), true
}

// placedRequest is the request of a pod on a node, from what the scheduler computed when it put the pod there.
func placedRequest(pod fwk.PodInfo, batch bool) (milliCPU, bytes int64) {
	r := pod.CalculateResource() // remembered by the scheduler's PodInfo: no work, no allocation
	milliCPU, bytes = r.Non0CPU, r.Resource.GetMemory()
	if batch {
		scalars := r.Resource.GetScalarResources()
		if v, ok := scalars[batchCPUResource]; ok {
			milliCPU = v
		}
		if v, ok := scalars[batchMemoryResource]; ok {
			bytes = v
		}
	}
	return clamp(milliCPU, 0, maxMilliCPU), clamp(bytes, 0, maxBytes)
}

func isBatch(pod *corev1.Pod) bool {
	return v1alpha1.ClassOf(pod.Labels, pod.Spec.PriorityClassName) == v1alpha1.ClassBatch
}

// durationOf is how long a batch pod is expected to run: what its annotation says, else what nearly all pods
// of its workload took, else the default. An annotation that is no duration counts as absent: it must not
// keep the pod from being placed.
func durationOf(pod *corev1.Pod, profile *workload, otherwise time.Duration) time.Duration {
	if text, ok := pod.Annotations[v1alpha1.DurationAnnotation]; ok {
		if d, err := time.ParseDuration(text); err == nil && d > 0 {
			return d
		}
	}
	if profile != nil && profile.runSeconds > 0 {
		return time.Duration(profile.runSeconds) * time.Second
	}
	return otherwise
}

func clamp(v, low, high int64) int64 {
	return max(low, min(v, high))
}
