package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// NodeUtilization is what a node really uses: measured and published by the agent on the node,
// read by the scheduler and the planner. It is cluster-scoped, named after its node and owned by it.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:scope=Cluster,path=nodeutilizations,singular=nodeutilization,shortName=nu,categories=plimsoll
// +kubebuilder:subresource:status
// +kubebuilder:printcolumn:name="Capacity",type=integer,JSONPath=`.status.capacity.milliCPU`,description="CPU of the node, milli-cores"
// +kubebuilder:printcolumn:name="Used",type=integer,JSONPath=`.status.node.milliCPU`,description="CPU in use on the node, milli-cores"
// +kubebuilder:printcolumn:name="Online",type=integer,JSONPath=`.status.classes[?(@.class=="LatencySensitive")].milliCPU`,description="CPU of latency-sensitive pods, milli-cores"
// +kubebuilder:printcolumn:name="Batch",type=integer,JSONPath=`.status.classes[?(@.class=="Batch")].milliCPU`,description="CPU of batch pods, milli-cores"
// +kubebuilder:printcolumn:name="Stall",type=integer,JSONPath=`.status.classes[?(@.class=="LatencySensitive")].pressure.cpuSomePermille`,description="Share of time in which some latency-sensitive task waited for CPU, permille"
// +kubebuilder:printcolumn:name="Protected",type=string,JSONPath=`.status.conditions[?(@.type=="BatchProtected")].status`,description="Whether batch is held below online work by the kernel"
// +kubebuilder:printcolumn:name="Cgroup",type=string,JSONPath=`.status.cgroupMode`,priority=1
// +kubebuilder:printcolumn:name="Measured",type=date,JSONPath=`.status.observedTime`
type NodeUtilization struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// status is written by the agent of this node only.
	Status NodeUtilizationStatus `json:"status,omitempty"`
}

// NodeUtilizationList is a list of NodeUtilization.
//
// +kubebuilder:object:root=true
type NodeUtilizationList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []NodeUtilization `json:"items"`
}

