package usage

import (
	"fmt"
	"math"
	"time"
)

// Capacity is what a node has.
type Capacity struct {
	MilliCPU, MemoryBytes int64
}

// Forecaster learns what the online work of one node uses by the time of day and of the week, and says
// what it will use at most. It holds the last eight days in slots of SlotLength and has a fixed
// size; Add does not allocate. It is not safe for concurrent use.
type Forecaster struct {
	capacity Capacity
	// newest is the slot that is open: its samples still come in. Slots before it are closed.
	newest slot
	// closed is how many slots, ending with newest-1, the rings tell about, those without a measurement included.
	closed  int
	started bool

	cpu, memory         series
	openCPU, openMemory opening
}

// NewForecaster returns a Forecaster without history for a node of this capacity.
func NewForecaster(capacity Capacity) (*Forecaster, error) {
	f := &Forecaster{}
	if err := f.SetCapacity(capacity); err != nil {
		return nil, err
	}
	f.forget()
	return f, nil
}

// SetCapacity changes the capacity; the history stays.
func (f *Forecaster) SetCapacity(c Capacity) error {
	if c.MilliCPU < 1 || c.MemoryBytes < 1 {
		return fmt.Errorf("capacity of %d milli-cores and %d bytes: both must be at least 1", c.MilliCPU, c.MemoryBytes)
	}
	f.capacity = c
	return nil
}

func (f *Forecaster) forget() {
	f.cpu.clear()
	f.memory.clear()
	f.openCPU, f.openMemory = opening{}, opening{}
	f.closed, f.started = 0, false
}

// Add takes the use of the node's online work at one instant. A reading that is not OK, or is negative, leaves
// no trace: a slot without any other is absent, not zero.
//
// The wall clock decides, since the time of day matters. When it steps back the slots from then on are
// dropped, as they are said not to have been yet; when it steps ahead those between are absent.
func (f *Forecaster) Add(at time.Time, milliCPU, memoryBytes Reading) {
	s := slotOf(at)
	switch {
	case !f.started:
		f.started, f.newest = true, s
	case s > f.newest:
		f.closeUntil(s)
	case s < f.newest:
		f.rewind(s)
	}
	f.openCPU.add(milliCPU)
	f.openMemory.add(memoryBytes)
}

// closeUntil closes the open slot, marks those between as absent and opens s.
func (f *Forecaster) closeUntil(s slot) {
	if s-f.newest > slotsKept {
		f.forget()
		f.started, f.newest = true, s
		return
	}
	peak, mean := f.openCPU.reduced()
	f.cpu.put(f.newest, peak, mean)
	peak, mean = f.openMemory.reduced()
	f.memory.put(f.newest, peak, mean)
	for gap := f.newest + 1; gap < s; gap++ {
		f.cpu.put(gap, absent, absent)
		f.memory.put(gap, absent, absent)
	}
	f.closed = min(f.closed+int(s-f.newest), slotsKept)
	f.newest = s
	f.openCPU, f.openMemory = opening{}, opening{}
}

