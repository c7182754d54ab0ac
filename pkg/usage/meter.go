package usage

import "time"

// pointsPerWindow bounds the memory of a group's history whatever the tick: points closer together
// than a sixteenth of the window replace one another.
const pointsPerWindow = 16

// Meter keeps the history that rates need: at most pointsPerWindow+2 points for each group that was
// in the newest Sample. It is not safe for concurrent use.
type Meter struct {
	window time.Duration
	node   history
	groups map[GroupKey]*history
}

// NewMeter returns a Meter that averages over window.
func NewMeter(window time.Duration) *Meter {
	return &Meter{window: window, groups: map[GroupKey]*history{}}
}

// Add takes the next Sample and returns the rates as of it. A group that is in the Sample for the
// first time has no rates yet. A group that is not in it is forgotten: it has vanished or could not
// be read, and a rate across the gap would hide the gap. A Sample that is not later than the one
// before it starts every history anew.
func (m *Meter) Add(s Sample) Usage {
	u := Usage{At: s.At, Groups: make(map[GroupKey]Rates, len(s.Groups))}
	u.Node = m.node.add(m.window, point{
		at: s.At, cpuMicros: s.Node.CPUBusyMicros, cpuSome: s.Node.CPUSomeMicros,
		memorySome: s.Node.MemorySomeMicros, ioSome: s.Node.IOSomeMicros,
	})
	u.Node.MemoryBytes = s.Node.MemoryUsedBytes

	for _, g := range s.Groups {
		h := m.groups[g.Key]
		if h == nil {
			h = &history{}
			m.groups[g.Key] = h
		}
		r := h.add(m.window, point{
			at: s.At, cpuMicros: g.CPUMicros, cpuSome: g.CPUSomeMicros,
			memorySome: g.MemorySomeMicros, ioSome: g.IOSomeMicros,
		})
		r.MemoryBytes = g.WorkingSetBytes
		r.RunDelayPermille = h.runDelay.add(m.window, s.At, g.RunDelayMicros)
		u.Groups[g.Key] = r
	}
	for key := range m.groups {
		if _, ok := u.Groups[key]; !ok {
			delete(m.groups, key)
		}
	}
	return u
}

// point is the counters of one group at one instant.
type point struct {
	at                                     time.Time
	cpuMicros, cpuSome, memorySome, ioSome Reading
}

func (p point) when() time.Time { return p.at }

// keepWindow adds a point to those of a window, oldest first, in their own memory.
func keepWindow[P interface{ when() time.Time }](points []P, p P, window time.Duration) []P {
	// The newest point is always kept; the one before it stays only when it is far enough from its
	// predecessor to be worth its place.
	if n := len(points); n >= 2 && points[n-1].when().Sub(points[n-2].when()) < window/pointsPerWindow {
		points = points[:n-1]
	}
	points = append(points, p)
	// The oldest point is the newest of those that are at least a window old, so that the rates span
	// the whole window once there is that much history.
	drop := 0
	for drop+1 < len(points) && p.when().Sub(points[drop+1].when()) >= window {
		drop++
	}
	return append(points[:0], points[drop:]...)
}

// history is the points that rates are taken between, oldest first.
type history struct {
	first    time.Time
	points   []point
	runDelay sparse
}

func (h *history) add(window time.Duration, p point) Rates {
	if n := len(h.points); n > 0 && (!p.at.After(h.points[n-1].at) || wentBack(h.points[n-1], p)) {
		h.points, h.runDelay = h.points[:0], sparse{}
	}
	if len(h.points) == 0 {
		h.first = p.at
	}
	h.points = keepWindow(h.points, p, window)

	oldest := h.points[0]
	elapsed := p.at.Sub(oldest.at)
	r := Rates{Window: elapsed, Measured: p.at.Sub(h.first)}
	r.MilliCPU = perThousand(oldest.cpuMicros, p.cpuMicros, elapsed)
	r.CPUSomePermille = share(oldest.cpuSome, p.cpuSome, elapsed)
	r.MemorySomePermille = share(oldest.memorySome, p.memorySome, elapsed)
	r.IOSomePermille = share(oldest.ioSome, p.ioSome, elapsed)
	return r
}

// wentBack reports whether the CPU counter ran backwards: the group was re-created or its counter reset.
func wentBack(before, after point) bool {
	return before.cpuMicros.OK && after.cpuMicros.OK && after.cpuMicros.Value < before.cpuMicros.Value
}

// perThousand is the growth of a counter of microseconds, per elapsed time, in thousandths:
// 500 ms of CPU in 1 s is 500.
func perThousand(from, to Reading, elapsed time.Duration) Reading {
	if !from.OK || !to.OK || elapsed < time.Microsecond || to.Value < from.Value {
		return Reading{}
	}
	return Of((to.Value - from.Value) * 1000 / elapsed.Microseconds())
}

// share is perThousand of a counter that cannot grow faster than time. The kernel brings the total of
// a PSI file up to date when it is read, a moment after the clock was, so a share may come out just above 1000.
func share(from, to Reading, elapsed time.Duration) Reading {
	r := perThousand(from, to, elapsed)
	r.Value = min(r.Value, 1000)
	return r
}
