package agent

import (
	"maps"
	"slices"
	"time"

	"github.com/plimsoll/plimsoll/pkg/cgroup"
	"github.com/plimsoll/plimsoll/pkg/qos"
	"github.com/plimsoll/plimsoll/pkg/qos/burst"
	"github.com/plimsoll/plimsoll/pkg/usage"
)

// bursts is what is remembered of the pods that ask to burst above their limits, or did.
type bursts struct {
	asked map[string]bool // by UID
	// last is how long limits had stopped containers, by group, as of at.
	last, now map[usage.GroupKey]usage.Reading
	at        time.Time
}

// readBurst adds what strategy burst needs to know of a pod that asks, or did until it ends: the settings
// of its group and of its containers' groups, and how long their limits stopped these.
func (s *sensor) readBurst(r *reading, p *pod, group cgroup.Pod) {
	if !slices.Contains(s.knobs[qos.KindContainer], qos.CPUBurst) || !p.Info.Burst && !s.bursts.asked[p.UID] {
		return
	}
	if s.bursts.asked == nil {
		s.bursts.asked = map[string]bool{}
	}
	s.bursts.asked[p.UID] = true
	read := func(g string) {
		settings, _ := s.settings(g, burst.Knobs()) // one that cannot be read is not OK, and left alone
		maps.Copy(r.settingsOf(g), settings)
	}
	read(group.Path)
	var ofPod usage.Reading // the pod's own limit may be what stops a container
	if sample, err := s.reader.ReadOnly(group.Path, cgroup.Throttling); err == nil {
		ofPod = s.bursts.add(r, sample)
	}
	for _, c := range group.Containers {
		if uid, ok := s.pods.podOfContainer(c.ID); !ok || uid != p.UID {
			continue // the sandbox
		}
		if !slices.Contains(p.Containers, c.Path) {
			p.Containers = append(p.Containers, c.Path)
		}
		read(c.Path)
		if sample, err := s.reader.ReadOnly(c.Path, cgroup.Throttling); err == nil {
			own := s.bursts.add(r, sample)
			if r.Throttled == nil {
				r.Throttled = map[string]usage.Reading{}
			}
			r.Throttled[c.Path] = usage.Reading{Value: max(own.Value, ofPod.Value), OK: own.OK && ofPod.OK}
		}
	}
}

// add works out the share of the time since the tick before in which its limit stopped a group.
func (b *bursts) add(r *reading, sample usage.GroupSample) usage.Reading {
	if b.now == nil {
		b.now = map[usage.GroupKey]usage.Reading{}
	}
	b.now[sample.Key] = sample.ThrottledMicros
	was, now, elapsed := b.last[sample.Key], sample.ThrottledMicros, r.Sample.At.Sub(b.at)
	if !was.OK || !now.OK || now.Value < was.Value || elapsed < time.Millisecond || elapsed > 10*time.Second {
		return usage.Reading{}
	}
	return usage.Of(min((now.Value-was.Value)*1000/elapsed.Microseconds(), 1000))
}

// keep ends a tick: what was read becomes what was read before, and pods that are gone are forgotten.
func (b *bursts) keep(r *reading) {
	b.last, b.now, b.at = b.now, nil, r.Sample.At
	for uid := range b.asked {
		if !slices.ContainsFunc(r.Pods, func(p pod) bool { return p.UID == uid }) {
			delete(b.asked, uid)
		}
	}
}
