package usage

import "time"

// maxRunDelayAge is how old the newest measurement of run delay may be: pods take turns in being measured.
const maxRunDelayAge = time.Minute

// sparse is the history of a counter that is not in every Sample: at most pointsPerWindow+2 points, oldest first.
type sparse struct {
	points []sparsePoint
}

type sparsePoint struct {
	at    time.Time
	value int64
}

func (p sparsePoint) when() time.Time { return p.at }

// add takes the counter as of now, absent where it was not read, and returns its growth per thousand of time:
// over the window, or from one measurement to the next where they are further apart than that.
func (s *sparse) add(window time.Duration, now time.Time, counter Reading) Reading {
	if counter.OK {
		s.keep(window, sparsePoint{now, counter.Value})
	}
	n := len(s.points)
	if n < 2 || now.Sub(s.points[n-1].at) > maxRunDelayAge {
		return Reading{}
	}
	from, to := s.points[0], s.points[n-1]
	return perThousand(Of(from.value), Of(to.value), to.at.Sub(from.at))
}

// keep adds a point. A total that is less than before, or a gap, begins anew.
func (s *sparse) keep(window time.Duration, p sparsePoint) {
	if n := len(s.points); n > 0 && (p.value < s.points[n-1].value || p.at.Sub(s.points[n-1].at) > maxRunDelayAge) {
		s.points = s.points[:0]
	}
	s.points = keepWindow(s.points, p, window)
}
