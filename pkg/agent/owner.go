package agent

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/plimsoll/plimsoll/pkg/api/v1alpha1"
)

// workloadOf is the topmost owner of a pod that the pod itself tells of, as namespace/Kind/name. A
// ReplicaSet is named after its Deployment and the pod template's hash, a Job after its CronJob and the
// minute it was due; to follow the owner references instead, every agent would have to watch every
// ReplicaSet and Job of the cluster.
func workloadOf(pod *corev1.Pod) string {
	kind, name := "Pod", pod.Name
	if owner := metav1.GetControllerOf(pod); owner != nil && owner.Kind != "Node" { // a static pod is the node's
		kind, name = owner.Kind, owner.Name
	}
	switch kind {
	case "ReplicaSet":
		if deployment, ok := strings.CutSuffix(name, "-"+pod.Labels["pod-template-hash"]); ok && deployment != "" {
			kind, name = "Deployment", deployment
		}
	case "Job":
		if cronJob, ok := cutMinutes(name); ok {
			kind, name = "CronJob", cronJob
		}
	}
	return pod.Namespace + "/" + kind + "/" + name
}

// cutMinutes takes the suffix off that the CronJob controller gives its Jobs: minutes since 1970, of which
// there are eight digits from 1989 to 2160.
func cutMinutes(job string) (cronJob string, ok bool) {
	const digits = 8
	i := strings.LastIndexByte(job, '-')
	if i < 1 || len(job)-i-1 != digits || strings.Trim(job[i+1:], "0123456789") != "" {
		return "", false
	}
	return job[:i], true
}

// lentBy is what requests ask for of what a node lends.
func lentBy(requests corev1.ResourceList) v1alpha1.Resources {
	cpu, memory := requests[v1alpha1.BatchCPUResource], requests[v1alpha1.BatchMemoryResource]
	return v1alpha1.Resources{MilliCPU: max(0, cpu.Value()), MemoryBytes: max(0, memory.Value())}
}
