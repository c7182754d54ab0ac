package qos

import (
	"slices"
	"strconv"
	"time"

	"github.com/plimsoll/plimsoll/pkg/usage"
)

// Knob is one kernel setting of a group, by its neutral name.
type Knob string

// The knobs that strategies may claim. Package cgroup's table has each one's unit, range and files, and
// docs/knobs.md is made from it.
const (
	// CPUWeight is a group's share of contended CPU against its siblings'.
	CPUWeight Knob = "cpu.weight"
	// CPURealtimeRuntime is how much of each period a group's real-time tasks may run on each CPU, where
	// the kernel counts them by group.
	CPURealtimeRuntime Knob = "cpu.rt.runtime"
	// CPUPolicy is the scheduling policy of a group's threads.
	CPUPolicy Knob = "cpu.policy"
	// CPUIdle is 1 where a group's tasks run only when no other group at its level wants the CPU, else 0.
	CPUIdle Knob = "cpu.idle"
	// CPUQuota is the CPU time that a group may use in a period.
	CPUQuota Knob = "cpu.quota"
	// CPUBurst is the unused quota that a group may save up and use above its quota.
	CPUBurst Knob = "cpu.burst"
	// CPUSetCPUs is the CPUs, and CPUSetMems the memory nodes, that a group may use.
	CPUSetCPUs Knob = "cpuset.cpus"
	CPUSetMems Knob = "cpuset.mems"
	// MemoryMin is never reclaimed from a group; MemoryLow only when nothing else can be.
	MemoryMin Knob = "memory.min"
	MemoryLow Knob = "memory.low"
	// MemoryHigh is where a group is slowed and reclaimed; at MemoryMax its tasks are killed.
	MemoryHigh Knob = "memory.high"
	MemoryMax  Knob = "memory.max"
	// MemoryReclaim is an action: reclaim so much from a group now.
	MemoryReclaim Knob = "memory.reclaim"
	// IOWeight is a group's share of contended disks against its siblings'.
	IOWeight Knob = "io.weight"
	// IOLatency is the completion latency of disks below which a group is not slowed for others.
	IOLatency Knob = "io.latency"
	// IOMax is limits of bytes and operations per second for each disk.
	IOMax Knob = "io.max"
	// PIDsMax is how many tasks a group may have.
	PIDsMax Knob = "pids.max"
	// ResctrlSchemata is the share of cache and memory bandwidth.
	ResctrlSchemata Knob = "resctrl.schemata"
	// CoreCookie keeps a group's tasks from sharing a core with others.
	CoreCookie Knob = "core.cookie"
)

// The values of CoreCookie. All but the first two are read and never asked for.
const (
	// CookieNone means that no thread has a cookie.
	CookieNone = "none"
	// CookieOwn means that each thread has a cookie. Those that are given one get that of all groups that are given one.
	CookieOwn = "own"
	// CookieSome means that some threads have a cookie and some have none.
	CookieSome = "own, some"
	// CookieOthers is CookieOwn where it was not Plimsoll that gave the cookies, and CookieOthersSome is CookieSome
	// where it was not.
	CookieOthers     = "others'"
	CookieOthersSome = "others', some"
	// CookieNoThreads means that the group has no thread.
	CookieNoThreads = "no threads"
)

// The values of CPUPolicy beside RoundRobin's. The last two are read and never asked for.
const (
	// PolicyOther is the kernel's fair scheduling, SCHED_OTHER, for every thread.
	PolicyOther = "other"
	// PolicyOwn means that some thread has a policy that neither PolicyOther nor RoundRobin is.
	PolicyOwn = "own"
	// PolicyNoThreads means that the group has no thread.
	PolicyNoThreads = "no threads"
)

// RoundRobin is the value of CPUPolicy for SCHED_RR at a priority for every thread. Read back, ", some"
// follows where other threads are still scheduled fairly.
func RoundRobin(priority int) string { return "rr " + strconv.Itoa(priority) }

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
	// KindContainer is one container of a pod that asks for real-time priority, or did.
	KindContainer Kind = "Container"
	// KindUnplaced is one container of a batch pod, or the pod's sandbox, in the pod's own group: where the
	// kubelet put it, because no runtime hook placed it.
	KindUnplaced Kind = "Unplaced"
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

