package usage

import "math"

// The forecast of a peak is, for each of three bases, base + k x scale, and a mix of the three by how well
// each has done on this node:
//
//	recent     the highest use of the last hour
//	yesterday  the higher of recent and the highest use of the same time yesterday
//	usual      the higher of recent and the highest of that of yesterday, the day before and last week
//
//	scale = floor x capacity + sqrt(mean of max(0, real peak - base)^2)
//	k     = starts at a level's first guess; + step x (1 - rate) on each miss, - step x rate on each hit
//
// The rule for k is online quantile tracking on the conformal score (real peak - base) / scale: whatever the node
// does, the share of misses tends to the level's rate. A miss counts as soon as it happens and not when the horizon has
// passed, so that a jump widens the margin at once.
const (
	basesCount  = 3
	levelsCount = 3
	// scaleFloor is the share of capacity that any margin is a multiple of: a node that never moved
	// may still move, and a forecast wrong by less than this harms nobody.
	scaleFloor = 0.008
	// trust is how sharply the mix prefers the base with the smaller loss; a loss of 1 is one capacity kept
	// free for a hundred slots in vain.
	trust = 3
	// forgetHalfLife is the half-life of the scale and of the losses, in slots: four days, so that weekends count on
	// weekdays and a change of habit is learned within a week.
	forgetHalfLife = 4 * slotsPerDay
)

// levels are the quantiles that margins are learned for: the share of forecasts that may be missed, the first guess of k, and
// its step. In between, k is interpolated.
func levels() [levelsCount]level {
	return [levelsCount]level{{0.05, 1.5, 0.025}, {0.01, 3, 0.05}, {0.001, 6, 0.1}}
}

type level struct {
	missRate, firstGuess, step float64
}

// lossLevel is the level whose forecasts the bases are compared by.
const lossLevel = 1

// horizons are the lengths, in slots, that margins are learned for: 5 min, 1 h, 4 h, 1 day.
func horizons() [horizonsCount]int { return [horizonsCount]int{1, 12, 48, 288} }

const (
	horizonsCount  = 4
	longestHorizon = 288
	pendingCount   = 1 + 12 + 48 + 288
)

// margins is what one resource of one node has taught: per horizon and base the scale, k and the loss, and the forecasts whose
// horizon has not passed yet.
type margins struct {
	horizon [horizonsCount]horizonMargins
	// pendingBase and pending hold one ring per horizon, one after the other. NaN: there was no forecast; a missed
	// forecast is kept as -1-value.
	pendingBase [basesCount][pendingCount]float32
	pending     [basesCount][levelsCount][pendingCount]float32
}

type horizonMargins struct {
	base [basesCount]baseMargins
}

type baseMargins struct {
	// squares over weight is the decaying mean of the squared excess over the base.
	squares, weight float64
	loss            float64
	k               [levelsCount]float64
	// lowest is at most the lowest forecast that is out and not missed: a use below it misses none.
	lowest [levelsCount]float32
}

func (m *margins) clear() {
	for h := range m.horizon {
		for b := range m.horizon[h].base {
			m.horizon[h].base[b] = baseMargins{}
			for l, level := range levels() {
				m.horizon[h].base[b].k[l] = level.firstGuess
				m.horizon[h].base[b].lowest[l] = math.MaxFloat32
			}
		}
	}
	nan := float32(math.NaN())
	for b := range basesCount {
		for i := range pendingCount {
			m.pendingBase[b][i] = nan
			for l := range levelsCount {
				m.pending[b][l][i] = nan
			}
		}
	}
}

// learn takes in the slot that was closed last, and makes the forecasts that start after it.
func (m *margins) learn(h *slots, capacity float64) {
	last := h.next - 1
	use := h.peaks[last.in(slotsKept)]
	first := 0
	for i, length := range horizons() {
		hm := &m.horizon[i]
		if use >= 0 {
			m.countMisses(hm, first, length, use)
		}
		at := first + last.in(length)
		m.settle(hm, at, h, length, capacity)
		m.forecast(hm, at, h, length, use >= 0, capacity)
		first += length
	}
}

// countMisses moves k for each forecast of one horizon that use exceeds now.
func (m *margins) countMisses(hm *horizonMargins, first, length int, use float32) {
	for b := range basesCount {
		bm := &hm.base[b]
		for l, level := range levels() {
			if use <= bm.lowest[l] {
				continue
			}
			bm.lowest[l] = math.MaxFloat32
			ring := m.pending[b][l][first : first+length]
			for i, f := range ring {
				switch {
				case f != f || f < 0:
				case use > f:
					ring[i] = -1 - f
					bm.k[l] += level.step * stepShare(length) * (1 - level.missRate)
				default:
					bm.lowest[l] = min(bm.lowest[l], f)
				}
			}
		}
	}
}

// stepShare makes steps smaller beyond an hour: one excess is a miss of every forecast that is out, and there are
// as many as the horizon has slots.
func stepShare(length int) float64 { return min(1, float64(slotsPerHour)/float64(length)) }

