// Package batchidle is the strategy that sets cpu.idle on the batch branch, so that the kernel runs
// batch work only where no online pod wants the CPU. It is set once and holds without the agent.
//
// It is not a cap: batch uses whatever is idle. It never touches a group of the kubelet's: cpu.idle on
// the kubelet's besteffort tier makes the kubelet's next start fail, because the kernel then refuses
// its write of the tier's weight.
//
// Units: cpu.idle is 0 or 1.
//
// The trap: the flag counts only where batch and online are siblings, which is the branch and not the
// containers in it.
package batchidle

import "github.com/plimsoll/plimsoll/pkg/qos"

// Name is the strategy's name in the agent's configuration.
const Name = "batchidle"

// Args are the strategy's arguments: there are none.
type Args struct{}

// Factory makes the strategy.
func Factory() qos.Factory {
	return qos.NewFactory(Name, func() Args { return Args{} }, func(Args) error { return nil }, New)
}

// New returns the strategy.
func New(Args) qos.Strategy {
	return qos.Strategy{Name: Name, Knobs: []qos.Knob{qos.CPUIdle}, Kinds: []qos.Kind{qos.KindBatchBranch}, Step: step}
}

// step wants cpu.idle=1 on the batch branch, blind or not: the plan that protects the online side is
// the same plan.
func step(s qos.State) qos.Plan {
	for _, g := range s.Groups {
		if g.Kind != qos.KindBatchBranch {
			continue
		}
		if g.Settings[qos.CPUIdle].Unsupported {
			return qos.Plan{Notes: []string{"this kernel has no cpu.idle (it came with Linux 5.15): batch is held back by its weight only"}}
		}
		return qos.Plan{Changes: []qos.Change{{
			Group: g.Path, Knob: qos.CPUIdle, Value: "1",
			Reason: "batch runs only when no online task wants the CPU",
		}}}
	}
	return qos.Plan{Notes: []string{"no batch branch on this node yet: batch containers are where the kubelet put them"}}
}