// Bounds is what a group of a batch pod is to be held to. An amount of 0 is none.
type Bounds struct {
	// Weight is on the scale of CPUWeight, 1 to 10000.
	Weight int64
	// QuotaMicros is CPU time in each 100 ms.
	QuotaMicros int64
	MemoryBytes int64
	PIDs        int64
	// Yields are the knobs of which a limit that somebody else has set stays.
	Yields []Knob
	// Reason says where the amounts are from.
	Reason string
}

// Group is one cgroup that a strategy may reason about.
type Group struct {
	// Path is relative to the hierarchy's root, with a leading slash.
	Path string
	Kind Kind
	// Namespace is that of the pod that a pod's or a container's group belongs to; empty where it is not known.
	Namespace string
	// Realtime is true where that pod asks for real-time priority.
	Realtime bool
	// Burst is true where that pod asks that its containers may burst above their CPU limits.
	Burst bool
	// WholeCores is how many whole cores that pod asks to have without batch; 0 where it does not ask.
	WholeCores int64
	// UnsharedCores is true where that pod asks that batch runs on no other thread of a core beside its threads.
	UnsharedCores bool
	// Online is true for the group of a pod that is neither batch nor the system's.
	Online bool
	Rates  usage.Rates
	// Bounds is what a batch pod's group is to be held to that no runtime hook bounds; nil for all others.
	Bounds *Bounds
	// Harm is what an online pod suffered since the tick before, and how much of it is batch's doing.
	Harm usage.Harm
	// Settings is what was read back this tick, for the knobs that some strategy claims.
	Settings map[Knob]Setting
}

// State is all that a strategy may see in one tick.
type State struct {
	Now time.Time
	// Blind is true when the node could not be measured for some time. Rates are void then, and a
	// strategy must return the plan that protects the online side.
	Blind bool
	// Fast is true in a tick between two that read everything. Only strategies that say so step then; what is
	// new is CPU and the online pods' Harm, the rest is as it was last.
	Fast   bool
	Node   usage.Rates
	CPU    CPUUse
	Groups []Group
	// PodsTold is false while the API server has not told of all pods of the node: one that asks for something may seem
	// not to.
	PodsTold bool
	// CPUSets is nil where no strategy asks for it.
	CPUSets *CPUSets
	// BatchPods are the batch pods that are known by name; empty when Blind.
	BatchPods []BatchPod
	// HeldBackPermille is how much of what batch could have it shall not have now, because somebody says so:
	// 0 as a rule, 1000 in a freeze. HeldBackWhy names who.
	HeldBackPermille int64
	HeldBackWhy      string
}

// BatchBranch is the group of our own that all batch containers live in, where the node has it.
func (s State) BatchBranch() (g Group, ok bool) {
	if i := slices.IndexFunc(s.Groups, func(g Group) bool { return g.Kind == KindBatchBranch }); i >= 0 {
		return s.Groups[i], true
	}
	return Group{}, false
}

// CPUUse is who used the node's CPU since the tick before, be that a fast one.
type CPUUse struct {
	// CapacityMilliCPU is all that the node has; 0 where it is not known.
	CapacityMilliCPU int64
	// BatchMilliCPU is all batch work's use, OnlineMilliCPU that of pods that are neither batch nor the
	// system's, SystemMilliCPU all the rest's.
	BatchMilliCPU, OnlineMilliCPU, SystemMilliCPU usage.Reading
}

// Change is "set this knob of this group to this value, because".
type Change struct {
	Group  string
	Knob   Knob
	Value  string
	Reason string
	// Inputs is what the decision rested on beyond the rates and settings of the group and the node, for
	// the audit log: name=value with the unit in the name, separated by spaces.
	Inputs string
}

// Plan is what a strategy wants to be so.
type Plan struct {
	Changes []Change
	// Evictions are batch pods to end, the most urgent first.
	Evictions []Eviction
	// Notes are what the operator should know about a strategy that cannot do its work here.
	Notes []string
}
