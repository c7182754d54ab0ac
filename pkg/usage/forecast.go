package usage

import (
	"fmt"
	"time"
)

// Capacity is what a node has.
type Capacity struct {
	MilliCPU, MemoryBytes int64
}

// Forecaster forecasts what the online work of one node will use: an Envelope for CPU and one for memory.
// It has a fixed size. It is not safe for concurrent use.
type Forecaster struct {
	cpu, memory Envelope
}

// NewForecaster returns a Forecaster without history for a node of this capacity.
func NewForecaster(capacity Capacity) (*Forecaster, error) {
	f := &Forecaster{}
	if err := f.cpu.init(capacity.MilliCPU); err != nil {
		return nil, fmt.Errorf("milli-cores: %w", err)
	}
	if err := f.memory.init(capacity.MemoryBytes); err != nil {
		return nil, fmt.Errorf("memory bytes: %w", err)
	}
	return f, nil
}

// SetCapacity changes the capacity; the history stays.
func (f *Forecaster) SetCapacity(capacity Capacity) error {
	if capacity.MilliCPU < 1 || capacity.MemoryBytes < 1 {
		return fmt.Errorf("capacity of %d milli-cores and %d bytes: both must be at least 1", capacity.MilliCPU, capacity.MemoryBytes)
	}
	f.cpu.capacity, f.memory.capacity = capacity.MilliCPU, capacity.MemoryBytes
	return nil
}

// Add takes the use of the node's online work at one instant; see Envelope.Add.
func (f *Forecaster) Add(at time.Time, milliCPU, memoryBytes Reading) {
	f.cpu.Add(at, milliCPU)
	f.memory.Add(at, memoryBytes)
}

// PeakForecast is what the online work of a node will use at most over a horizon.
type PeakForecast struct {
	// PeakMilliCPU is what CPU use will not exceed in the horizon, with the probability asked for. It
	// holds every margin that the forecast needs already, and is at most the capacity.
	PeakMilliCPU int64
	// MedianMilliCPU is what CPU use will be around in the horizon.
	MedianMilliCPU int64
	// PeakMemoryBytes is what the working set will not exceed in the horizon.
	PeakMemoryBytes int64
	// ConfidencePermille grows with the history from 0 to 1000.
	ConfidencePermille int32
	// History is how much was measured.
	History time.Duration
	// ColdStart is true while there is less than a day of history: the time of day is not known, and the
	// peak is kept higher for it.
	ColdStart bool
}

// Peak forecasts from now over the horizon: in quantilePermille of a thousand cases the peak holds. It is not
// OK without a measurement of both resources in the last two slots: an old one is not a base to lend from.
func (f *Forecaster) Peak(now time.Time, horizon time.Duration, quantilePermille int32) (PeakForecast, bool) {
	cpu, okCPU := f.cpu.Peak(now, horizon, quantilePermille)
	memory, okMemory := f.memory.Peak(now, horizon, quantilePermille)
	if !okCPU || !okMemory {
		return PeakForecast{}, false
	}
	return PeakForecast{
		PeakMilliCPU: cpu.Peak, MedianMilliCPU: cpu.Median, PeakMemoryBytes: memory.Peak,
		ConfidencePermille: min(f.cpu.ConfidencePermille(), f.memory.ConfidencePermille()),
		History:            f.History(), ColdStart: f.cpu.ColdStart() || f.memory.ColdStart(),
	}, true
}

// History is how much was measured of the resource that was measured less.
func (f *Forecaster) History() time.Duration { return min(f.cpu.History(), f.memory.History()) }

// Profile is the peaks of steps of equal length from now on, one after the other.
type Profile struct {
	// Start is when the first step begins: the slot boundary at or before now.
	Start time.Time
	Step  time.Duration
	// PeakMilliCPU and MedianMilliCPU have one entry a step.
	PeakMilliCPU, MedianMilliCPU []int64
	// PeakMemoryBytes is the peak over all steps.
	PeakMemoryBytes    int64
	ConfidencePermille int32
	History            time.Duration
	ColdStart          bool
}

// Profile forecasts steps of equal length, a multiple of SlotLength, one after the other. Steps that begin more than a day
// from now have the forecast of the day's last. It is not OK when Peak is not.
func (f *Forecaster) Profile(now time.Time, steps int, step time.Duration, quantilePermille int32) (Profile, bool) {
	if steps < 1 || step < SlotLength {
		return Profile{}, false
	}
	whole, ok := f.Peak(now, time.Duration(steps)*step, quantilePermille)
	if !ok {
		return Profile{}, false
	}
	p := Profile{
		Start: f.cpu.slots.next.start(), Step: step,
		PeakMilliCPU: make([]int64, steps), MedianMilliCPU: make([]int64, steps),
		PeakMemoryBytes: whole.PeakMemoryBytes, ConfidencePermille: whole.ConfidencePermille,
		History: whole.History, ColdStart: whole.ColdStart,
	}
	length := slotsIn(step)
	for i := range steps {
		until := min((i+1)*length, longestHorizon)
		a := f.cpu.between(until-length, until, quantilePermille)
		p.PeakMilliCPU[i], p.MedianMilliCPU[i] = a.Peak, a.Median
	}
	return p, true
}
