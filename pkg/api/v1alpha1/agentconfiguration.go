package v1alpha1

import (
	"encoding/json"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Mode says how far a strategy may go.
// +kubebuilder:validation:Enum=Off;Observe;Enforce
type Mode string

const (
	// ModeOff does not run the strategy.
	ModeOff Mode = "Off"
	// ModeObserve decides and publishes what it would do, and writes nothing.
	ModeObserve Mode = "Observe"
	// ModeEnforce writes what it decides.
	ModeEnforce Mode = "Enforce"
)

// AgentConfiguration is the file that plimsoll-agent reads: what to do. Where things are is said by flags.
//
// +kubebuilder:object:root=true
type AgentConfiguration struct {
	metav1.TypeMeta `json:",inline"`

	// tickMilliseconds is the time between two readings of the node. 100 to 60000; default 1000.
	TickMilliseconds int64 `json:"tickMilliseconds"`

	// windowMilliseconds is the time that published rates are averaged over. From tickMilliseconds to
	// 3600000; default 10000.
	WindowMilliseconds int64 `json:"windowMilliseconds"`

	// publish says when NodeUtilization is written.
	Publish PublishConfiguration `json:"publish"`

	// blindAfterFailures is how many readings of the node may fail in a row before the strategies are
	// asked for the plan that protects the online side without measurements. 1 to 1000; default 5.
	BlindAfterFailures int `json:"blindAfterFailures"`

	// runtimeHook says what happens to batch containers when they are created.
	RuntimeHook RuntimeHookConfiguration `json:"runtimeHook"`

	// audit says how much of the audit log is kept on the node.
	Audit AuditConfiguration `json:"audit"`

	// lending says how much of the node batch work may use, and whether the node offers it.
	Lending LendingConfiguration `json:"lending"`

	// strategies to run, each at most once. A strategy that is not named is Off.
	// Default: batchidle, batchbound and batchcap in mode Observe.
	Strategies []StrategyConfiguration `json:"strategies"`
}

// PublishConfiguration says when NodeUtilization is written. Between two writes readers see the last
// one; how wrong that is, in thousandths of the node's capacity, is the error. It is taken of the CPU and
// memory of the node, of each class and of each pod, and the largest counts.
//
// A write is due when the error is jumpPermille or more; when the error times the time that it has lasted
// is errorBudgetPermilleSeconds or more; and heartbeatMilliseconds after the last write. On a node whose
// use never rests the budget grows until there is hardly more than one write in
// averageIntervalMilliseconds. News that are no measurement, a condition for example, are written at once.
type PublishConfiguration struct {
	// minIntervalMilliseconds is the shortest time between two writes, whatever happens. 100 to 600000;
	// default 1000.
	MinIntervalMilliseconds int64 `json:"minIntervalMilliseconds"`

	// averageIntervalMilliseconds is the time between two writes that a restless node is held to. From
	// minIntervalMilliseconds to 3600000; default 65000.
	AverageIntervalMilliseconds int64 `json:"averageIntervalMilliseconds"`

	// heartbeatMilliseconds is the longest time between two writes. It must be well below the scheduler's
	// staleAfterSeconds. From minIntervalMilliseconds to 3600000; default 120000.
	HeartbeatMilliseconds int64 `json:"heartbeatMilliseconds"`

	// changePermille is the error that readers need not be told of before the heartbeat. 0 to 1000; default 5.
	ChangePermille int64 `json:"changePermille"`

	// jumpPermille is the error that readers are told of at once. From changePermille to 1000; default 100.
	JumpPermille int64 `json:"jumpPermille"`

	// errorBudgetPermilleSeconds is the error times its duration that readers are told of: with 100, an
	// error of 20 thousandths is told of after 5 seconds. 0 to 100000; default 100.
	ErrorBudgetPermilleSeconds int64 `json:"errorBudgetPermilleSeconds"`
}

// AuditConfiguration says how much of the audit log is kept on the node. A file of it that has
// maxFileBytes is followed by the next; the oldest beyond maxFiles is removed, and the log says so.
type AuditConfiguration struct {
	// maxFileBytes is the size from which on a file is followed by the next. 65536 to 1073741824; default
	// 16777216.
	MaxFileBytes int64 `json:"maxFileBytes"`

	// maxFiles is how many files are kept. 0 (all of them) to 10000; default 32.
	MaxFiles int64 `json:"maxFiles"`
}

// LendingConfiguration says how much of the node batch work may use: of CPU and of memory
//
//	lendable = capacity x safe line - system - peak forecast of latency-sensitive use - margin
//
// never below 0. What is published follows down at once. It follows up to the least that was lendable in
// the last raiseAfterSeconds.
type LendingConfiguration struct {
	// mode is Enforce (the node offers it as plimsoll.dev/batch-cpu and plimsoll.dev/batch-memory), Observe
	// (it is computed and shown in NodeUtilization) or Off (it is not computed). Default Observe.
	Mode Mode `json:"mode"`

	// cpu and memory say how much of each may be lent.
	CPU    LendingResource `json:"cpu"`
	Memory LendingResource `json:"memory"`

	// horizonSeconds is how far the forecast looks ahead. 300 to 86400; default 3600.
	HorizonSeconds int64 `json:"horizonSeconds"`

	// quantilePermille is the quantile of the forecast: 990 means that one interval in a hundred may
	// exceed it. 500 to 999; default 990.
	QuantilePermille int64 `json:"quantilePermille"`

	// raiseAfterSeconds is how long more must have been lendable before more is lent. 10 to 86400; default 600.
	RaiseAfterSeconds int64 `json:"raiseAfterSeconds"`

	// deadBandPermille is how much more must be lendable before more is lent, in thousandths of the
	// node's capacity. 0 to 200; default 10.
	DeadBandPermille int64 `json:"deadBandPermille"`

	// freezeWindows are times in which less is lent, or nothing, and strategy batchcap caps batch work
	// accordingly. At most 64; default none.
	FreezeWindows []FreezeWindow `json:"freezeWindows,omitempty"`
}

// FreezeWindow is a time that comes again and again, in which lending is off or reduced.
type FreezeWindow struct {
	// name is for people: market open.
	Name string `json:"name"`

	// schedule says when the window begins, in cron's five fields: minute, hour, day of the month, month and
	// day of the week. "30 9 * * MON-FRI" is 9:30 on weekdays.
	Schedule string `json:"schedule"`

	// lastDayOfMonthOnly leaves out all beginnings that are not on the last day of a month: with the schedule
	// "0 18 28-31 * *" the window is that of the month's end. Default false.
	LastDayOfMonthOnly bool `json:"lastDayOfMonthOnly,omitempty"`

	// timeZone is the IANA name of the zone that schedule is in, such as America/New_York. There is no default.
	TimeZone string `json:"timeZone"`

	// durationSeconds is how long it lasts. 60 to 2678400.
	DurationSeconds int64 `json:"durationSeconds"`

	// lendPermille is how much of what could be lent is lent in it. 0, the default, to 999.
	LendPermille int64 `json:"lendPermille,omitempty"`

	// rampSeconds is over how long lending goes down to that beforehand; half a minute before the window begins it
	// is there. 0, the default, to 86400.
	RampSeconds int64 `json:"rampSeconds,omitempty"`
}

// LendingResource says how much of one resource may be lent, in thousandths of the node's capacity.
type LendingResource struct {
	// safeLinePermille is how much of the node may be in use by all. 1 to 1000; default 800 of CPU and 850
	// of memory.
	SafeLinePermille int64 `json:"safeLinePermille"`

	// marginPermille is kept free beyond the forecast when it rests on enough history. 0 to 1000; default 20.
	MarginPermille int64 `json:"marginPermille"`

	// coldMarginPermille is kept free when there is no history; in between the margin shrinks as the
	// forecast's confidence grows. From marginPermille to 1000; default 100.
	ColdMarginPermille int64 `json:"coldMarginPermille"`
}

// RuntimeHookConfiguration says what happens to batch containers when the container runtime creates them.
type RuntimeHookConfiguration struct {
	// mode is Enforce (batch containers are put into the batch branch), Observe (the hook only looks on)
	// or Off (it does not connect to the runtime). Default Observe.
	Mode Mode `json:"mode"`

	// timeoutMilliseconds is the longest that the creation of a container waits for the hook. Past it a
	// batch container is refused, and tried again by the kubelet; any other is created as if there were no
	// hook. 10 to 1500, for the runtime itself waits 2000; default 200.
	TimeoutMilliseconds int64 `json:"timeoutMilliseconds"`

	// maxPIDs is how many tasks each batch container may have. 64 to 4194304; default 4096.
	MaxPIDs int64 `json:"maxPIDs"`

	// fallback is what a batch container is held to of which neither the pod nor the kubelet says more: one
	// of a pod that the admission policy did not convert.
	Fallback FallbackConfiguration `json:"fallback"`
}

// FallbackConfiguration is what a batch container is held to when nothing else says.
type FallbackConfiguration struct {
	// milliCPU is its CPU quota in thousandths of a core. 0 to 1000000; 0, the default, is all of the node's
	// CPUs: batch yields CPU at once, and a quota that is too tight only makes it slow.
	MilliCPU int64 `json:"milliCPU"`

	// memoryBytes is its memory limit. 16777216 to 17592186044416; default 1073741824.
	MemoryBytes int64 `json:"memoryBytes"`
}

// StrategyConfiguration turns on one strategy.
type StrategyConfiguration struct {
	// name of the strategy, for example batchidle.
	Name string `json:"name"`

	// mode is Off, Observe or Enforce. Default Observe.
	Mode Mode `json:"mode"`

	// args are the strategy's own; each strategy documents and validates them.
	Args json.RawMessage `json:"args,omitempty"`
}
