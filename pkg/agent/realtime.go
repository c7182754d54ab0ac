package agent

import (
	"path"
	"slices"

	"github.com/plimsoll/plimsoll/pkg/actuate"
	"github.com/plimsoll/plimsoll/pkg/cgroup"
	"github.com/plimsoll/plimsoll/pkg/qos"
)

// realtimeKnobs are those that are read of the groups of pods that ask for real-time priority.
func realtimeKnobs() []qos.Knob { return []qos.Knob{qos.CPURealtimeRuntime, qos.CPUPolicy} }

// readRealtime adds what strategy realtime needs to know of a pod: its containers and the settings of all
// groups from the tier down. It does so for pods that ask, and, until they end, for those that did, be that of
// an agent before this one: that pod is known then, or it might seem not to ask any more. A setting that
// cannot be read is asked for anew.
func (s *sensor) readRealtime(r *reading, p *pod, group cgroup.Pod, known bool) {
	if !slices.Contains(s.knobs[qos.KindContainer], qos.CPUPolicy) {
		return
	}
	if !p.Info.Realtime && !s.askedRealtime[p.UID] && (!known || !s.hadRealtime[group.Path]) {
		return
	}
	s.askedRealtime[p.UID] = true
	read := func(g string) {
		if _, known := r.Settings[g]; !known {
			r.Settings[g], _ = s.settings(g, realtimeKnobs())
		}
	}
	for tier := path.Dir(group.Path); len(tier) >= len(s.host.Kubepods); tier = path.Dir(tier) {
		read(tier)
	}
	read(group.Path)
	for _, c := range group.Containers {
		if uid, ok := s.pods.podOfContainer(c.ID); ok && uid == p.UID { // the sandbox is no container's
			p.Containers = append(p.Containers, c.Path)
			read(c.Path)
		}
	}
}

// realtimePods are the groups of the pods whose threads an agent has given real-time priority, by the journal.
func realtimePods(originals []actuate.Original) map[string]bool {
	pods := map[string]bool{}
	for _, o := range originals {
		if o.Knob == qos.CPUPolicy {
			pods[path.Dir(o.Group)] = true
		}
	}
	return pods
}

// forgetRealtime drops the pods that are gone.
func (s *sensor) forgetRealtime(pods []pod) {
	for uid := range s.askedRealtime {
		if !slices.ContainsFunc(pods, func(p pod) bool { return p.UID == uid }) {
			delete(s.askedRealtime, uid)
		}
	}
}
