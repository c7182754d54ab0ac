// Package batchbound holds the containers of batch pods to their limits where no runtime hook does: where
// the container runtime has no NRI, the kubelet puts them into the pod's own group, in its tier besteffort,
// and knows of no limit, since they ask for extended resources.
//
// Which group gets what:
//
//	the pod's group        the CPU quota, memory limit and limit of tasks of the whole pod
//	a container's group    its CPU weight, CPU quota, memory limit and limit of tasks; while it is not known which
//	                       container it is, the largest quota, memory and tasks that one of the pod's has
//
// The kubelet makes the pod's group before the first container, and for a BestEffort pod writes its CPU weight
// and, with podPidsLimit, its limit of tasks: the weight is left to it, and so is a limit of tasks that is there. So what the
// pod was given holds before its first instruction, or within a fast tick. So do its container's, where it has
// one; where it has several, how it is split between them follows when the kubelet has told the API server
// which is which. The sandbox, and a container that was added to look into the pod, have no name in what the pod was
// given, and stay held to the largest.
//
// A container in the batch branch that the hook could place and not bound, because another NRI plugin sets the same
// fields, gets the same.
//
// A pod that was not converted may have limits of the kubelet's. Only what is unlimited in its containers is
// limited then.
//
// Units: CPU quotas in microseconds of CPU time in each 100 ms, memory in bytes, weights on the scale 1 to 10000.
//
// The trap: this bounds batch and does not hold it below online work, other than by the kubelet's own weight. That
// needs the batch branch.
package batchbound

import (
	"slices"
	"strconv"

	"github.com/plimsoll/plimsoll/pkg/qos"
)

// Name is the strategy's name in the agent's configuration.
const Name = "batchbound"

// Args are the strategy's arguments. What containers are held to is in the pods, and in the agent's runtimeHook.
type Args struct{}

// Factory makes the strategy.
func Factory() qos.Factory {
	return qos.NewFactory(Name, func() Args { return Args{} }, func(Args) error { return nil }, New)
}

// PodKnobs and ContainerKnobs are what it sets of a pod's group, and of the groups in it.
func PodKnobs() []qos.Knob { return []qos.Knob{qos.CPUQuota, qos.MemoryMax, qos.PIDsMax} }

// ContainerKnobs is PodKnobs for the groups in a pod's group.
func ContainerKnobs() []qos.Knob {
	return []qos.Knob{qos.CPUWeight, qos.CPUQuota, qos.MemoryMax, qos.PIDsMax}
}

// New returns the strategy.
func New(Args) qos.Strategy {
	return qos.Strategy{Name: Name, Knobs: ContainerKnobs(), Kinds: []qos.Kind{qos.KindPod, qos.KindUnplaced, qos.KindBatchContainer}, Step: step}
}

// step asks for the same thing blind or not: limits need no measurement.
func step(s qos.State) qos.Plan {
	var plan qos.Plan
	for _, g := range s.Groups {
		if b := g.Bounds; b != nil {
			bound(&plan, g, qos.CPUWeight, b.Weight, "")
			bound(&plan, g, qos.CPUQuota, b.QuotaMicros, unlimited)
			bound(&plan, g, qos.MemoryMax, b.MemoryBytes, unlimited)
			bound(&plan, g, qos.PIDsMax, b.PIDs, unlimited)
		}
	}
	return plan
}

// unlimited is the value of a knob that limits nothing.
const unlimited = "max"

// bound asks for one setting. An amount of 0 asks for nothing. free is the value of a knob that nobody has
// set, where there is one.
func bound(plan *qos.Plan, g qos.Group, knob qos.Knob, amount int64, free string) {
	if amount <= 0 {
		return
	}
	value, is := strconv.FormatInt(amount, 10), g.Settings[knob]
	if slices.Contains(g.Bounds.Yields, knob) && (!is.OK || is.Value != free && is.Value != value) {
		return // somebody else's limit, or nobody knows
	}
	plan.Changes = append(plan.Changes, qos.Change{Group: g.Path, Knob: knob, Value: value, Reason: g.Bounds.Reason})
}
