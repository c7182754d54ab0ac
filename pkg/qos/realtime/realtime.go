// Package realtime is the strategy that runs the threads of pods that ask for it at real-time priority
// (SCHED_RR), so that a thread that wakes up runs at once, on another CPU where its own is taken.
//
// cpu.idle alone cannot do that. The fair scheduler stops looking for a CPU for a woken thread once the
// CPUs that share a cache are busy (SIS_UTIL, kernel/sched/fair.c), and with batch they always are: a
// thread may wait behind another of its service, for up to a tick, while the next CPU runs only batch.
// The real-time class always looks.
//
// It is for services that use little of the node and must answer at once. A real-time thread also runs
// before the kubelet and the container runtime; the kernel keeps a twentieth of each CPU for those.
//
// Units: budgets in microseconds of each second, on each CPU (cpu.rt_runtime_us); priorities 1 to 99 as in
// sched(7).
//
// The trap: where the kernel counts real-time tasks by group (CONFIG_RT_GROUP_SCHED, cgroup v1) a pod that
// has used its budget up does not run at all until the second is over.
package realtime

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/plimsoll/plimsoll/pkg/qos"
)

// Name is the strategy's name in the agent's configuration.
const Name = "realtime"

// Args are the strategy's arguments.
type Args struct {
	// Namespaces are those whose pods may ask, with the annotation plimsoll.dev/realtime: "true". Real-time
	// priority can starve a node, so nobody may by default.
	Namespaces []string `json:"namespaces"`
	// Priority of the threads, 1 to 49: below the kernel's own threads, which have 50 and more. Default 1.
	Priority int `json:"priority"`
	// NodeBudgetMicroseconds is how much of each second real-time tasks of all pods may run on each CPU,
	// where the kernel counts them by group. 10000 to 950000; default 900000.
	NodeBudgetMicroseconds int64 `json:"nodeBudgetMicroseconds"`
	// PodsBudgetMicroseconds is the part of it that the pods that ask share equally. From 10000 to
	// nodeBudgetMicroseconds; default 700000.
	PodsBudgetMicroseconds int64 `json:"podsBudgetMicroseconds"`
}

// Factory makes the strategy.
func Factory() qos.Factory {
	return qos.NewFactory(Name, func() Args {
		return Args{Priority: 1, NodeBudgetMicroseconds: 900_000, PodsBudgetMicroseconds: 700_000}
	}, validate, New)
}

func validate(a Args) error {
	var errs []error
	if slices.Contains(a.Namespaces, "") {
		errs = append(errs, errors.New(`namespaces: "" is no namespace`))
	}
	if a.Priority < 1 || a.Priority > 49 {
		errs = append(errs, fmt.Errorf("priority %d: must be 1 to 49", a.Priority))
	}
	if a.NodeBudgetMicroseconds < 10_000 || a.NodeBudgetMicroseconds > 950_000 {
		errs = append(errs, fmt.Errorf("nodeBudgetMicroseconds %d: must be 10000 to 950000", a.NodeBudgetMicroseconds))
	}
	if a.PodsBudgetMicroseconds < 10_000 || a.PodsBudgetMicroseconds > a.NodeBudgetMicroseconds {
		errs = append(errs, fmt.Errorf("podsBudgetMicroseconds %d: must be 10000 to nodeBudgetMicroseconds, %d", a.PodsBudgetMicroseconds, a.NodeBudgetMicroseconds))
	}
	return errors.Join(errs...)
}

// New returns the strategy.
func New(args Args) qos.Strategy {
	return qos.Strategy{
		Name: Name, Knobs: []qos.Knob{qos.CPURealtimeRuntime, qos.CPUPolicy},
		Kinds: []qos.Kind{qos.KindTier, qos.KindPod, qos.KindContainer},
		Step:  func(s qos.State) qos.Plan { return step(args, s) },
	}
}

