package batchcap

import (
	"fmt"
	"time"

	"github.com/plimsoll/plimsoll/pkg/qos"
	"github.com/plimsoll/plimsoll/pkg/usage"
)

// memory is what is kept from tick to tick. Without it the strategy starts as after harm: at the safe line, if
// anybody is harmed, and with the quota that is in force.
type memory struct {
	capacity int64
	// linePermille is the line now, as of lineAt; 0 before the first tick.
	linePermille int64
	lineAt       time.Time
	// raisedAt is when the quota was last raised, patience how long all must be well before the line is raised
	// again; worseAt is when a pod was last harmed.
	raisedAt, worseAt time.Time
	patience          time.Duration
	// missed is how many full ticks in a row had no pod's harm.
	missed int
	// quotaAt is when the quota last moved, asked what was last asked for.
	quotaAt time.Time
	asked   int64
	// others and online are the peaks of what is not batch, and of what online pods alone use.
	others, online usage.SlidingPeak
}

// harm is the worst that an online pod suffers of batch.
type harm struct {
	pods int
	// excess is not OK where it was measured of no pod.
	excess usage.Reading
	worst  string
}

func harmOf(s qos.State) harm {
	var h harm
	for _, g := range s.Groups {
		if g.Kind != qos.KindPod || !g.Online {
			continue
		}
		h.pods++
		if e := g.Harm.ExcessPermille; e.OK && (!h.excess.OK || e.Value > h.excess.Value) {
			h.excess, h.worst = e, g.Path
		}
	}
	return h
}

// moveLine moves the line by what is suffered now and returns why it is where it is.
func (d decider) moveLine(h harm, othersPermille int64) string {
	m, a, now := d.m, d.args, d.s.Now
	if m.linePermille == 0 {
		m.linePermille, m.lineAt, m.patience = a.CalmLinePermille, now, a.raiseAfter()
	}
	if now.Before(m.lineAt) || now.Before(m.worseAt) || now.Before(m.raisedAt) { // the clock was set back: wait anew
		m.lineAt, m.worseAt, m.raisedAt = now, now, time.Time{}
	}
	set := func(permille int64) { m.linePermille, m.lineAt = permille, now }
	switch {
	case h.pods == 0:
		m.missed = 0
		set(a.CalmLinePermille)
		m.patience = a.raiseAfter()
		return "no online pod is on the node"
	case !h.excess.OK && !d.s.Fast && m.missed < 1:
		m.missed++ // the first reading of a pod that has just come has no harm yet
	case !h.excess.OK && !d.s.Fast:
		if m.linePermille > a.SafeLinePermille {
			set(a.SafeLinePermille)
		}
		m.worseAt = now
		return "what online pods suffer is not measured"
	case !h.excess.OK:
	case h.excess.Value >= a.HarmPermille:
		d.lower(h, othersPermille, set)
		return fmt.Sprintf("%s waits for CPUs in %d ‰ of the time more than of its own making", h.worst, h.excess.Value)
	case h.excess.Value*2 < a.HarmPermille && !d.s.Fast:
		d.raise(set)
	}
	if h.excess.OK {
		m.missed = 0
	}
	if m.linePermille >= a.CalmLinePermille {
		return "no online pod is harmed"
	}
	return "an online pod was harmed of late"
}

// lower moves the line down: to the safe line at once, and from there by a step each second, for a measure needs
// time to show.
func (d decider) lower(h harm, othersPermille int64, set func(int64)) {
	m, a, now := d.m, d.args, d.s.Now
	if !m.raisedAt.IsZero() && now.Sub(m.raisedAt) <= 2*a.raiseAfter() { // raising it did this
		m.patience = min(2*m.patience, a.raiseAfterMost())
		m.raisedAt = time.Time{}
	}
	switch {
	case m.linePermille > a.SafeLinePermille:
		set(a.SafeLinePermille)
	case !d.s.Fast && now.Sub(m.lineAt) >= settleTime:
		// Not below where the quota is the floor: what is lower has no effect, and would have to be climbed back.
		set(min(m.linePermille, max(m.linePermille-a.StepPermille, othersPermille+a.FloorPermille)))
	}
	m.worseAt = now
}

// settleTime is how long a lower line is given to show what it does.
const settleTime = 900 * time.Millisecond

// raise moves the line up by a step when all has been well for long enough.
func (d decider) raise(set func(int64)) {
	m, a, now := d.m, d.args, d.s.Now
	if m.linePermille >= a.CalmLinePermille {
		if now.Sub(m.lineAt) >= a.raiseAfterMost() {
			m.patience = a.raiseAfter() // it has held: what there was is over
		}
		return
	}
	if now.Sub(m.lineAt) >= m.patience && now.Sub(m.worseAt) >= m.patience {
		set(min(m.linePermille+a.StepPermille, a.CalmLinePermille))
	}
}