// rewind opens s, which is before the open slot, and drops what came after it.
func (f *Forecaster) rewind(s slot) {
	if f.newest-s >= slot(f.closed) {
		f.forget()
		f.started, f.newest = true, s
		return
	}
	for later := s; later < f.newest; later++ {
		f.cpu.put(later, absent, absent)
		f.memory.put(later, absent, absent)
	}
	f.closed -= int(f.newest - s)
	f.newest = s
	f.openCPU, f.openMemory = opening{}, opening{}
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

// freshSlots is how old the newest measurement may be for a forecast to be made.
const freshSlots = 2

// Peak forecasts from now over the horizon: in quantilePermille of a thousand cases the peak will hold. It is not
// OK without a measurement in the last two slots: an old one is not a base to lend from.
func (f *Forecaster) Peak(now time.Time, horizon time.Duration, quantilePermille int32) (PeakForecast, bool) {
	if !f.fresh(now) || horizon <= 0 {
		return PeakForecast{}, false
	}
	slots := int((horizon + SlotLength - 1) / SlotLength)
	cpu, okCPU := f.cpu.peak(f.newest, f.closed, slots, &f.openCPU, quantilePermille)
	memory, okMemory := f.memory.peak(f.newest, f.closed, slots, &f.openMemory, quantilePermille)
	if !okCPU || !okMemory {
		return PeakForecast{}, false
	}
	p := PeakForecast{History: f.History()}
	p.ColdStart = p.History < 24*time.Hour
	p.ConfidencePermille = confidencePermille(p.History)
	p.PeakMilliCPU = bounded(cpu.peak, f.capacity.MilliCPU)
	p.MedianMilliCPU = min(bounded(cpu.median, f.capacity.MilliCPU), p.PeakMilliCPU)
	p.PeakMemoryBytes = bounded(memory.peak, f.capacity.MemoryBytes)
	return p, true
}

// Profile is Peak for steps of equal length from now on, one after the other.
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

// Profile forecasts steps of equal length, a multiple of SlotLength, one after the other. It is not OK
// when Peak is not.
func (f *Forecaster) Profile(now time.Time, steps int, step time.Duration, quantilePermille int32) (Profile, bool) {
	if steps < 1 || step < SlotLength {
		return Profile{}, false
	}
	p := Profile{
		Start: slotOf(now).start(), Step: step,
		PeakMilliCPU: make([]int64, steps), MedianMilliCPU: make([]int64, steps),
	}
	for i := range steps {
		peak, ok := f.Peak(now, time.Duration(i+1)*step, quantilePermille)
		if !ok {
			return Profile{}, false
		}
		p.PeakMilliCPU[i], p.MedianMilliCPU[i] = peak.PeakMilliCPU, peak.MedianMilliCPU
		p.PeakMemoryBytes = peak.PeakMemoryBytes
		p.ConfidencePermille, p.History, p.ColdStart = peak.ConfidencePermille, peak.History, peak.ColdStart
	}
	return p, true
}

// History is how much CPU use was measured in the time that is kept.
func (f *Forecaster) History() time.Duration {
	measured := 0
	for back := 1; back <= f.closed; back++ {
		if f.cpu.peaks[(f.newest-slot(back)).place()] >= 0 {
			measured++
		}
	}
	return time.Duration(measured) * SlotLength
}

// fresh reports whether there is a measurement recent enough.
func (f *Forecaster) fresh(now time.Time) bool {
	if !f.started {
		return false
	}
	age := slotOf(now) - f.newest
	return age >= 0 && age <= freshSlots && (f.openCPU.samples > 0 || f.closed > 0)
}

// confidencePermille is 0 without history, 500 after a day and 1000 from a week on.
func confidencePermille(history time.Duration) int32 {
	const day, week = 24 * time.Hour, 7 * 24 * time.Hour
	switch {
	case history >= week:
		return 1000
	case history >= day:
		return 500 + int32(500*(history-day)/(week-day))
	}
	return int32(500 * history / day)
}

// bounded rounds up and keeps within the capacity; what is not a number is the capacity.
func bounded(v float64, capacity int64) int64 {
	if math.IsNaN(v) || v >= float64(capacity) {
		return capacity
	}
	return max(0, int64(math.Ceil(v)))
}

// estimate is a forecast in the resource's unit.
type estimate struct {
	peak, median float64
}

// peak is the highest use of the last day and a tenth of it; in a cold start the whole capacity.
func (s *series) peak(newest slot, closed, _ int, open *opening, _ int32) (estimate, bool) {
	e := estimate{peak: open.peak}
	seen, sum := 0, 0.0
	for back := 1; back <= min(closed, slotsPerDay); back++ {
		if p := s.peaks[(newest - slot(back)).place()]; p >= 0 {
			e.peak = max(e.peak, float64(p))
			sum += float64(s.means[(newest - slot(back)).place()])
			seen++
		}
	}
	if seen == 0 && open.samples == 0 {
		return e, false
	}
	if seen < slotsPerHour {
		return estimate{peak: math.Inf(1), median: e.peak}, true
	}
	e.peak *= 1.1
	e.median = sum / float64(seen)
	return e, true
}
