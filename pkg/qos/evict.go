package qos

import (
	"time"

	"github.com/plimsoll/plimsoll/pkg/usage"
)

// BatchPod is one batch pod of the node.
type BatchPod struct {
	UID, Namespace, Name string
	// Group is its own cgroup.
	Group string
	// RequestMilliCPU is what it was lent; 0 where it asks for none, or it is not known.
	RequestMilliCPU int64
	// MilliCPU is its rate; CPUSomePermille the share of the time in which some task of it waited for a CPU.
	MilliCPU, CPUSomePermille usage.Reading
	// DoneCPUMicros is the CPU time that its containers have used: the work that is lost with it.
	DoneCPUMicros usage.Reading
}

// Eviction is "end this pod, because". It goes through the Eviction API, which may refuse it.
type Eviction struct {
	Pod    BatchPod
	Reason string
	// Inputs is what the decision rested on: name=value with the unit in the name, separated by spaces.
	Inputs string
}

// MostCounted is how much of the time between two ticks counts as measured: a clock that jumped, or an agent
// that was stopped, has measured no more.
const MostCounted = 10 * time.Second