// settle closes the forecast whose horizon ended with the slot closed last.
func (m *margins) settle(hm *horizonMargins, at int, h *slots, length int, capacity float64) {
	if f := m.pendingBase[0][at]; f != f {
		return
	}
	peak, known := h.outcome(length)
	decay := math.Exp2(-1.0 / forgetHalfLife)
	for b := range basesCount {
		bm := &hm.base[b]
		for l, level := range levels() {
			f := float64(m.pending[b][l][at])
			if f < 0 { // it was missed, and counted then
				f = -1 - f
			} else if known {
				bm.k[l] = max(level.firstGuess/6, bm.k[l]-level.step*stepShare(length)*level.missRate)
			}
			if l == lossLevel && known {
				bm.loss = bm.loss*decay + pinball(peak, f, level.missRate)/capacity
			}
		}
		if known {
			excess := max(0, peak-float64(m.pendingBase[b][at])) / capacity
			bm.squares = bm.squares*decay + excess*excess
			bm.weight = bm.weight*decay + 1
		}
	}
}

// pinball is the loss that the quantile which is exceeded at missRate makes smallest.
func pinball(real, forecast, missRate float64) float64 {
	if real > forecast {
		return (real - forecast) * (1 - missRate)
	}
	return (forecast - real) * missRate
}

// forecast notes the forecasts that start with the next slot; none after a slot that was not measured.
func (m *margins) forecast(hm *horizonMargins, at int, h *slots, length int, measured bool, capacity float64) {
	if !measured {
		nan := float32(math.NaN())
		for b := range basesCount {
			m.pendingBase[b][at] = nan
			for l := range levelsCount {
				m.pending[b][l][at] = nan
			}
		}
		return
	}
	for b, base := range h.bases(0, length, 0) {
		m.pendingBase[b][at] = float32(base)
		scale := hm.base[b].scale()
		for l := range levelsCount {
			f := float32(min(capacity, base+hm.base[b].k[l]*scale*capacity))
			m.pending[b][l][at] = f
			hm.base[b].lowest[l] = min(hm.base[b].lowest[l], f)
		}
	}
}

// scale is how far peaks go beyond the base, as a share of capacity.
func (bm *baseMargins) scale() float64 {
	if bm.weight == 0 {
		return scaleFloor
	}
	return scaleFloor + math.Sqrt(bm.squares/bm.weight)
}

// bases gives the three bases for the slots from `from` to `until`, counted from the next one.
// open is the highest use in the slot that is not closed yet.
func (h *slots) bases(from, until int, open float64) [basesCount]float64 {
	recent := max(open, h.highest(h.next-slotsPerHour, h.next))
	// Half an hour on either side: what happens every day does not happen on the minute.
	const slack = slotsPerHour / 2
	daysAgo := func(days int) float64 {
		start := h.next - slot(days*slotsPerDay)
		return h.highest(start+slot(from-slack), start+slot(until+slack))
	}
	yesterday := max(recent, daysAgo(1))
	return [basesCount]float64{recent, yesterday, max(yesterday, daysAgo(2), daysAgo(7))}
}

// peak is the forecast over the slots from `from` to `until`, counted from the next one, at the quantile; base is
// what it is without a margin. Between two horizons it is interpolated on a scale of logarithms.
func (m *margins) peak(h *slots, from, until int, open float64, missRate, capacity float64) (peak, base float64) {
	bases := h.bases(from, until, open)
	lengths := horizons()
	i := 0
	for i < horizonsCount-1 && lengths[i] < until {
		i++
	}
	peak, base = m.horizon[i].mix(bases, missRate, capacity)
	if i == 0 || until >= lengths[i] {
		return peak, base
	}
	peakBefore, baseBefore := m.horizon[i-1].mix(bases, missRate, capacity)
	share := math.Log(float64(until)/float64(lengths[i-1])) / math.Log(float64(lengths[i])/float64(lengths[i-1]))
	return peakBefore + share*(peak-peakBefore), baseBefore + share*(base-baseBefore)
}

// mix weighs the three forecasts by exp(-trust x loss).
func (hm *horizonMargins) mix(bases [basesCount]float64, missRate, capacity float64) (peak, base float64) {
	least := min(hm.base[0].loss, hm.base[1].loss, hm.base[2].loss)
	weights := 0.0
	for b := range basesCount {
		bm := &hm.base[b]
		w := math.Exp(-trust * (bm.loss - least))
		peak += w * (bases[b] + kAt(bm.k, missRate)*bm.scale()*capacity)
		base += w * bases[b]
		weights += w
	}
	return peak / weights, base / weights
}

// kAt interpolates k by the logarithm of the miss rate; at a rate of one half there is no margin.
func kAt(k [levelsCount]float64, missRate float64) float64 {
	rate, kBefore := 0.5, 0.0
	for l, level := range levels() {
		if missRate >= level.missRate {
			return kBefore + (k[l]-kBefore)*math.Log(rate/missRate)/math.Log(rate/level.missRate)
		}
		rate, kBefore = level.missRate, k[l]
	}
	return kBefore
}
