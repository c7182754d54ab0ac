package agent

import (
	"time"

	"github.com/plimsoll/plimsoll/pkg/api/v1alpha1"
	"github.com/plimsoll/plimsoll/pkg/usage"
)

// Between two ticks that read everything, fast ticks read the pressure of the tiers and of pods that are
// not batch. Where it rises suddenly the next tick comes at once, so that strategies see harm within a
// tenth of a second and not within a second.
const (
	fastTick = 100 * time.Millisecond
	// harmPermille is the share of a fast tick in which tasks of a group waited for CPU or memory, or all of
	// them for I/O, from which on a rise counts. Below it are the waits of any machine that does something.
	harmPermille = 250
	// earlyTickEvery bounds what early ticks cost: at most one each half a second.
	earlyTickEvery = 500 * time.Millisecond
)

// pressureWatch remembers what the last fast tick saw.
type pressureWatch struct {
	at time.Time
	// last is what it saw, before the map of the fast tick before, which is used again.
	last, before map[usage.GroupKey]watched
	early        time.Time
}

type watched struct {
	cpu, memory, io usage.Reading
	harmed          bool
}

// fast reads what a fast tick reads and reports whether the next tick should come at once: a group is under
// pressure now that was not before, or somebody else has set the batch branch's knobs.
func (l *loop) fast(now time.Time) bool {
	w := &l.pressure
	elapsed, was := now.Sub(w.at), w.last
	if w.before == nil {
		w.before = map[usage.GroupKey]watched{}
	}
	clear(w.before)
	w.at, w.last, w.before = now, w.before, was
	rose := l.branch.moved()
	read := func(group string) {
		s, err := l.sensor.reader.ReadFast(group)
		if err != nil {
			return // vanished: the next tick that reads everything counts it
		}
		next := watched{cpu: s.CPUSomeMicros, memory: s.MemorySomeMicros, io: s.IOFullMicros}
		if before, known := was[s.Key]; known {
			next.harmed = harmed(before.cpu, next.cpu, elapsed) || harmed(before.memory, next.memory, elapsed) || harmed(before.io, next.io, elapsed)
			rose = rose || next.harmed && !before.harmed
		}
		w.last[s.Key] = next
	}
	for _, t := range l.last.Tiers {
		read(t)
	}
	for i := range l.last.Pods {
		if l.last.Pods[i].Info.Class != v1alpha1.ClassBatch {
			read(l.last.Pods[i].Key.Path)
		}
	}
	if !rose || now.Sub(w.early) < earlyTickEvery {
		return false
	}
	w.early = now
	return true
}

// harmed says whether a total of PSI grew by more than its share of the time. After a gap it cannot tell.
func harmed(before, after usage.Reading, elapsed time.Duration) bool {
	if !before.OK || !after.OK || elapsed <= 0 || elapsed > 5*fastTick {
		return false
	}
	return (after.Value-before.Value)*1000 > harmPermille*elapsed.Microseconds()
}
