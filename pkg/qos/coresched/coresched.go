// Package coresched is the strategy that keeps batch work from running on one thread of a core while a service that
// asks runs on another. The kernel does it (core scheduling, CONFIG_SCHED_CORE): two tasks run on the threads of one
// core at the same time only where they have the same cookie.
//
// Batch gets the cookie, one for all of it, and services keep none. So batch still runs beside batch, and services
// beside services. The other way round, with a cookie for the service that asks, batch would lose less, but the service
// would share no core with other services any more, which would wait for it; and batch alone would not pay.
//
// The price: while one pod asks, batch shares a core with no task of the node but batch, and the kernel leaves a
// thread idle where it has nothing else for it. batchcpuset takes whole cores from batch for good; this takes them
// only while a service runs on them.
//
// Units: none.
//
// The trap: cookies are a property of threads, which hand them on to those that they start. A container has none until
// the first tick after its start, nor has a process that the runtime starts in one later (kubectl exec).
package coresched

import (
	"errors"
	"fmt"
	"slices"

	"github.com/plimsoll/plimsoll/pkg/qos"
)

// Name is the strategy's name in the agent's configuration.
const Name = "coresched"

// Args are the strategy's arguments.
type Args struct {
	// Namespaces are those whose pods may ask, with the annotation plimsoll.dev/unshared-cores: "true". What services
	// get batch loses, so nobody may by default.
	Namespaces []string `json:"namespaces"`
	// Always keeps batch from sharing cores whether a pod asks or not. Default false.
	Always bool `json:"always"`
}

// Factory makes the strategy.
func Factory() qos.Factory {
	return qos.NewFactory(Name, func() Args { return Args{} }, validate, New)
}

func validate(a Args) error {
	if slices.Contains(a.Namespaces, "") {
		return errors.New(`namespaces: "" is no namespace`)
	}
	return nil
}

// New returns the strategy.
func New(args Args) qos.Strategy {
	return qos.Strategy{
		Name: Name, Knobs: []qos.Knob{qos.CoreCookie}, Kinds: []qos.Kind{qos.KindBatchContainer, qos.KindUnplaced},
		Step: func(s qos.State) qos.Plan { return step(args, s) },
	}
}

// step gives cookies blind or not: that needs no measurement. It takes them away only where it knows that nobody asks.
func step(args Args, s qos.State) qos.Plan {
	reason, notes := wanted(args, s)
	plan := qos.Plan{Notes: notes}
	lacking := false
	for _, g := range s.Groups {
		if g.Kind != qos.KindBatchContainer && g.Kind != qos.KindUnplaced {
			continue
		}
		is := g.Settings[qos.CoreCookie]
		given := is.OK && (is.Value == qos.CookieOwn || is.Value == qos.CookieSome)
		switch {
		case is.Unsupported:
			lacking = true
		case is.OK && (is.Value == qos.CookieNoThreads || is.Value == qos.CookieOthers): // nothing to keep apart, or it is
		case reason != "":
			plan.Changes = append(plan.Changes, qos.Change{Group: g.Path, Knob: qos.CoreCookie, Value: qos.CookieOwn, Reason: reason})
		case given && !s.Blind && s.PodsTold:
			plan.Changes = append(plan.Changes, qos.Change{
				Group: g.Path, Knob: qos.CoreCookie, Value: qos.CookieNone, Reason: "no pod asks any more that batch shares no core with it",
			})
		}
	}
	if lacking && reason != "" {
		plan.Notes = append(plan.Notes,
			"batch shares cores with everybody: the kernel has no core scheduling (CONFIG_SCHED_CORE, Linux 5.14), or the CPUs run one thread a core; "+
				"batchcpuset keeps batch off whole cores")
	}
	return plan
}

// wanted is why batch is to share no core now, empty where it may.
func wanted(args Args, s qos.State) (reason string, notes []string) {
	if args.Always {
		return "batch shares no core with others: args.always", nil
	}
	for _, g := range s.Groups {
		switch {
		case g.Kind != qos.KindPod || !g.UnsharedCores:
		case !slices.Contains(args.Namespaces, g.Namespace):
			notes = append(notes, fmt.Sprintf("a pod of namespace %q asks that batch shares no core with it, which args.namespaces does not let it", g.Namespace))
		default:
			reason = "a pod asks that batch shares no core with it"
		}
	}
	return reason, notes
}
