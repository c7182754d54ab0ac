package usage

import "time"

// Reading is a number that may be absent.
type Reading struct {
	Value int64
	OK    bool
}

// Of returns a Reading that was measured.
func Of(value int64) Reading { return Reading{Value: value, OK: true} }

// Plus adds two readings; the sum is OK when both are.
func (r Reading) Plus(o Reading) Reading {
	if !r.OK || !o.OK {
		return Reading{}
	}
	return Of(r.Value + o.Value)
}

// GroupKey names one cgroup for as long as it lives. A re-created group of the same path has another ID.
type GroupKey struct {
	// Path is relative to the hierarchy's root, with a leading slash.
	Path string
	// ID is the kernel's number of the group's directory.
	ID uint64
}

// GroupSample is the raw counters of one cgroup at one instant. Counters grow from the group's making on;
// those of files that count a single group (throttling; events on v1) do not hold what groups below had.
type GroupSample struct {
	Key GroupKey

	// CPUMicros is CPU time consumed.
	CPUMicros Reading
	// Periods is how many periods of its quota the group ran in, ThrottledPeriods in how many of them it
	// was stopped, ThrottledMicros how long its CPUs were stopped.
	Periods, ThrottledPeriods, ThrottledMicros Reading

	// MemoryCurrentBytes is all memory charged to the group, WorkingSetBytes that less the file pages
	// that are inactive.
	MemoryCurrentBytes, WorkingSetBytes Reading
	// AnonBytes and FileBytes are what of it has no file behind it, and what has.
	AnonBytes, FileBytes Reading
	// MemoryLowEvents to MemoryOOMKillEvents count how often the group was reclaimed below memory.low,
	// slowed at memory.high, stopped by memory.max, could not be given memory at all, and had a task killed.
	MemoryLowEvents, MemoryHighEvents, MemoryMaxEvents, MemoryOOMEvents, MemoryOOMKillEvents Reading

	// IOReadBytes to IOWrites are what was asked of disks, summed over disks; one that is stacked on
	// another counts with both.
	IOReadBytes, IOWriteBytes, IOReads, IOWrites Reading

	// PIDs is how many tasks there are.
	PIDs Reading

	// RunDelayMicros is time that tasks of a pod which could run waited for a CPU, summed over tasks. Reading
	// it costs system calls for each task, so that it is in some Samples and absent from those between.
	RunDelayMicros Reading

	// CPUSomeMicros, MemorySomeMicros and IOSomeMicros are the totals of PSI's "some" lines: time in which
	// at least one task waited.
	CPUSomeMicros, MemorySomeMicros, IOSomeMicros Reading
	// CPUFullMicros, MemoryFullMicros and IOFullMicros are those of the "full" lines: no task got on.
	CPUFullMicros, MemoryFullMicros, IOFullMicros Reading
}

// CPUSample is the raw counters of one CPU.
type CPUSample struct {
	// CPU is its number. Numbers of CPUs that are offline are left out.
	CPU int
	// IdleMicros is time that it was idle, or waited for I/O.
	IdleMicros Reading
}

// NodeSample is the raw counters of the whole node at one instant.
type NodeSample struct {
	// CPUBusyMicros is time that CPUs were not idle (nor waiting for I/O), summed over CPUs.
	CPUBusyMicros Reading
	// PerCPU is each CPU that is online.
	PerCPU []CPUSample
	// RunDelayMicros is time that tasks which could run waited for a CPU, summed over CPUs. Unlike PSI it
	// counts each waiting task. Few kernels count it.
	RunDelayMicros Reading
	// MemoryUsedBytes is MemTotal less MemAvailable.
	MemoryUsedBytes Reading
	// CPUSomeMicros, MemorySomeMicros and IOSomeMicros are the totals of /proc/pressure's "some" lines.
	CPUSomeMicros, MemorySomeMicros, IOSomeMicros Reading
	// MemoryFullMicros and IOFullMicros are those of the "full" lines. A whole node has none for CPUs.
	MemoryFullMicros, IOFullMicros Reading
}

// Sample is all counters at one instant.
type Sample struct {
	// At is when the counters were read. Its monotonic reading is used where it has one, so that a step
	// of the wall clock does not bend a rate.
	At     time.Time
	Node   NodeSample
	Groups []GroupSample
}

// Rates is what a group or the node used, averaged over Window.
type Rates struct {
	// Window is the time that the rates are averaged over: at most the meter's window.
	Window time.Duration
	// Measured is how long this group has been measured without a gap.
	Measured time.Duration
	// MilliCPU is CPU use in thousandths of a core.
	MilliCPU Reading
	// MemoryBytes is the newest value, not an average.
	MemoryBytes Reading
	// CPUSomePermille, MemorySomePermille and IOSomePermille are the share of wall time in which at
	// least one task waited for the resource.
	CPUSomePermille, MemorySomePermille, IOSomePermille Reading
	// RunDelayPermille is how many tasks waited for a CPU on average, in thousandths: 2000 are two tasks that
	// waited all the time. It is of the last measurements that there are, see maxRunDelayAge.
	RunDelayPermille Reading
}

// Usage is the rates of everything at one instant.
type Usage struct {
	At     time.Time
	Node   Rates
	Groups map[GroupKey]Rates
}
