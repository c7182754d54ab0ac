// Package batchcpuset is the strategy that keeps batch work off CPUs: off those that the kubelet's static CPU manager
// gave to containers for them alone, with the other threads of their cores, and off as many whole cores as services
// ask for.
//
// batchidle makes batch give way on a CPU; the other thread of a core that batch runs on is slower all the same, and
// caches are shared. A service that is hurt by that asks, and one with exclusive CPUs has asked already.
//
// It takes CPUs from batch and gives none to anybody: services run where they did, and the kernel finds the CPUs that
// batch is not on idle.
//
// Units: CPUs by their numbers, as lists like 0-3,8; whole cores.
//
// The trap: on cgroup v1 a group's set must at every moment be within that of the group above it and around those of
// the groups below, so that a move to other CPUs takes several ticks: see moves.
package batchcpuset

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/plimsoll/plimsoll/pkg/qos"
)

// Name is the strategy's name in the agent's configuration.
const Name = "batchcpuset"

// Args are the strategy's arguments.
type Args struct {
	// Namespaces are those whose pods may ask for whole cores without batch, with the annotation
	// plimsoll.dev/whole-cores. What one service gets batch loses, so nobody may by default.
	Namespaces []string `json:"namespaces"`
	// LeastCPUs is how many CPUs batch keeps, whatever pods ask for. 1 to 1024; default 1.
	LeastCPUs int64 `json:"leastCPUs"`
}

// Factory makes the strategy.
func Factory() qos.Factory {
	return qos.NewFactory(Name, func() Args { return Args{LeastCPUs: 1} }, validate, New)
}

func validate(a Args) error {
	var r qos.Ranges
	r.Check("leastCPUs", a.LeastCPUs, 1, 1024)
	if slices.Contains(a.Namespaces, "") {
		return errors.Join(errors.New(`namespaces: "" is no namespace`), r.Err())
	}
	return r.Err()
}

// New returns the strategy.
func New(args Args) qos.Strategy {
	return qos.Strategy{
		Name: Name, Knobs: []qos.Knob{qos.CPUSetCPUs}, Kinds: []qos.Kind{qos.KindBatchBranch, qos.KindBatchContainer},
		Step: func(s qos.State) qos.Plan { return step(args, s) },
	}
}

// step wants nothing while the node, or what is exclusive on it, is not known: the set that is in force protects
// whom it protected, and the kernel keeps to it without anybody.
func step(args Args, s qos.State) qos.Plan {
	branch, ok := s.BatchBranch()
	if !ok || s.Blind {
		return qos.Plan{}
	}
	switch sets := s.CPUSets; {
	case branch.Settings[qos.CPUSetCPUs].Unsupported:
		return note("pods' groups have no cpuset here: batch cannot be kept off CPUs")
	case sets == nil || len(sets.CPUs) == 0 || !sets.ExclusiveOK:
		why := "nothing is known of the node's CPUs"
		if sets != nil && sets.Missing != "" {
			why = sets.Missing
		}
		return note("batch stays on the CPUs that it has: " + why)
	}
	asks, notes := heard(args, s)
	c := choose(args, *s.CPUSets, asks)
	plan := qos.Plan{Notes: append(notes, c.notes...)}
	if len(c.cpus) == 0 {
		return plan
	}
	if s.CPUSets.Inherits {
		// All is what a set that was never written means. One that was written is written with all, since the kernel
		// empties none while there are tasks below (ENOSPC).
		if len(c.cpus) < len(s.CPUSets.CPUs) || branch.Settings[qos.CPUSetCPUs].Value != inherit {
			plan.Changes = []qos.Change{change(branch, c.cpus, c.reason)}
		}
		return plan
	}
	plan.Changes = moves(s, branch, c)
	return plan
}

func note(text string) qos.Plan { return qos.Plan{Notes: []string{text}} }

// ask is a pod that may have whole cores, and how many it asks for.
type ask struct {
	pod   string
	cores int64
}

// heard is who asks and may, those that ask for the most first.
func heard(args Args, s qos.State) (asks []ask, notes []string) {
	for _, g := range s.Groups {
		switch {
		case g.Kind != qos.KindPod || g.WholeCores <= 0:
		case !slices.Contains(args.Namespaces, g.Namespace):
			notes = append(notes, fmt.Sprintf("a pod of namespace %q asks for whole cores, which args.namespaces does not let it have", g.Namespace))
		default:
			asks = append(asks, ask{g.Path, g.WholeCores})
		}
	}
	slices.SortFunc(asks, func(a, b ask) int {
		if a.cores != b.cores {
			return int(b.cores - a.cores)
		}
		return strings.Compare(a.pod, b.pod)
	})
	return asks, notes
}
