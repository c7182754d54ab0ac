package v1alpha1

import "k8s.io/apimachinery/pkg/runtime/schema"

const (
	// GroupName is the API group of every Plimsoll kind.
	GroupName = "plimsoll.dev"
	// Version is the version of the kinds in this package.
	Version = "v1alpha1"
	// APIVersion is what the apiVersion field of each kind holds.
	APIVersion = GroupName + "/" + Version

	// ClassLabel on a pod, or on its namespace, says the pod's Class.
	ClassLabel = "plimsoll.dev/class"

	// BatchCPUResource is the extended resource of CPU that batch pods ask for and nodes lend: integer thousandths
	// of a core.
	BatchCPUResource = GroupName + "/batch-cpu"

	// BatchMemoryResource is that of memory: bytes.
	BatchMemoryResource = GroupName + "/batch-memory"

	// RealtimeAnnotation on a latency-sensitive pod asks with "true" that its threads run at real-time
	// priority. The node's operator says who is heard: strategy realtime.
	RealtimeAnnotation = GroupName + "/realtime"

	// BurstAnnotation on a latency-sensitive pod asks with "true" that its containers may save up CPU that
	// their limits leave them, and use it above their limits: strategy burst.
	BurstAnnotation = GroupName + "/burst"

	// WholeCoresAnnotation on a latency-sensitive pod asks that batch work keeps off so many whole cores of its
	// node, "1" and up. The node's operator says who is heard: strategy batchcpuset.
	WholeCoresAnnotation = GroupName + "/whole-cores"

	// UnsharedCoresAnnotation on a latency-sensitive pod asks with "true" that batch work never runs on another
	// thread of a core while a thread of the pod runs on it. The node's operator says who is heard: strategy coresched.
	UnsharedCoresAnnotation = GroupName + "/unshared-cores"

	// FreezeUntilAnnotation on a Node holds back all that it could lend, until the time that it says (RFC 3339).
	// It is put there by people (plimsoll freeze); agents only read it.
	FreezeUntilAnnotation = GroupName + "/freeze-until"

	// BatchResourcesAnnotation is put on a batch pod by the admission policy: what each of its containers is
	// scheduled with and held to, as JSON, see BatchResources.
	BatchResourcesAnnotation = GroupName + "/batch-resources"
	// OriginalResourcesAnnotation keeps, as JSON for people, what the admission policy changed in a batch pod.
	OriginalResourcesAnnotation = GroupName + "/original-resources"

	// FieldManager owns the fields of NodeUtilization.
	FieldManager = "plimsoll-agent"
)

// NodeUtilizationResource is the resource that the agent writes and the scheduler watches.
func NodeUtilizationResource() schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: GroupName, Version: Version, Resource: "nodeutilizations"}
}

// Class says whose work a pod is.
// +kubebuilder:validation:Enum=System;LatencySensitive;Batch
type Class string

const (
	// ClassSystem is pods of system-node-critical priority, and what runs outside pods.
	ClassSystem Class = "System"
	// ClassLatencySensitive is every pod that is neither System nor Batch.
	ClassLatencySensitive Class = "LatencySensitive"
	// ClassBatch is pods labelled plimsoll.dev/class: batch.
	ClassBatch Class = "Batch"
)

// BatchLabelValue is the value of ClassLabel that makes a pod Batch.
const BatchLabelValue = "batch"

// ClassOf returns the class of a pod with these labels and this priority class.
//
// The namespace's label is copied to the pod by the admission policy, so the pod's own label decides.
func ClassOf(labels map[string]string, priorityClassName string) Class {
	switch {
	case labels[ClassLabel] == BatchLabelValue:
		return ClassBatch
	case priorityClassName == "system-node-critical":
		return ClassSystem
	default:
		return ClassLatencySensitive
	}
}
