package usage

import (
	"fmt"
	"math"
	"time"
)

// Envelope learns what one node uses of one resource by the time of day and of the week, and says what it will use at
// most. It holds the last eight days in slots of SlotLength and has a fixed size; Add does not allocate.
// It is not safe for concurrent use.
type Envelope struct {
	capacity int64
	started  bool
	slots    slots
	open     opening
	margins  margins
}

// NewEnvelope returns an Envelope without history. The capacity is in the unit of all its amounts.
func NewEnvelope(capacity int64) (*Envelope, error) {
	e := &Envelope{}
	if err := e.init(capacity); err != nil {
		return nil, err
	}
	return e, nil
}

func (e *Envelope) init(capacity int64) error {
	if err := e.SetCapacity(capacity); err != nil {
		return err
	}
	e.clear(0)
	e.started = false
	return nil
}

// SetCapacity changes the capacity; the history stays.
func (e *Envelope) SetCapacity(capacity int64) error {
	if capacity < 1 {
		return fmt.Errorf("capacity %d: must be at least 1", capacity)
	}
	e.capacity = capacity
	return nil
}

func (e *Envelope) clear(next slot) {
	e.slots.clear(next)
	e.margins.clear()
	e.open = opening{}
}

// Add takes the use at one instant. A reading that is not OK, or is negative, only moves time: a slot without any
// other is absent, not zero.
//
// The wall clock decides, since the time of day matters. When it steps back, the slots from then on are
// dropped, as they are said not to have been yet. When it steps ahead, those between are absent, and after a gap longer than
// what is kept all is learned anew.
func (e *Envelope) Add(at time.Time, use Reading) {
	s := slotOf(at)
	switch {
	case !e.started || s-e.slots.next > slotsKept:
		e.clear(s)
		e.started = true
	case s > e.slots.next:
		for e.slots.next < s {
			e.slots.push(e.open.reduced())
			e.open = opening{}
			e.margins.learn(&e.slots, float64(e.capacity))
		}
	case s < e.slots.next:
		e.open = opening{}
		if !e.slots.rewind(s) {
			e.clear(s)
		}
		e.relearn()
	}
	e.open.add(use)
}

// relearn learns the margins from the slots that there are, oldest first.
func (e *Envelope) relearn() {
	h, closed := &e.slots, e.slots.closed
	e.margins.clear()
	h.next -= slot(closed)
	h.closed, h.measured = 0, 0
	for range closed {
		if h.peaks[h.next.in(slotsKept)] >= 0 {
			h.measured++
		}
		h.next++
		h.closed++
		e.margins.learn(h, float64(e.capacity))
	}
}

// Amounts is a forecast in the unit of the capacity.
type Amounts struct {
	// Peak is what use will not exceed, with the probability asked for. It holds every margin that the forecast needs, and
	// is at most the capacity.
	Peak int64
	// Base is the peak without its margin: what recent use and the time of day say.
	Base int64
	// Median is what use will be around.
	Median int64
}

// freshSlots is how old the newest measurement may be for a forecast to be made.
const freshSlots = 2

// Peak forecasts from now over the horizon: in quantilePermille of a thousand forecasts the peak holds. It is not OK
// without a measurement in the last two slots: an old one is not a base to lend from.
func (e *Envelope) Peak(now time.Time, horizon time.Duration, quantilePermille int32) (Amounts, bool) {
	if horizon <= 0 || !e.fresh(now) {
		return Amounts{}, false
	}
	return e.between(0, slotsIn(horizon), quantilePermille), true
}

// slotsIn is how many slots a duration reaches into, a day at most: beyond it the forecast is that of a day.
func slotsIn(d time.Duration) int {
	return int(min((d-1)/SlotLength+1, longestHorizon))
}

// between forecasts the slots from `from` to `until`, counted from the open one.
func (e *Envelope) between(from, until int, quantilePermille int32) Amounts {
	missRate := 1 - float64(min(max(quantilePermille, 500), 999))/1000
	capacity := float64(e.capacity)
	peak, base := e.margins.peak(&e.slots, from, until, e.open.peak, missRate, capacity)
	// A cold start lends by the square root of the share of the first day that is known: nothing before the first slot is
	// closed, a fifth after an hour, half after six.
	if n := e.slots.measured; n < slotsPerDay {
		peak += max(0, capacity-peak) * (1 - math.Sqrt(float64(n)/slotsPerDay))
	}
	a := Amounts{Peak: bounded(peak, e.capacity)}
	a.Base = min(bounded(base, e.capacity), a.Peak)
	a.Median = min(bounded(e.median(from, until), e.capacity), a.Peak)
	return a
}

// median is that of the same time of yesterday, the day before and last week, together with the last hour.
func (e *Envelope) median(from, until int) float64 {
	n, next := until-from, e.slots.next
	ago := func(days int) slot { return next + slot(from-days*slotsPerDay) }
	now := next - slot(min(n, slotsPerHour))
	if m := e.slots.median(n, now, ago(1), ago(2), ago(7)); m >= 0 {
		return m
	}
	return e.open.peak
}

// fresh reports whether there is a measurement recent enough, and none that is still to come.
func (e *Envelope) fresh(now time.Time) bool {
	age := slotOf(now) - e.slots.next
	if !e.started || age < 0 || age > freshSlots {
		return false
	}
	return e.open.samples > 0 || e.slots.highest(e.slots.next-freshSlots+age, e.slots.next) >= 0
}

// History is how much was measured in the time that is kept.
func (e *Envelope) History() time.Duration {
	return time.Duration(e.slots.measured) * SlotLength
}

// ColdStart is true while there is less than a day of history: the time of day is not known, and peaks are kept higher
// for it.
func (e *Envelope) ColdStart() bool { return e.slots.measured < slotsPerDay }

// ConfidencePermille grows with the history: 500 after a day, 1000 from a week on.
func (e *Envelope) ConfidencePermille() int32 {
	n := int32(e.slots.measured)
	switch {
	case n >= slotsPerWeek:
		return 1000
	case n >= slotsPerDay:
		return 500 + 500*(n-slotsPerDay)/(slotsPerWeek-slotsPerDay)
	}
	return 500 * n / slotsPerDay
}

// bounded rounds up and keeps within the capacity; what is not a number is the capacity.
func bounded(v float64, capacity int64) int64 {
	if math.IsNaN(v) || v >= float64(capacity) {
		return capacity
	}
	return max(0, int64(math.Ceil(v)))
}
