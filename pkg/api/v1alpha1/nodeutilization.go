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

	// cgroupMode is the cgroup hierarchy of the node.
	// +kubebuilder:validation:Enum=v1;v2;hybrid
	CgroupMode string `json:"cgroupMode,omitempty"`

	// kernelVersion is the release of the node's kernel.
	// +kubebuilder:validation:MaxLength=128
	KernelVersion string `json:"kernelVersion,omitempty"`

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
	// kernel), RuntimeHookReady (batch containers are put into the batch branch when they are created).
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=16
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// Condition types of NodeUtilization.
const (
	ConditionBatchProtected   = "BatchProtected"
	ConditionRuntimeHookReady = "RuntimeHookReady"
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
}

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
