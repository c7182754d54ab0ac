package usage

import (
	"math"
	"slices"
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
	// slotsKept is one week and one day: the same slot of last week stays known while the day after
	// it, which the longest horizon needs, does too.
	slotsKept = slotsPerWeek + slotsPerDay
)

// absent marks a slot without a measurement. Use is never negative.
const absent = -1

// slot numbers a SlotLength since the Unix epoch.
type slot int64

// slotOf gives the slot that an instant falls in.
func slotOf(at time.Time) slot {
	const seconds = int64(SlotLength / time.Second)
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

// in is where the slot lies in a ring of n.
func (s slot) in(n int) int {
	i := int(s % slot(n))
	if i < 0 {
		i += n
	}
	return i
}

// slots is the closed slots of one resource, in the resource's own unit: those from next-closed up to
// next, which is not closed yet. Slots outside are absent.
type slots struct {
	next         slot
	closed       int
	measured     int
	peaks, means [slotsKept]float32
}

func (h *slots) clear(next slot) {
	for i := range h.peaks {
		h.peaks[i], h.means[i] = absent, absent
	}
	h.next, h.closed, h.measured = next, 0, 0
}

// push closes the slot next. What is not a use is absent: NaN and infinities end here.
func (h *slots) push(peak, mean float32) {
	if !isUse(peak) || !isUse(mean) {
		peak, mean = absent, absent
	}
	at := h.next.in(slotsKept)
	if h.closed == slotsKept && h.peaks[at] >= 0 {
		h.measured--
	}
	if peak >= 0 {
		h.measured++
	}
	h.peaks[at], h.means[at] = peak, mean
	h.next++
	h.closed = min(h.closed+1, slotsKept)
}

// rewind drops the slots from s on. It reports whether any are left.
func (h *slots) rewind(s slot) bool {
	if h.next-s >= slot(h.closed) {
		return false
	}
	for ; h.next > s; h.next-- {
		at := (h.next - 1).in(slotsKept)
		if h.peaks[at] >= 0 {
			h.measured--
		}
		h.peaks[at], h.means[at] = absent, absent
		h.closed--
	}
	return true
}

// highest is the highest use in the slots from to until, without it; absent where none of them was measured.
func (h *slots) highest(from, until slot) float64 {
	from, until = max(from, h.next-slot(h.closed)), min(until, h.next)
	if from >= until {
		return absent
	}
	a, n := from.in(slotsKept), int(until-from)
	m := highestOf(h.peaks[a:min(a+n, slotsKept)])
	if over := a + n - slotsKept; over > 0 {
		m = max(m, highestOf(h.peaks[:over]))
	}
	return float64(m)
}

func highestOf(use []float32) float32 {
	m := float32(absent)
	for _, v := range use {
		m = max(m, v)
	}
	return m
}

// outcome is the peak of the last length slots; it is known when at least half of them were measured.
func (h *slots) outcome(length int) (peak float64, known bool) {
	length = min(length, h.closed)
	a := (h.next - slot(length)).in(slotsKept)
	measured, m := 0, float32(absent)
	for range length {
		if v := h.peaks[a]; v >= 0 {
			measured++
			m = max(m, v)
		}
		if a++; a == slotsKept {
			a = 0
		}
	}
	return float64(m), 2*measured >= length && measured > 0
}

// medianLimit is how many slots a median is taken of at most; of more, every second one counts, or every third.
const medianLimit = 256

// median is the median of the slots' means in the windows, which are given by their first slot and have one
// length; absent where none was measured.
func (h *slots) median(length int, from ...slot) float64 {
	var kept [medianLimit]float32
	n, stride := 0, 1+length*len(from)/medianLimit
	for _, first := range from {
		for s := max(first, h.next-slot(h.closed)); s < min(first+slot(length), h.next); s += slot(stride) {
			if v := h.means[s.in(slotsKept)]; v >= 0 && n < medianLimit {
				kept[n] = v
				n++
			}
		}
	}
	if n == 0 {
		return absent
	}
	slices.Sort(kept[:n])
	return float64(kept[n/2])
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
