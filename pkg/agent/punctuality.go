package agent

import (
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/plimsoll/plimsoll/pkg/api/v1alpha1"
)

const (
	// lateFrom is how late a fast tick is told of: with a whole tick to wait for at worst, batch is then held back
	// later than 150 ms after a step in load.
	lateFrom = fastTick / 2
	// punctualityWindow is the time over which late ticks are counted, and mostLatePermille how many may be late.
	punctualityWindow = time.Minute
	mostLatePermille  = 10
)

// punctuality follows whether fast ticks come when they are due. On a node that services fill the agent may not get
// the CPU, and nobody else would notice: the guard waits two seconds.
type punctuality struct {
	due time.Time
	// now is the minute that runs, last the one before.
	now, last minute
	late      bool
}

// minute counts ticks.
type minute struct {
	ends        time.Time
	ticks, late int64
	longest     time.Duration
}

func (p *punctuality) start(now time.Time) {
	p.due, p.now = now.Add(fastTick), minute{ends: now.Add(punctualityWindow)}
}

// came counts a fast tick that comes now, and those that should have come before and were left out: one tick that is
// five seconds late is fifty that were late.
func (p *punctuality) came(now time.Time, observe func(seconds float64)) {
	for ; !p.due.After(now); p.due = p.due.Add(fastTick) {
		by := now.Sub(p.due)
		observe(by.Seconds())
		p.now.ticks++
		if by > lateFrom {
			p.now.late++
		}
		p.now.longest = max(p.now.longest, by)
	}
	if p.now.tooLate() {
		p.late = true // at once, and until a minute was better
	}
	if now.Before(p.now.ends) {
		return
	}
	p.late, p.last = p.now.tooLate(), p.now
	p.now = minute{ends: now.Add(punctualityWindow)}
}

// tooLate says whether more ticks were late than may be, of those of a whole minute.
func (m minute) tooLate() bool {
	return m.late*1000 > mostLatePermille*max(m.ticks, int64(punctualityWindow/fastTick))
}

// condition is what is published.
func (p *punctuality) condition() metav1.Condition {
	c := metav1.Condition{Type: v1alpha1.ConditionAgentOnTime, Status: metav1.ConditionTrue, Reason: "OnTime", Message: "the agent looks for harm when it should"}
	if p.late {
		m := p.last
		if !m.tooLate() {
			m = p.now
		}
		c.Status, c.Reason = metav1.ConditionFalse, "Late"
		c.Message = fmt.Sprintf("in a minute %d of %d looks for harm came more than %v late, one %v: services leave the agent too little CPU time; raise its CPU request, which is its weight",
			m.late, m.ticks, lateFrom, m.longest.Round(time.Millisecond))
	}
	return c
}
