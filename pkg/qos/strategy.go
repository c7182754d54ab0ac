package qos

import (
	"errors"
	"fmt"
)

// Strategy decides about some knobs. Step depends on its State and on what earlier States told it,
// and on nothing else.
type Strategy struct {
	Name string
	// Knobs is every knob that Step may ask for. No two strategies may claim the same one.
	Knobs []Knob
	Step  func(State) Plan
}

// Bind makes a Strategy of a pure step by keeping its memory between calls. The memory starts as M's
// zero value and may be lost at any restart, so a step must be right without it.
func Bind[M any](name string, knobs []Knob, step func(State, M) (Plan, M)) Strategy {
	var memory M
	return Strategy{Name: name, Knobs: knobs, Step: func(s State) Plan {
		var p Plan
		p, memory = step(s, memory)
		return p
	}}
}

// Factory makes a Strategy from the arguments in the agent's configuration file.
type Factory struct {
	Name string
	// New decodes args strictly over the strategy's defaults and validates them. Empty args mean the
	// defaults. The error names each bad field, its value and what is allowed.
	New func(args []byte) (Strategy, error)
}

// CheckOwners returns an error that names both claimants of each knob that two strategies claim.
func CheckOwners(strategies []Strategy) error {
	owner := map[Knob]string{}
	var errs []error
	for _, s := range strategies {
		for _, k := range s.Knobs {
			if first, taken := owner[k]; taken {
				errs = append(errs, fmt.Errorf("knob %s is claimed by strategies %s and %s: turn one of them Off", k, first, s.Name))
				continue
			}
			owner[k] = s.Name
		}
	}
	return errors.Join(errs...)
}

// Diff returns the changes of p that are not so already, as far as s knows. A setting that could not be
// read counts as not so: writing it again is harmless, leaving it wrong is not. A knob that the kernel
// does not have is left out.
func Diff(s State, p Plan) []Change {
	current := make(map[string]map[Knob]Setting, len(s.Groups))
	for _, g := range s.Groups {
		current[g.Path] = g.Settings
	}
	var changes []Change
	for _, c := range p.Changes {
		is := current[c.Group][c.Knob]
		if is.Unsupported || is.OK && is.Value == c.Value {
			continue
		}
		changes = append(changes, c)
	}
	return changes
}

// Foreign returns the changes of p to knobs that s does not claim. There are none unless the strategy
// is wrong; whoever runs it must drop them.
func (s Strategy) Foreign(p Plan) []Change {
	var foreign []Change
	for _, c := range p.Changes {
		claimed := false
		for _, k := range s.Knobs {
			claimed = claimed || k == c.Knob
		}
		if !claimed {
			foreign = append(foreign, c)
		}
	}
	return foreign
}
