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

// GroupSample is the raw counters of one cgroup at one instant.
type GroupSample struct {
	Key GroupKey
	// CPUMicros is CPU time consumed since the group was made.
	CPUMicros Reading
	// WorkingSetBytes is memory in use less the file pages that are inactive.
	WorkingSetBytes Reading
	// CPUSomeMicros, MemorySomeMicros and IOSomeMicros are the totals of PSI's "some" lines.
	CPUSomeMicros, MemorySomeMicros, IOSomeMicros Reading
}

// NodeSample is the raw counters of the whole node at one instant.
type NodeSample struct {
	// CPUBusyMicros is time that CPUs were not idle (nor waiting for I/O), summed over CPUs.
	CPUBusyMicros Reading
	// MemoryUsedBytes is MemTotal less MemAvailable.
	MemoryUsedBytes Reading
	// CPUSomeMicros, MemorySomeMicros and IOSomeMicros are the totals of /proc/pressure's "some" lines.
	CPUSomeMicros, MemorySomeMicros, IOSomeMicros Reading
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
}

// Usage is the rates of everything at one instant.
type Usage struct {
	At     time.Time
	Node   Rates
	Groups map[GroupKey]Rates
}
