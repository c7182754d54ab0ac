package planner

import (
	"fmt"

	"github.com/plimsoll/plimsoll/pkg/qos"
	"github.com/plimsoll/plimsoll/pkg/qos/all"
)

// Replayed is what the strategies make of one recorded State.
type Replayed struct {
	Node  string             `json:"node"`
	At    string             `json:"at"`
	Blind bool               `json:"blind"`
	Plans []StrategyDecision `json:"strategies"`
}

// StrategyDecision is what one strategy wants.
type StrategyDecision struct {
	Name string `json:"name"`
	Mode string `json:"mode"`
	// Changes are what is not so yet; Holds how many of the plan's settings are so already.
	Changes []PlannedChange `json:"changes"`
	Holds   int             `json:"holds"`
	Notes   []string        `json:"notes,omitempty"`
	// Evictions are the pods that it would end, as namespace/name, each with the reason.
	Evictions []PlannedEviction `json:"evictions,omitempty"`
}

// PlannedEviction is a pod that a strategy would end.
type PlannedEviction struct {
	Pod    string `json:"pod"`
	Reason string `json:"reason"`
}

// PlannedChange is one line of the difference.
type PlannedChange struct {
	Group string `json:"group"`
	Knob  string `json:"knob"`
	// From is what was read back; nil where it could not be read.
	From   *string `json:"from"`
	To     string  `json:"to"`
	Reason string  `json:"reason"`
}

// Replay runs the strategies of a recording on its State, each once and without memory of earlier States.
func Replay(r qos.Recording) (Replayed, error) {
	done := Replayed{Node: r.Node, At: r.State.Now.UTC().Format("2006-01-02T15:04:05.000Z07:00"), Blind: r.State.Blind, Plans: []StrategyDecision{}}
	var wants []all.Want
	for _, s := range r.Strategies {
		wants = append(wants, all.Want{Name: s.Name, Args: s.Args})
	}
	strategies, err := all.Build(wants)
	if err != nil {
		return done, fmt.Errorf("building the strategies of the recording: %w", err)
	}
	settings := map[string]map[qos.Knob]qos.Setting{}
	for _, g := range r.State.Groups {
		settings[g.Path] = g.Settings
	}
	for i, s := range strategies {
		plan := s.Step(r.State)
		d := StrategyDecision{Name: s.Name, Mode: r.Strategies[i].Mode, Notes: plan.Notes, Changes: []PlannedChange{}}
		changes := qos.Diff(r.State, plan)
		d.Holds = len(plan.Changes) - len(changes)
		for _, c := range changes {
			p := PlannedChange{Group: c.Group, Knob: string(c.Knob), To: c.Value, Reason: c.Reason}
			if is := settings[c.Group][c.Knob]; is.OK {
				p.From = &is.Value
			}
			d.Changes = append(d.Changes, p)
		}
		for _, e := range plan.Evictions {
			d.Evictions = append(d.Evictions, PlannedEviction{Pod: e.Pod.Namespace + "/" + e.Pod.Name, Reason: e.Reason})
		}
		done.Plans = append(done.Plans, d)
	}
	return done, nil
}

// Differs reports whether anything is not as the strategies want it.
func (r Replayed) Differs() bool {
	for _, p := range r.Plans {
		if len(p.Changes)+len(p.Evictions) > 0 {
			return true
		}
	}
	return false
}
