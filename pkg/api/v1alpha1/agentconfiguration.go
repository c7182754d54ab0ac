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

	// strategies to run, each at most once. A strategy that is not named is Off.
	// Default: batchidle in mode Observe.
	Strategies []StrategyConfiguration `json:"strategies"`
}

// PublishConfiguration says when NodeUtilization is written: at most once in minIntervalMilliseconds,
// when something has moved by more than changePermille of the node's capacity, and at least once in
// heartbeatMilliseconds.
type PublishConfiguration struct {
	// minIntervalMilliseconds is the shortest time between two writes. 100 to 600000; default 1000.
	MinIntervalMilliseconds int64 `json:"minIntervalMilliseconds"`

	// heartbeatMilliseconds is the longest time between two writes. From minIntervalMilliseconds to
	// 3600000; default 30000.
	HeartbeatMilliseconds int64 `json:"heartbeatMilliseconds"`

	// changePermille is how far the CPU or memory of the node, a class or a pod must have moved from
	// what was last written, in thousandths of the node's capacity. 0 to 1000; default 10.
	ChangePermille int64 `json:"changePermille"`
}

// RuntimeHookConfiguration says what happens to batch containers when the container runtime creates them.
type RuntimeHookConfiguration struct {
	// mode is Enforce (batch containers are put into the batch branch), Observe (the hook only looks on)
	// or Off (it does not connect to the runtime). Default Observe.
	Mode Mode `json:"mode"`
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
