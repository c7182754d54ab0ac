package v1alpha1

import (
	"cmp"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// WorkloadOf names the workload of a pod as WorkloadProfile.Name does: namespace/Kind/name of its topmost
// owner. The owner is told from the pod's owner references, or, where they are not known, as on a node's
// container runtime, from the labels that the built-in controllers put on their pods: both give the same
// name. A pod of its own is its own workload.
//
//	ReplicaSet api-5d4f8c7b9, label pod-template-hash 5d4f8c7b9 -> payments/Deployment/api
//	Job report-29384756, made by a CronJob                      -> payments/CronJob/report
func WorkloadOf(namespace, podName string, labels map[string]string, owners []metav1.OwnerReference) string {
	kind, name := ownerOf(podName, labels, owners)
	switch kind {
	case "ReplicaSet":
		if base, ok := withoutSuffix(name, labels["pod-template-hash"]); ok {
			kind, name = "Deployment", base
		}
	case "Job":
		if base, ok := withoutCronTime(name); ok {
			kind, name = "CronJob", base
		}
	}
	return namespace + "/" + kind + "/" + name
}

// ownerOf is the kind and the name of the pod's own controller.
func ownerOf(podName string, labels map[string]string, owners []metav1.OwnerReference) (kind, name string) {
	for i := range owners {
		if owners[i].Controller != nil && *owners[i].Controller {
			return owners[i].Kind, owners[i].Name
		}
	}
	if job := cmp.Or(labels["batch.kubernetes.io/job-name"], labels["job-name"]); job != "" {
		return "Job", job
	}
	if podName == labels["statefulset.kubernetes.io/pod-name"] {
		if i := strings.LastIndexByte(podName, '-'); i > 0 {
			return "StatefulSet", podName[:i]
		}
	}
	// What is left of a controller's pod without the random suffix that the API server gave it.
	generated := strings.LastIndexByte(podName, '-')
	if generated <= 0 {
		return "Pod", podName
	}
	switch {
	case labels["pod-template-hash"] != "":
		return "ReplicaSet", podName[:generated]
	case labels["controller-revision-hash"] != "":
		return "DaemonSet", podName[:generated]
	}
	return "Pod", podName
}

func withoutSuffix(name, hash string) (string, bool) {
	if hash == "" {
		return "", false
	}
	base, ok := strings.CutSuffix(name, "-"+hash)
	return base, ok && base != ""
}

// withoutCronTime cuts off what a CronJob puts behind the names of its Jobs: the minutes since 1970, which
// have eight digits from 1989 to 2160.
func withoutCronTime(job string) (string, bool) {
	i := strings.LastIndexByte(job, '-')
	if i <= 0 || len(job)-i-1 != 8 || strings.Trim(job[i+1:], "0123456789") != "" {
		return "", false
	}
	return job[:i], true
}
