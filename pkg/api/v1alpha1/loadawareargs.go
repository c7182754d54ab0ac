package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// LoadAwareArgs are the arguments of the scheduler plugin LoadAware.
//
// +kubebuilder:object:root=true
type LoadAwareArgs struct {
	metav1.TypeMeta `json:",inline"`

	// safeCPUPercent is the share of a node's CPU up to which it may safely be loaded; a node at or
	// above it gets the lowest score. 1 to 100; default 80.
	SafeCPUPercent int64 `json:"safeCPUPercent"`

	// staleAfterSeconds is the age at which a NodeUtilization counts as missing, and the node is scored
	// by requests on the same curve. 2 to 3600; default 300, two and a half of the agent's default heartbeats.
	StaleAfterSeconds int64 `json:"staleAfterSeconds"`

	// maturityMilliseconds is how long a pod must have been measured before its measurement fully
	// replaces its request in the node's load. 0 to 3600000; default 10000, the agent's default window.
	MaturityMilliseconds int64 `json:"maturityMilliseconds"`
}