// step asks for the same thing blind or not: the plan that protects the online side needs no measurement.
func step(args Args, s qos.State) qos.Plan {
	var plan qos.Plan
	pods := map[string]int{} // containers of each pod that is heard, by the pod's group
	for _, g := range s.Groups {
		switch {
		case !g.Realtime:
		case !slices.Contains(args.Namespaces, g.Namespace):
			if g.Kind == qos.KindPod {
				plan.Notes = append(plan.Notes, fmt.Sprintf("a pod of namespace %q asks for real-time priority, which args.namespaces does not let it have", g.Namespace))
			}
		case g.Kind == qos.KindPod:
			pods[g.Path] += 0
		case g.Kind == qos.KindContainer:
			pods[path.Dir(g.Path)]++
		}
	}
	want := func(g qos.Group, knob qos.Knob, value, reason string) {
		if !g.Settings[knob].Unsupported {
			plan.Changes = append(plan.Changes, qos.Change{Group: g.Path, Knob: knob, Value: value, Reason: reason})
		}
	}
	budget := func(g qos.Group, micros int64) {
		want(g, qos.CPURealtimeRuntime, strconv.FormatInt(micros, 10), "the kernel counts real-time tasks by group")
	}
	share := args.PodsBudgetMicroseconds / int64(max(len(pods), 1))
	heardIn := map[string]int64{} // pods that are heard, by the tier's group
	for pod := range pods {
		heardIn[path.Dir(pod)]++
	}
	for _, g := range s.Groups {
		_, heard := pods[g.Path]
		siblings := pods[path.Dir(g.Path)]
		switch {
		case g.Kind == qos.KindTier && len(pods) > 0 && top(g, s):
			budget(g, args.NodeBudgetMicroseconds)
		case g.Kind == qos.KindTier && heardIn[g.Path] > 0:
			// In proportion to its pods: the kernel refuses siblings that have more than their parent together.
			budget(g, args.NodeBudgetMicroseconds*heardIn[g.Path]/int64(len(pods)))
		case g.Kind == qos.KindTier && len(pods) > 0 && holds(g, s):
			want(g, qos.CPURealtimeRuntime, "0", "another tier can have it: no pod of this one asks for real-time priority")
		case g.Kind == qos.KindPod && heard:
			budget(g, share)
		case g.Kind == qos.KindContainer && g.Realtime && siblings > 0:
			budget(g, share/int64(siblings))
			switch g.Settings[qos.CPUPolicy].Value {
			case qos.PolicyNoThreads: // not yet
			case qos.PolicyOwn:
				plan.Notes = append(plan.Notes, fmt.Sprintf("%s has threads with a scheduling policy of their own, and is left alone", g.Path))
			default:
				want(g, qos.CPUPolicy, qos.RoundRobin(args.Priority), "the pod asks for real-time priority")
			}
		case g.Kind == qos.KindContainer && strings.HasPrefix(g.Settings[qos.CPUPolicy].Value, qos.RoundRobin(args.Priority)):
			want(g, qos.CPUPolicy, qos.PolicyOther, "the pod does not ask for real-time priority any more")
		case g.Kind == qos.KindContainer && holds(g, s) || g.Kind == qos.KindPod && !heard && holds(g, s):
			want(g, qos.CPURealtimeRuntime, "0", "other pods can have it: this one does not ask for real-time priority any more")
		}
	}
	return plan
}

// top says whether a tier is the one that all pods are in.
func top(g qos.Group, s qos.State) bool {
	return !slices.ContainsFunc(s.Groups, func(above qos.Group) bool { return above.Kind == qos.KindTier && above.Path == path.Dir(g.Path) })
}

// holds says that a group that needs no budget any more has one that can be taken: the kernel refuses to take
// that of a group which has real-time threads, or groups with a budget below it.
func holds(g qos.Group, s qos.State) bool {
	budget := g.Settings[qos.CPURealtimeRuntime]
	if !budget.OK || budget.Value == "0" {
		return false
	}
	if g.Kind == qos.KindContainer {
		policy := g.Settings[qos.CPUPolicy].Value
		return policy == qos.PolicyOther || policy == qos.PolicyNoThreads
	}
	return !slices.ContainsFunc(s.Groups, func(c qos.Group) bool {
		below := c.Settings[qos.CPURealtimeRuntime]
		return path.Dir(c.Path) == g.Path && (!below.OK || below.Value != "0")
	})
}