// NodeUtilizationStatus is one measurement of a node.
type NodeUtilizationStatus struct {
	// observedTime is when the newest counters in this measurement were read, by the node's clock.
	ObservedTime metav1.MicroTime `json:"observedTime"`

	// windowMilliseconds is the time that the rates below are averaged over. It is shorter than the
	// agent's window while the agent has just started.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=3600000
	WindowMilliseconds int64 `json:"windowMilliseconds"`

	// capacity is what the node has.
	Capacity Resources `json:"capacity"`

	// node is the use of the whole node, work outside pods included.
	Node Resources `json:"node"`

	// classes is the use of each class. A class that could not be measured is absent.
	// +listType=map
	// +listMapKey=class
	// +kubebuilder:validation:MaxItems=3
	Classes []ClassUtilization `json:"classes,omitempty"`

	// pods is the use of each pod, keyed by UID. A pod that could not be read this time is absent.
	// +listType=map
	// +listMapKey=uid
	// +kubebuilder:validation:MaxItems=1024
	Pods []PodUtilization `json:"pods,omitempty"`

	// workloads is what one pod of each workload on this node uses, by time of day, so that a scheduler
	// can tell what another pod of it will use. The workloads that use most come first; the rest is left out.
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=64
	Workloads []WorkloadProfile `json:"workloads,omitempty"`
	// forecast is what latency-sensitive pods will use; absent until there is a measurement to start from.
	Forecast *Forecast `json:"forecast,omitempty"`
	// lendable is what batch work may use, with the arithmetic behind it; absent without a fresh measurement.
	Lendable *Lendable `json:"lendable,omitempty"`
	// harm is what pods of this node suffered since the agent started.
	Harm *HarmTotals `json:"harm,omitempty"`
	// cgroupMode is the cgroup hierarchy of the node.
	// +kubebuilder:validation:Enum=v1;v2;hybrid
	CgroupMode string `json:"cgroupMode,omitempty"`

	// kernelVersion is the release of the node's kernel.
	// +kubebuilder:validation:MaxLength=128
	KernelVersion string `json:"kernelVersion,omitempty"`

	// capabilities is what this host can do, found by trying and not by version.
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=64
	Capabilities []Capability `json:"capabilities,omitempty"`
	// strategies is what the agent was told to do about batch work.
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=32
	Strategies []StrategyStatus `json:"strategies,omitempty"`

	// changes is the kernel settings last changed, or refused, newest first.
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	Changes []ChangeStatus `json:"changes,omitempty"`

	// conditions tell what works on this node: BatchProtected (batch is held below online work by the
	// kernel), RuntimeHookReady (batch containers are put into the batch branch when they are created),
	// SettingsHold (nobody else writes the kernel settings that the agent writes), BatchPodsConverted (every
	// batch pod asks for what nodes lend, and none for cpu and memory as it was written), StrategiesAble (no
	// strategy that enforces lacks what it needs here; the message says what), AgentOnTime (the agent looks for
	// harm as often as it should; False where services leave it too little CPU time).
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=16
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// Condition types of NodeUtilization.
const (
	ConditionBatchProtected   = "BatchProtected"
	ConditionRuntimeHookReady = "RuntimeHookReady"
	ConditionSettingsHold     = "SettingsHold"

	ConditionBatchPodsConverted = "BatchPodsConverted"
	ConditionStrategiesAble     = "StrategiesAble"
	ConditionAgentOnTime        = "AgentOnTime"
)

// Resources is an amount of CPU and memory.
type Resources struct {
	// milliCPU is CPU in thousandths of a core.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100000000
	MilliCPU int64 `json:"milliCPU"`

	// memoryBytes is memory in bytes; as a use, the working set: what could not be reclaimed easily.
	// +kubebuilder:validation:Minimum=0
	MemoryBytes int64 `json:"memoryBytes"`
}

// ClassUtilization is the use of all pods of one class.
type ClassUtilization struct {
	Class Class `json:"class"`

	// pods is how many pods of the class were measured.
	// +kubebuilder:validation:Minimum=0
	Pods int32 `json:"pods"`

	Resources `json:",inline"`

	// pressure is the worst pressure among the groups of the class; absent where the kernel has no PSI for them.
	Pressure *Pressure `json:"pressure,omitempty"`
	// windows is how the use of the class was spread over some times up to now: 10 s, 1 min, 5 min and 1 h.
	// A window that is longer than the history is absent.
	// +listType=map
	// +listMapKey=windowSeconds
	// +kubebuilder:validation:MaxItems=8
	Windows []WindowUtilization `json:"windows,omitempty"`
}

// WindowUtilization is how use was spread over the last windowSeconds.
type WindowUtilization struct {
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=604800
	WindowSeconds int32 `json:"windowSeconds"`
	// milliCPU is CPU in thousandths of a core.
	MilliCPU Distribution `json:"milliCPU"`
	// memoryBytes is the working set.
	MemoryBytes Distribution `json:"memoryBytes"`
}

// Distribution is the spread of a quantity in its own unit. Percentiles are at most 1 % off.
type Distribution struct {
	// +kubebuilder:validation:Minimum=0
	Mean int64 `json:"mean"`
	// +kubebuilder:validation:Minimum=0
	P50 int64 `json:"p50"`
	// +kubebuilder:validation:Minimum=0
	P95 int64 `json:"p95"`
	// +kubebuilder:validation:Minimum=0
	P99 int64 `json:"p99"`
	// +kubebuilder:validation:Minimum=0
	Max int64 `json:"max"`
}

// WorkloadProfile is what one pod of a workload uses, by the hour of the day (UTC).
type WorkloadProfile struct {
	// name is the workload as namespace/Kind/name of the pod's topmost owner that its labels or owner
	// references tell: payments/Deployment/api.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	Name  string `json:"name"`
	Class Class  `json:"class"`
	// pods is how many pods of the workload run on this node now.
	// +kubebuilder:validation:Minimum=0
	Pods int32 `json:"pods"`
	// historySeconds is how much of its use the profile rests on.
	// +kubebuilder:validation:Minimum=0
	HistorySeconds int64 `json:"historySeconds"`
	// milliCPU is the spread of one pod's CPU use, in thousandths of a core, over the history.
	MilliCPU Distribution `json:"milliCPU"`
	// memoryBytes is the spread of one pod's working set over the history.
	MemoryBytes Distribution `json:"memoryBytes"`
	// hourlyPeakMilliCPU is one pod's p95 of CPU use in each hour of the day, 00:00 UTC first. 24 entries,
	// or none while there is less than a day of history.
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=24
	// +kubebuilder:validation:items:Minimum=0
	HourlyPeakMilliCPU []int64 `json:"hourlyPeakMilliCPU,omitempty"`
	// runSeconds is the spread of how long its pods ran, of those that have ended on this node; absent for none.
	RunSeconds *Distribution `json:"runSeconds,omitempty"`
}

// Forecast is what latency-sensitive pods of the node will use, as peaks within steps of equal length.
type Forecast struct {
	// start is when the first step begins.
	Start metav1.Time `json:"start"`
	// stepSeconds is the length of a step.
	// +kubebuilder:validation:Minimum=60
	// +kubebuilder:validation:Maximum=86400
	StepSeconds int32 `json:"stepSeconds"`
	// quantilePermille is the stated quantile of the peaks: 990 means that one interval in a hundred may exceed it.
	// +kubebuilder:validation:Minimum=500
	// +kubebuilder:validation:Maximum=999
	QuantilePermille int32 `json:"quantilePermille"`
	// confidencePermille grows with the history behind the forecast, from 0 to 1000.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1000
	ConfidencePermille int32 `json:"confidencePermille"`
	// historySeconds is how much history there is.
	// +kubebuilder:validation:Minimum=0
	HistorySeconds int64 `json:"historySeconds"`
	// coldStart is true while the history is too short for the time of day to be known.
	ColdStart bool `json:"coldStart"`
	// peakMilliCPU is, for each step, what CPU use will not exceed at quantilePermille.
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=96
	// +kubebuilder:validation:items:Minimum=0
	PeakMilliCPU []int64 `json:"peakMilliCPU"`
	// medianMilliCPU is, for each step, the median of CPU use. As long as peakMilliCPU.
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=96
	// +kubebuilder:validation:items:Minimum=0
	MedianMilliCPU []int64 `json:"medianMilliCPU"`
	// peakMemoryBytes is the peak of the working set over all steps at quantilePermille.
	// +kubebuilder:validation:Minimum=0
	PeakMemoryBytes int64 `json:"peakMemoryBytes"`
}

// Lendable is what batch work may use on this node.
type Lendable struct {
	// milliCPU is CPU in thousandths of a core.
	MilliCPU LendableSum `json:"milliCPU"`
	// memoryBytes is memory in bytes.
	MemoryBytes LendableSum `json:"memoryBytes"`
	// horizonSeconds is how far the forecast peak looks ahead.
	// +kubebuilder:validation:Minimum=0
	HorizonSeconds int32 `json:"horizonSeconds"`
	// reason is why published differs from computed, or why nothing is lent; empty where neither is so.
	// +kubebuilder:validation:MaxLength=256
	Reason string `json:"reason,omitempty"`
}

// LendableSum is the arithmetic of one resource, in its unit:
//
//	computed = max(0, safeLine - system - forecastPeak - margin)
//
// published follows computed: down at once, up slowly, and not for small differences.
type LendableSum struct {
	// safeLine is the node's capacity times the safe line that the agent was given.
	// +kubebuilder:validation:Minimum=0
	SafeLine int64 `json:"safeLine"`
	// system is the use of what is neither batch nor latency-sensitive: its peak over the last raiseAfterSeconds.
	// +kubebuilder:validation:Minimum=0
	System int64 `json:"system"`
	// forecastPeak is the peak of latency-sensitive use over the horizon.
	// +kubebuilder:validation:Minimum=0
	ForecastPeak int64 `json:"forecastPeak"`
	// margin is kept free beyond that: more, the less the forecast can be trusted.
	// +kubebuilder:validation:Minimum=0
	Margin int64 `json:"margin"`
	// +kubebuilder:validation:Minimum=0
	Computed int64 `json:"computed"`
	// published is the node's extended resource.
	// +kubebuilder:validation:Minimum=0
	Published int64 `json:"published"`
	// lent is what the batch pods on the node have asked for.
	// +kubebuilder:validation:Minimum=0
	Lent int64 `json:"lent"`
	// lentUnused is what they have asked for and do not use.
	// +kubebuilder:validation:Minimum=0
	LentUnused int64 `json:"lentUnused"`
	// usedBeyondLent is what they use beyond what they have asked for.
	// +kubebuilder:validation:Minimum=0
	UsedBeyondLent int64 `json:"usedBeyondLent"`
}

// HarmTotals only grow, and begin at 0 again when the agent starts anew. What could not be read is absent, and not 0.
type HarmTotals struct {
	// throttledMilliseconds is how long CPU limits stopped latency-sensitive pods: their own limits, which Plimsoll
	// does not set. Each pod counts for itself, and at most with the time that went by.
	// +kubebuilder:validation:Minimum=0
	ThrottledMilliseconds *int64 `json:"throttledMilliseconds,omitempty"`
	// batchThrottledMilliseconds is how long the quota that all batch work of the node shares stopped it.
	// +kubebuilder:validation:Minimum=0
	BatchThrottledMilliseconds *int64 `json:"batchThrottledMilliseconds,omitempty"`
	// evictions is how many batch pods the API server evicted for the agent.
	// +kubebuilder:validation:Minimum=0
	Evictions int64 `json:"evictions"`
}

// Capability is one thing that the host can or cannot do.
type Capability struct {
	// name is a knob or a kernel feature, for example cpu.idle or cpu.idle.shields.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Name string `json:"name"`
	// state is Works (tried, and it does), Fails (tried, and it does not) or Unknown (it could not be tried).
	// +kubebuilder:validation:Enum=Works;Fails;Unknown
	State CapabilityState `json:"state"`
	// detail is what was tried and what came of it.
	// +kubebuilder:validation:MaxLength=256
	Detail string `json:"detail,omitempty"`
}

// CapabilityState is whether a capability was found.
type CapabilityState string

// The states of a capability.
const (
	CapabilityWorks   CapabilityState = "Works"
	CapabilityFails   CapabilityState = "Fails"
	CapabilityUnknown CapabilityState = "Unknown"
)

// Pressure is the share of wall time in which tasks waited for a resource: the kernel's PSI
// (Documentation/accounting/psi.rst), in thousandths.
type Pressure struct {
	// cpuSomePermille is the share of time in which at least one task waited for a CPU.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1000
	CPUSomePermille *int32 `json:"cpuSomePermille,omitempty"`

	// memorySomePermille is the share of time in which at least one task waited for memory.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1000
	MemorySomePermille *int32 `json:"memorySomePermille,omitempty"`

	// ioSomePermille is the share of time in which at least one task waited for a disk.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1000
	IOSomePermille *int32 `json:"ioSomePermille,omitempty"`
}

// PodUtilization is the use of one pod.
type PodUtilization struct {
	// uid is the pod's UID.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	UID string `json:"uid"`

	// namespace of the pod; empty while the container runtime has not named it to the agent.
	// +kubebuilder:validation:MaxLength=63
	Namespace string `json:"namespace,omitempty"`

	// name of the pod; empty while the container runtime has not named it to the agent.
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name,omitempty"`

	Class Class `json:"class"`

	// measuredMilliseconds is how long the agent has been measuring this pod; the scheduler trusts its
	// own estimate less the longer this is.
	// +kubebuilder:validation:Minimum=0
	MeasuredMilliseconds int64 `json:"measuredMilliseconds"`

	Resources `json:",inline"`

	// pressure of the pod's own group; absent where the kernel has no PSI for it.
	Pressure *Pressure `json:"pressure,omitempty"`

	// recent is how the pod's use was spread over the last five minutes; absent until they were measured, and for
	// those that use least where there are more than 250 pods.
	Recent *PodRecent `json:"recent,omitempty"`
}

// PodRecent is how a pod's use was spread over the last five minutes: CPU second by second, in thousandths of
// a core, and the working set each ten seconds. The percentiles are exact.
type PodRecent struct {
	// +kubebuilder:validation:Minimum=0
	MeanMilliCPU int64 `json:"meanMilliCPU"`
	// +kubebuilder:validation:Minimum=0
	P95MilliCPU int64 `json:"p95MilliCPU"`
	// +kubebuilder:validation:Minimum=0
	MaxMilliCPU int64 `json:"maxMilliCPU"`
	// +kubebuilder:validation:Minimum=0
	P95MemoryBytes int64 `json:"p95MemoryBytes"`
	// +kubebuilder:validation:Minimum=0
	MaxMemoryBytes int64 `json:"maxMemoryBytes"`
}

// StrategyStatus is one strategy and its mode on this node.
type StrategyStatus struct {
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Name string `json:"name"`

	Mode Mode `json:"mode"`
}

// ChangeStatus is one kernel setting that the agent changed, would change (mode Observe) or could not change.
type ChangeStatus struct {
	// time is when it was decided.
	Time metav1.MicroTime `json:"time"`

	// strategy is whose decision it was.
	// +kubebuilder:validation:MaxLength=63
	Strategy string `json:"strategy"`

	// group is the cgroup, relative to the hierarchy's root.
	// +kubebuilder:validation:MaxLength=1024
	Group string `json:"group"`

	// knob is the setting's neutral name, for example cpu.idle.
	// +kubebuilder:validation:MaxLength=63
	Knob string `json:"knob"`

	// value is what it was set to, in the knob's neutral unit.
	// +kubebuilder:validation:MaxLength=256
	Value string `json:"value"`

	// outcome is Applied, Observed (mode Observe: nothing was written) or Refused (by the kernel).
	// +kubebuilder:validation:Enum=Applied;Observed;Refused
	Outcome Outcome `json:"outcome"`

	// reason is why the strategy wanted it.
	// +kubebuilder:validation:MaxLength=512
	Reason string `json:"reason"`

	// error is the kernel's answer when it refused.
	// +kubebuilder:validation:MaxLength=512
	Error string `json:"error,omitempty"`
}

// Outcome is what became of a change.
type Outcome string

// The outcomes of a change.
const (
	OutcomeApplied  Outcome = "Applied"
	OutcomeObserved Outcome = "Observed"
	OutcomeRefused  Outcome = "Refused"
)
