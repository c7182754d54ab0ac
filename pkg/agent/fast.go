package agent

import (
	"path"
	"time"

	"github.com/plimsoll/plimsoll/pkg/api/v1alpha1"
	"github.com/plimsoll/plimsoll/pkg/cgroup"
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

// readGroup reads counters of a group.
type readGroup func(group string, counters cgroup.Counters) (usage.GroupSample, error)

// pressureWatch remembers what the last fast tick saw.
type pressureWatch struct {
	at time.Time
	// last is what it saw, by group, before the map of the fast tick before, which is used again.
	last, before map[string]watched
	// waited is for which resources tasks of each tier have waited since the fast tick before.
	waited map[string]cgroup.Counters
	// read is what was read in this fast tick already, CPU pressure included, to see what pods suffer.
	read  map[string]usage.GroupSample
	early time.Time
}

// watched is the pressure of the group that had this identity: of some of its tasks, and for I/O of all of them too.
type watched struct {
	id                      uint64
	cpu, memory, io, ioFull usage.Reading
	harmed                  bool
}

// next is what is known after those counters of the group were read; the others stay. harmed is whether one of them
// grew by more than its share of the time.
func (w watched) next(s usage.GroupSample, counters cgroup.Counters, elapsed time.Duration) watched {
	if w.id != s.Key.ID {
		w = watched{id: s.Key.ID}
	}
	w.harmed = false
	take := func(of cgroup.Counters, was *usage.Reading, now usage.Reading, harms bool) {
		if counters&of != 0 {
			w.harmed = w.harmed || harms && harmed(*was, now, elapsed)
			*was = now
		}
	}
	take(cgroup.CPUPressure, &w.cpu, s.CPUSomeMicros, true)
	take(cgroup.MemoryPressure, &w.memory, s.MemorySomeMicros, true)
	take(cgroup.IOPressure, &w.io, s.IOSomeMicros, false)
	take(cgroup.IOPressure, &w.ioFull, s.IOFullMicros, true)
	return w
}

// waitedSince is for which resources tasks have waited since before, or may have: nobody can tell of those that were
// not read both times.
func (w watched) waitedSince(before watched) (resources cgroup.Counters) {
	compare := func(of cgroup.Counters, was, now usage.Reading) {
		if !was.OK || was != now {
			resources |= of
		}
	}
	compare(cgroup.CPUPressure, before.cpu, w.cpu)
	compare(cgroup.MemoryPressure, before.memory, w.memory)
	compare(cgroup.IOPressure, before.io, w.io)
	return resources
}

// keeping returns read with what it reads of CPU pressure kept until the fast tick ends.
func (w *pressureWatch) keeping(read readGroup) readGroup {
	if w.read == nil {
		w.read = map[string]usage.GroupSample{}
	}
	return func(group string, counters cgroup.Counters) (usage.GroupSample, error) {
		s, err := read(group, counters)
		if err == nil && counters&cgroup.CPUPressure != 0 {
			w.read[group] = s
		}
		return s, err
	}
}

// sample reads counters of a group but for what was read in this fast tick.
func (w *pressureWatch) sample(group string, counters cgroup.Counters, read readGroup) (usage.GroupSample, error) {
	already, known := w.read[group]
	if known {
		counters &^= cgroup.CPUPressure
	}
	if counters == 0 {
		return already, nil
	}
	s, err := read(group, counters)
	if known && s.Key == already.Key {
		s.CPUSomeMicros = already.CPUSomeMicros
	}
	return s, err
}

// fast reads what a fast tick reads and reports whether the next tick should come at once: a group is under
// pressure now that was not before, or somebody else has set the batch branch's knobs.
//
// The tasks of pods are those of their tier too: of a resource for which none of the tier has waited, its pods are not
// read again. The kernel weighs the waits on each CPU by the time that the CPU was busy with the group's tasks, so of a pod
// that waits for a quarter of a fast tick its tier has at least 6250 microseconds divided by the number of CPUs.
func (l *loop) fast(now time.Time) bool {
	w := &l.pressure
	elapsed, was := now.Sub(w.at), w.last
	if w.before == nil {
		w.before, w.waited = map[string]watched{}, map[string]cgroup.Counters{}
	}
	clear(w.before)
	clear(w.waited)
	defer clear(w.read)
	w.at, w.last, w.before = now, w.before, was
	rose := l.branch.moved()
	look := func(group string, counters cgroup.Counters) watched {
		before, known := was[group]
		if !known {
			counters = cgroup.Pressure
		}
		next := before
		next.harmed = false
		if counters != 0 {
			s, err := w.sample(group, counters, l.sensor.reader.ReadOnly)
			if err != nil {
				return watched{} // vanished: the next tick that reads everything counts it
			}
			next = before.next(s, counters, elapsed)
		}
		rose = rose || next.harmed && !before.harmed
		w.last[group] = next
		return next
	}
	for _, t := range l.last.Tiers {
		w.waited[t] = look(t, cgroup.Pressure).waitedSince(was[t])
	}
	for i := range l.last.Pods {
		if p := &l.last.Pods[i]; p.Info.Class != v1alpha1.ClassBatch {
			waited, known := w.waited[path.Dir(p.Key.Path)]
			if !known {
				waited = cgroup.Pressure
			}
			look(p.Key.Path, waited)
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
