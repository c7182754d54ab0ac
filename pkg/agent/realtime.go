package agent

import (
	"path"
	"slices"

	"github.com/plimsoll/plimsoll/pkg/cgroup"
	"github.com/plimsoll/plimsoll/pkg/qos"
)

// realtimeKnobs are those that are read of the groups of pods that ask for real-time priority.
func realtimeKnobs() []qos.Knob { return []qos.Knob{qos.CPURealtimeRuntime, qos.CPUPolicy} }

// readRealtime adds what strategy realtime needs to know of a pod: its containers and the settings of all
// groups from the tier down. It does so for pods that ask, and, until they end, for those that did. A
// setting that cannot be read is asked for anew.
func (s *sensor) readRealtime(r *reading, p *pod, group cgroup.Pod) {
	if !slices.Contains(s.knobs[qos.KindContainer], qos.CPUPolicy) || !p.Info.Realtime && !s.askedRealtime[p.UID] {
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

// forgetRealtime drops the pods that are gone.
func (s *sensor) forgetRealtime(pods []pod) {
	for uid := range s.askedRealtime {
		if !slices.ContainsFunc(pods, func(p pod) bool { return p.UID == uid }) {
			delete(s.askedRealtime, uid)
		}
	}
}
