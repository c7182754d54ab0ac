package agent

import (
	"maps"

	"github.com/plimsoll/plimsoll/pkg/qos"
)

// pretended is what a strategy that only observes would have set, by group and knob.
type pretended map[string]map[qos.Knob]string

// over is the State as it would be if that had been written.
func (p pretended) over(s qos.State) qos.State {
	if len(p) == 0 {
		return s
	}
	groups := make([]qos.Group, len(s.Groups))
	for i, g := range s.Groups {
		if set := p[g.Path]; len(set) > 0 {
			settings := maps.Clone(g.Settings)
			if settings == nil {
				settings = map[qos.Knob]qos.Setting{}
			}
			for k, v := range set {
				settings[k] = qos.Setting{Value: v, OK: true}
			}
			g.Settings = settings
		}
		groups[i] = g
	}
	s.Groups = groups
	return s
}

// with adds what would be written now.
func (p pretended) with(changes []qos.Change) pretended {
	if p == nil {
		p = pretended{}
	}
	for _, c := range changes {
		if p[c.Group] == nil {
			p[c.Group] = map[qos.Knob]string{}
		}
		p[c.Group][c.Knob] = c.Value
	}
	return p
}
