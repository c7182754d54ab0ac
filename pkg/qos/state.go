package qos

import (
	"time"

	"github.com/plimsoll/plimsoll/pkg/usage"
)

// Knob is one kernel setting of a group, by its neutral name.
type Knob string

// The knobs that strategies may claim.
const (
	// CPUIdle is 1 where a group's tasks run only when no other group at its level wants the CPU, else 0.
	CPUIdle Knob = "cpu.idle"
)

// Kind is what a group is for.
type Kind string

// The kinds of group that a State holds.
const (
	// KindBatchBranch is the group of our own that all batch containers live in.
	KindBatchBranch Kind = "BatchBranch"
	// KindTier is kubepods or one of the kubelet's tiers below it. The kubelet owns its knobs.
	KindTier Kind = "Tier"
	// KindPod is the group of one pod. The kubelet owns its knobs.
	KindPod Kind = "Pod"
	// KindBatchContainer is one container in the batch branch.
	KindBatchContainer Kind = "BatchContainer"
)

// Setting is what a knob of a group was when it was read.
type Setting struct {
	// Value is in the knob's neutral unit; empty unless OK.
	Value string
	// OK is false where the knob could not be read.
	OK bool
	// Unsupported is true where the kernel does not have the knob.
	Unsupported bool
}

// Group is one cgroup that a strategy may reason about.
type Group struct {
	// Path is relative to the hierarchy's root, with a leading slash.
	Path  string
	Kind  Kind
	Rates usage.Rates
	// Settings is what was read back this tick, for the knobs that some strategy claims.
	Settings map[Knob]Setting
}

// State is all that a strategy may see in one tick.
type State struct {
	Now time.Time
	// Blind is true when the node could not be measured for some time. Rates are void then, and a
	// strategy must return the plan that protects the online side.
	Blind  bool
	Node   usage.Rates
	Groups []Group
}

// Change is "set this knob of this group to this value, because".
type Change struct {
	Group  string
	Knob   Knob
	Value  string
	Reason string
}

// Plan is what a strategy wants to be so.
type Plan struct {
	Changes []Change
	// Notes are what the operator should know about a strategy that cannot do its work here.
	Notes []string
}
