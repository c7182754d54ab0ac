package usage

import (
	"math"
	"time"
)

// SlotLength is the interval that history and forecasts are kept in: samples within one slot are
// reduced to their mean and their peak. Slots are counted from the Unix epoch, so that a slot has
// the same time of day (UTC) every day.
const SlotLength = 5 * time.Minute

const (
	slotsPerHour = 12 // of SlotLength
	slotsPerDay  = 24 * slotsPerHour
	slotsPerWeek = 7 * slotsPerDay
	// slotsKept is one week and one day: the same slot of last week stays known while the hours after
	// it, which the horizon needs, do too.
	slotsKept = slotsPerWeek + slotsPerDay
)

// absent marks a slot without a measurement. Use is never negative.
const absent = -1

// slot numbers a SlotLength since the Unix epoch.
type slot int64

// slotOf gives the slot that an instant falls in.
func slotOf(at time.Time) slot {
	seconds := int64(SlotLength / time.Second)
	s := at.Unix() / seconds
	if at.Unix()%seconds < 0 {
		s--
	}
	return slot(s)
}

// start is when the slot begins.
func (s slot) start() time.Time {
	return time.Unix(int64(s)*int64(SlotLength/time.Second), 0).UTC()
}

// place is where the slot lies in a ring.
func (s slot) place() int {
	return int(((s % slotsKept) + slotsKept) % slotsKept)
}

// series is the last slotsKept closed slots of one resource, in the resource's own unit.
type series struct {
	peaks, means [slotsKept]float32
}

func (s *series) clear() {
	for i := range s.peaks {
		s.peaks[i], s.means[i] = absent, absent
	}
}

// put sets a slot. What is not a use is absent: NaN and infinities end here.
func (s *series) put(at slot, peak, mean float32) {
	if !isUse(peak) || !isUse(mean) {
		peak, mean = absent, absent
	}
	s.peaks[at.place()], s.means[at.place()] = peak, mean
}

// isUse reports whether v can be an amount in use.
func isUse(v float32) bool { return v >= 0 && v <= math.MaxFloat32 }

// opening reduces the samples of the slot that is still open.
type opening struct {
	peak, sum float64
	samples   int64
}

func (o *opening) add(r Reading) {
	if !r.OK || r.Value < 0 {
		return
	}
	v := float64(r.Value)
	o.peak = max(o.peak, v)
	o.sum += v
	o.samples++
}

// reduced gives the peak and the mean, absent without a sample.
func (o *opening) reduced() (peak, mean float32) {
	if o.samples == 0 {
		return absent, absent
	}
	return float32(o.peak), float32(o.sum / float64(o.samples))
}
