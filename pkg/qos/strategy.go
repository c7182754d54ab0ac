package qos

import (
	"errors"
	"fmt"
	"slices"
)

// Strategy decides about some knobs. Step depends on its State and on what earlier States told it,
// and on nothing else.
type Strategy struct {
	Name string
	// Knobs is every knob that Step may ask for. No two strategies may claim the same one on the same kind of
	// group.
	Knobs []Knob
	// Kinds are the kinds of group on which Step may ask for them. Empty means every kind.
	Kinds []Kind
	// Fast is true where Step is to be asked in fast ticks too: see State.Fast.
	Fast bool
	Step func(State) Plan
}

// Claims reports whether s may ask for a knob of a group of some kind.
func (s Strategy) Claims(knob Knob, kind Kind) bool {
	return slices.Contains(s.Knobs, knob) && (len(s.Kinds) == 0 || slices.Contains(s.Kinds, kind))
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

// CheckOwners returns an error that names both claimants of each knob that two strategies claim on the same
// kind of group.
func CheckOwners(strategies []Strategy) error {
	var errs []error
	for i, s := range strategies {
		for _, k := range s.Knobs {
			for _, first := range strategies[:i] {
				if slices.Contains(first.Knobs, k) && meet(first.Kinds, s.Kinds) {
					errs = append(errs, fmt.Errorf("knob %s is claimed by strategies %s and %s: turn one of them Off", k, first.Name, s.Name))
				}
			}
		}
	}
	return errors.Join(errs...)
}

// meet reports whether two lists of kinds, of which an empty one means every kind, have one in common.
func meet(a, b []Kind) bool {
	return len(a) == 0 || len(b) == 0 || slices.ContainsFunc(a, func(k Kind) bool { return slices.Contains(b, k) })
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

// Foreign returns the changes of p to knobs that s does not claim on the kind of group that st says the group
// is. There are none unless the strategy is wrong; whoever runs it must drop them.
func (s Strategy) Foreign(st State, p Plan) []Change {
	kindOf := make(map[string]Kind, len(st.Groups))
	for _, g := range st.Groups {
		kindOf[g.Path] = g.Kind
	}
	var foreign []Change
	for _, c := range p.Changes {
		if !s.Claims(c.Knob, kindOf[c.Group]) {
			foreign = append(foreign, c)
		}
	}
	return foreign
}
