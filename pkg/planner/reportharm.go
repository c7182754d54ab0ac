package planner

import (
	"cmp"
	"fmt"
	"math"
)

// Harm is what was suffered beside the gain, over the steps in which it is known; of namespaces and workloads it
// is not. Nil is what the history does not have: not known, which is not none.
type Harm struct {
	// PressureMinutes is how long latency-sensitive work waited more than PressureRatio of the time.
	PressureMinutes *float64 `json:"pressureMinutes,omitempty"`
	// ThrottledPodMinutes is how long their own CPU limits stopped latency-sensitive pods, each pod for itself.
	ThrottledPodMinutes *float64 `json:"throttledPodMinutes,omitempty"`
	// BatchThrottledMinutes is how long the quota of all batch work of a node stopped it.
	BatchThrottledMinutes *float64 `json:"batchThrottledMinutes,omitempty"`
	// Evictions is how many batch pods were evicted for the sake of the others.
	Evictions *float64 `json:"evictions,omitempty"`
}

// plus is known where one of them is: which nodes are not in it is among the remarks.
func (h Harm) plus(o Harm) Harm {
	sum := func(a, b *float64) *float64 {
		if a == nil || b == nil {
			return cmp.Or(a, b)
		}
		return new(*a + *b)
	}
	return Harm{
		PressureMinutes: sum(h.PressureMinutes, o.PressureMinutes), ThrottledPodMinutes: sum(h.ThrottledPodMinutes, o.ThrottledPodMinutes),
		BatchThrottledMinutes: sum(h.BatchThrottledMinutes, o.BatchThrottledMinutes), Evictions: sum(h.Evictions, o.Evictions),
	}
}

// harmGaps are the nodes whose harm is not known, or not all the time, by what is missing.
type harmGaps struct{ pressure, throttled, batchThrottled, evictions []string }

// harm is a node's. The minutes under pressure are over the steps that its other sums are over.
func (b *ReportBuilder) harm(n *NodeHistory) (h Harm) {
	minutes, steps, known := 0.0, 0, 0
	for i := range b.o.Steps {
		if !measured(n, i) {
			continue
		}
		steps++
		if p := at(n.Pressure, i); !math.IsNaN(p) {
			known++
			if p >= b.o.PressureRatio {
				minutes += float64(b.o.StepSeconds) / 60
			}
		}
	}
	if known > 0 {
		h.PressureMinutes = &minutes
	}
	gap(&b.unknownHarm.pressure, n.Name, known, steps)
	of := func(counter []float64, unit float64, gaps *[]string) *float64 {
		grown, known := growth(counter)
		gap(gaps, n.Name, known, b.o.Steps)
		if known < 2 { // one reading tells of no time
			return nil
		}
		return new(grown / unit)
	}
	h.ThrottledPodMinutes = of(n.ThrottledSeconds, 60, &b.unknownHarm.throttled)
	h.BatchThrottledMinutes = of(n.BatchThrottledSeconds, 60, &b.unknownHarm.batchThrottled)
	h.Evictions = of(n.Evictions, 1, &b.unknownHarm.evictions)
	return h
}

// gap notes a node of which not everything is known.
func gap(gaps *[]string, node string, known, of int) {
	if known < of {
		*gaps = append(*gaps, fmt.Sprintf("%s (%.1f %%)", node, 100*float64(known)/float64(of)))
	}
}

// growth is by how much a counter grew from its first reading on, and how many readings there are. One that is lower
// than the one before began at 0 again meanwhile. What grew while it was not read is in the next reading.
func growth(counter []float64) (grown float64, readings int) {
	last := 0.0
	for _, v := range counter {
		if math.IsNaN(v) {
			continue
		}
		switch readings++; {
		case readings == 1:
		case v >= last:
			grown += v - last
		default:
			grown += v
		}
		last = v
	}
	return grown, readings
}

// harmRemarks say what the sums of harm are without.
func (b *ReportBuilder) harmRemarks(some func(format string, names []string)) {
	some("the pressure on services of %d nodes is not in the history all the time, and its minutes are those that are known: %s", b.unknownHarm.pressure)
	some("how long limits stopped services on %d nodes is not in the history all the time; what happened before the first reading is in no sum: %s", b.unknownHarm.throttled)
	some("how long the quota of batch stopped it on %d nodes is not in the history all the time; what happened before the first reading is in no sum: %s", b.unknownHarm.batchThrottled)
	some("the evictions of %d nodes are not in the history all the time; those before the first reading are in no sum: %s", b.unknownHarm.evictions)
}
