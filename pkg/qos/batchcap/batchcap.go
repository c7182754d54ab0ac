// Package batchcap is the strategy that holds the batch branch to a CPU quota, so that batch and online work
// together stay below a line of the node's CPU.
//
// The line moves with what online pods suffer. While none suffers more than it makes for itself, it is the
// calm line, by default the whole node: then there is no quota, for batch yields the CPU anyway (strategy
// batchidle) and a quota would only cost it. When a pod suffers, the line falls to the safe line at once, and on by
// steps for as long as that does not help. It rises again by steps, each later than the one before
// where raising it did harm.
//
//	quota = line - peak of what is not batch over raiseAfterSeconds, at least the floor
//
// Where no online pod uses anything there is no quota. Where the node cannot be measured the quota is the floor.
//
// Units: lines, steps and harm in thousandths (Permille) of the node's CPU or of time; CPU in thousandths of a core.
//
// The trap: a quota keeps batch from running, not from holding what a service waits for. One that bites all the time does
// harm of its own; it is the second line of defence, behind batchidle and realtime.
package batchcap

import (
	"time"

	"github.com/plimsoll/plimsoll/pkg/qos"
)

// Name is the strategy's name in the agent's configuration.
const Name = "batchcap"

// Args are the strategy's arguments.
type Args struct {
	// SafeLinePermille is how much of the node's CPU all work may use while an online pod is harmed. 100 to
	// 1000; default 800.
	SafeLinePermille int64 `json:"safeLinePermille"`
	// CalmLinePermille is how much all work may use while none is. 1000, the default, means no quota then. From
	// safeLinePermille to 1000; as much as safeLinePermille makes an ordinary suppression of it.
	CalmLinePermille int64 `json:"calmLinePermille"`
	// FloorPermille of the node's CPU is what batch may always use. 5 to 500; default 50.
	FloorPermille int64 `json:"floorPermille"`
	// HarmPermille is how much more than it makes for itself a pod may suffer: of the time in which some of its
	// tasks waited for a CPU. 10 to 1000; default 100.
	HarmPermille int64 `json:"harmPermille"`
	// StepPermille of the node's CPU is how much the line or the quota rises at a time. 10 to 1000; default 100.
	StepPermille int64 `json:"stepPermille"`
	// DeadBandPermille of the node's CPU is the difference for which the quota is not raised. 10 to 200; default 30.
	DeadBandPermille int64 `json:"deadBandPermille"`
	// RaiseAfterSeconds is how long all must have been well before the next step up. 1 to 3600; default 10.
	RaiseAfterSeconds int64 `json:"raiseAfterSeconds"`
	// RaiseAfterMostSeconds is what that grows to, by doubling, where raising the line does harm again. From
	// raiseAfterSeconds to 86400; default 600.
	RaiseAfterMostSeconds int64 `json:"raiseAfterMostSeconds"`
	// PeriodMicroseconds is the quota's period: short ones leave gaps in which a CPU is idle and takes over a
	// thread that waits. It is longer where the quota would be less than 1000 in it. 1000 to 1000000; default 4000.
	PeriodMicroseconds int64 `json:"periodMicroseconds"`
}

// Factory makes the strategy.
func Factory() qos.Factory { return qos.NewFactory(Name, defaults, validate, New) }

func defaults() Args {
	return Args{
		SafeLinePermille: 800, CalmLinePermille: 1000, FloorPermille: 50, HarmPermille: 100, StepPermille: 100,
		DeadBandPermille: 30, RaiseAfterSeconds: 10, RaiseAfterMostSeconds: 600, PeriodMicroseconds: 4000,
	}
}

func validate(a Args) error {
	var r qos.Ranges
	r.Check("safeLinePermille", a.SafeLinePermille, 100, 1000)
	r.Check("calmLinePermille", a.CalmLinePermille, min(a.SafeLinePermille, 1000), 1000)
	r.Check("floorPermille", a.FloorPermille, 5, 500)
	r.Check("harmPermille", a.HarmPermille, 10, 1000)
	r.Check("stepPermille", a.StepPermille, 10, 1000)
	r.Check("deadBandPermille", a.DeadBandPermille, 10, 200)
	r.Check("raiseAfterSeconds", a.RaiseAfterSeconds, 1, 3600)
	r.Check("raiseAfterMostSeconds", a.RaiseAfterMostSeconds, min(a.RaiseAfterSeconds, 86_400), 86_400)
	r.Check("periodMicroseconds", a.PeriodMicroseconds, 1000, 1_000_000)
	return r.Err()
}

// New returns the strategy.
func New(args Args) qos.Strategy {
	s := qos.Bind(Name, []qos.Knob{qos.CPUQuota}, func(s qos.State, m memory) (qos.Plan, memory) {
		plan := step(args, s, &m)
		return plan, m
	})
	s.Fast, s.Kinds = true, []qos.Kind{qos.KindBatchBranch}
	return s
}

func step(args Args, s qos.State, m *memory) qos.Plan {
	branch, ok := s.BatchBranch()
	if !ok {
		return qos.Plan{Notes: []string{"no batch branch on this node yet: there is nothing to cap"}}
	}
	if branch.Settings[qos.CPUQuota].Unsupported {
		return qos.Plan{Notes: []string{"this kernel has no CPU quota (CONFIG_CFS_BANDWIDTH): batch is not capped"}}
	}
	if s.CPU.CapacityMilliCPU > 0 {
		m.capacity = s.CPU.CapacityMilliCPU
	}
	if m.capacity <= 0 { // never read yet
		return qos.Plan{Notes: []string{"how many CPUs the node has is not known: batch is not capped"}}
	}
	d := decider{args: args, s: s, m: m, branch: branch}
	return d.plan()
}

func (a Args) raiseAfter() time.Duration { return time.Duration(a.RaiseAfterSeconds) * time.Second }
func (a Args) raiseAfterMost() time.Duration {
	return time.Duration(a.RaiseAfterMostSeconds) * time.Second
}
