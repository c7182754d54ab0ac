package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// DurationAnnotation on a batch pod says how long it is expected to run, as a Go duration: 90m, 36h.
const DurationAnnotation = "plimsoll.dev/expected-duration"

// ScoringStrategy says which nodes are preferred for latency-sensitive pods.
type ScoringStrategy string

// The scoring strategies.
const (
	// LeastRisk spreads: it prefers the node on which use is least likely to exceed the safe line, and by least.
	LeastRisk ScoringStrategy = "LeastRisk"
	// MostUsed packs: it prefers the node that is fullest and stays below the safe line.
	MostUsed ScoringStrategy = "MostUsed"
)

// LoadAwareArgs are the arguments of the scheduler plugin LoadAware.
//
// +kubebuilder:object:root=true
type LoadAwareArgs struct {
	metav1.TypeMeta `json:",inline"`

	// mode is Enforce, or Observe: nodes are scored and refused in the record of decisions and in the metrics
	// only, and pods are placed as if the plugin were absent. Default Enforce.
	Mode Mode `json:"mode"`

	// scoringStrategy says where latency-sensitive pods go: LeastRisk spreads them, MostUsed packs them up to
	// the safe line. Batch pods go where there is room for as long as they run. Default LeastRisk.
	ScoringStrategy ScoringStrategy `json:"scoringStrategy"`

	// safeCPUPercent is the share of a node's allocatable CPU up to which it may safely be loaded. 1 to 100;
	// default 80.
	SafeCPUPercent int64 `json:"safeCPUPercent"`

	// maxCPUPercent is the share of a node's allocatable CPU beyond which no further latency-sensitive pod is
	// put on it. 0 refuses no node for its CPU. 0 to 1000; default 95.
	MaxCPUPercent int64 `json:"maxCPUPercent"`

	// maxMemoryPercent is the share of a node's allocatable memory beyond which no further latency-sensitive
	// pod is put on it. 0 refuses no node for its memory. 0 to 1000; default 95.
	MaxMemoryPercent int64 `json:"maxMemoryPercent"`

	// horizonSeconds is how far ahead peaks of use count. 0 to 86400; default 86400.
	HorizonSeconds int64 `json:"horizonSeconds"`

	// freshSeconds is the age up to which a NodeUtilization is fully trusted; more than staleAfterSeconds
	// is as much. 1 to 3600; default 150, one and a quarter of the agent's default heartbeats.
	FreshSeconds int64 `json:"freshSeconds"`

	// staleAfterSeconds is the age at which a NodeUtilization counts for nothing, and the node is scored by
	// requests. In between the one passes into the other. 2 to 3600; default 300, two and a half of the
	// agent's default heartbeats.
	StaleAfterSeconds int64 `json:"staleAfterSeconds"`

	// batchMaxAgeSeconds is the age of a NodeUtilization from which on no batch pod is put on the node.
	// 1 to 3600; default 240, two of the agent's default heartbeats.
	BatchMaxAgeSeconds int64 `json:"batchMaxAgeSeconds"`

	// maturityMilliseconds is how long a pod must have been measured before its measurement fully
	// replaces the estimate of it. 0 to 3600000; default 60000.
	MaturityMilliseconds int64 `json:"maturityMilliseconds"`

	// defaultDurationSeconds is how long a batch pod is expected to run that has neither the annotation
	// plimsoll.dev/expected-duration nor a history. 1 to 604800; default 3600.
	DefaultDurationSeconds int64 `json:"defaultDurationSeconds"`

	// estimates is what a pod is expected to use of which neither it nor its workload was measured.
	Estimates Estimates `json:"estimates"`
}

// Estimates is what pods without a history are expected to use, by class.
type Estimates struct {
	// latencySensitive is for every pod that is not batch. Default: requestPercent 100, burstPercent 0.
	LatencySensitive Estimate `json:"latencySensitive"`
	// batch is for batch pods. Default: requestPercent 100, burstPercent 0.
	Batch Estimate `json:"batch"`
}

// Estimate is what a pod of a class is expected to use:
//
//	request x requestPercent/100 + (limit - request) x burstPercent/100
//
// where the second part is for pods all of whose containers have a limit.
type Estimate struct {
	// requestPercent is the share of its request that a pod uses. 0 to 1000.
	RequestPercent int64 `json:"requestPercent"`
	// burstPercent is the share of what lies between its request and its limit. 0 to 100.
	BurstPercent int64 `json:"burstPercent"`
}
