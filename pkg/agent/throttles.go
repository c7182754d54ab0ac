package agent

import (
	"maps"
	"time"

	"github.com/plimsoll/plimsoll/pkg/api/v1alpha1"
	"github.com/plimsoll/plimsoll/pkg/cgroup"
	"github.com/plimsoll/plimsoll/pkg/usage"
)

// throttleTurns is in how many ticks the containers of each latency-sensitive pod are read once. Their counters
// go on meanwhile, so nothing is lost but what a container had between its last turn and its end.
const throttleTurns = 10

// throttles adds up how long CPU limits stopped what runs here. A total is not OK while something of it cannot
// be read.
type throttles struct {
	turn int
	// pods are those that are latency-sensitive, by UID, and branch is the batch branch.
	pods   map[string]*throttledPod
	branch throttledPod
	// online is the sum over pods, batch what stopped the branch.
	online, batch usage.Reading
}

// throttledPod is the counters of the groups of a pod at its last turn.
type throttledPod struct {
	at     time.Time
	groups map[usage.GroupKey]throttled
	unread bool
	// seen is the last tick that had it.
	seen int
}

// throttled is what the kernel counts about the CPU limit of a group.
type throttled struct{ micros, periods, throttledPeriods usage.Reading }

// readThrottles adds what limits stopped since each pod's last turn, and in the batch branch since the tick before.
func (s *sensor) readThrottles(r *reading, groupOf map[string]cgroup.Pod) {
	t := &s.throttles
	t.turn++
	t.batch.OK = false
	if r.Branch.Path != "" {
		t.batch.Value += t.branch.add(r.Sample.At, r.sampleOf(r.Branch, 1))
		t.batch.OK = !t.branch.unread
	}
	if t.pods == nil {
		t.pods = map[string]*throttledPod{}
	}
	t.online.OK = true
	for i, p := range r.Pods {
		if p.Info.Class != v1alpha1.ClassLatencySensitive {
			continue
		}
		known := t.pods[p.UID]
		if known == nil {
			known = &throttledPod{}
			t.pods[p.UID] = known
		}
		if known.seen == 0 || (i+t.turn)%throttleTurns == 0 {
			t.online.Value += known.add(r.Sample.At, s.limited(r.sampleOf(p.Key, p.sample), p.UID, groupOf[p.UID])...)
		}
		known.seen = t.turn
		t.online.OK = t.online.OK && !known.unread
	}
	maps.DeleteFunc(t.pods, func(_ string, p *throttledPod) bool { return p.seen != t.turn })
}

// limited is a pod's own group and those of its containers, any of which a limit may stop.
func (s *sensor) limited(own *usage.GroupSample, uid string, group cgroup.Pod) []*usage.GroupSample {
	all := []*usage.GroupSample{own}
	for _, c := range group.Containers {
		if of, ok := s.pods.podOfContainer(c.ID); !ok || of != uid {
			continue // the sandbox
		}
		if sample, err := s.reader.ReadOnly(c.Path, cgroup.Throttling); err == nil { // else it has ended
			all = append(all, &sample)
		}
	}
	return all
}

// add returns how many microseconds limits stopped a pod since its last turn, which is the most of its groups: a
// limit of the pod and one of its only container stop it at the same time.
func (p *throttledPod) add(at time.Time, groups ...*usage.GroupSample) (micros int64) {
	elapsed := at.Sub(p.at)
	now := make(map[usage.GroupKey]throttled, len(groups))
	p.unread = false
	for _, g := range groups {
		counted := throttled{g.ThrottledMicros, g.Periods, g.ThrottledPeriods}
		now[g.Key] = counted
		p.unread = p.unread || !counted.micros.OK
		if was, ok := p.groups[g.Key]; ok && elapsed > 0 {
			micros = max(micros, stopped(was, counted, elapsed))
		}
	}
	p.at, p.groups = at, now
	return micros
}

// stopped is for how much of the time a limit stopped a group. The kernel's counter adds up CPUs that are stopped at
// the same time, so it is held to the share of the periods in which it was stopped at all:
//
//	stopped = min(throttled time, elapsed x throttled periods / periods)
func stopped(was, now throttled, elapsed time.Duration) int64 {
	if !was.micros.OK || !now.micros.OK || now.micros.Value <= was.micros.Value {
		return 0
	}
	most := elapsed.Microseconds()
	known := was.periods.OK && now.periods.OK && was.throttledPeriods.OK && now.throttledPeriods.OK
	if periods := now.periods.Value - was.periods.Value; known && periods > 0 {
		most = min(most, most*max(0, now.throttledPeriods.Value-was.throttledPeriods.Value)/periods)
	}
	return min(now.micros.Value-was.micros.Value, most)
}

// totals is what readers are told.
func (t *throttles) totals(evictions int64) *v1alpha1.HarmTotals {
	return &v1alpha1.HarmTotals{ThrottledMilliseconds: millis(t.online), BatchThrottledMilliseconds: millis(t.batch), Evictions: evictions}
}

// millis is nil for what is not known.
func millis(micros usage.Reading) *int64 {
	if !micros.OK {
		return nil
	}
	return new(micros.Value / 1000)
}
