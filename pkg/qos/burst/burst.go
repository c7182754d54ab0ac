// Package burst is the strategy that lets containers with a CPU limit save up quota that they do not use and
// use it later (cpu.burst), while their limit stops them: a service that is idle for most of a period and wakes up with
// all its threads is stopped at the limit although it uses much less on average.
//
// It is for pods that ask (annotation plimsoll.dev/burst: "true"). It never writes a quota: that of a container is
// the runtime's and that of a pod the kubelet's, which would find it changed, or fail, when it resizes the pod.
// Nobody else writes the burst. It adds nothing to what a pod may use on average.
//
// Both groups get it, the container's and its pod's, whose quota would stop the container otherwise. They get it while
// a container is stopped, if the node's work that is not batch stays below a line with it, and lose it when none was stopped
// for some time, or the line is passed.
//
// Units: quota and burst in microseconds; shares in thousandths (Permille).
//
// The trap: the kernel refuses a quota below the burst, so the kubelet cannot shrink a pod to less than its
// burst while it has one. mostPermilleOfQuota bounds that.
package burst

import (
	"maps"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/plimsoll/plimsoll/pkg/qos"
)

// Name is the strategy's name in the agent's configuration.
const Name = "burst"

// Args are the strategy's arguments.
type Args struct {
	// ThrottledPermille is the share of the time in which its limit must stop a container before it may
	// burst. 1 to 1000; default 20.
	ThrottledPermille int64 `json:"throttledPermille"`
	// MostPermilleOfQuota is the burst, in thousandths of the quota of a period. 1 to 1000; default 500.
	MostPermilleOfQuota int64 `json:"mostPermilleOfQuota"`
	// SafeLinePermille of the node's CPU is what all work but batch may use with all bursts. 100 to 1000;
	// default 800.
	SafeLinePermille int64 `json:"safeLinePermille"`
	// LowerAfterSeconds is how long no limit must have stopped a container before its burst goes. 1 to 86400;
	// default 60.
	LowerAfterSeconds int64 `json:"lowerAfterSeconds"`
}

// Factory makes the strategy.
func Factory() qos.Factory {
	return qos.NewFactory(Name, func() Args {
		return Args{ThrottledPermille: 20, MostPermilleOfQuota: 500, SafeLinePermille: 800, LowerAfterSeconds: 60}
	}, validate, New)
}

func validate(a Args) error {
	var r qos.Ranges
	r.Check("throttledPermille", a.ThrottledPermille, 1, 1000)
	r.Check("mostPermilleOfQuota", a.MostPermilleOfQuota, 1, 1000)
	r.Check("safeLinePermille", a.SafeLinePermille, 100, 1000)
	r.Check("lowerAfterSeconds", a.LowerAfterSeconds, 1, 86_400)
	return r.Err()
}

// Knobs are what must be read of a group; it sets the burst alone.
func Knobs() []qos.Knob { return []qos.Knob{qos.CPUQuota, qos.CPUBurst} }

// New returns the strategy.
func New(args Args) qos.Strategy {
	s := qos.Bind(Name, []qos.Knob{qos.CPUBurst}, func(s qos.State, m memory) (qos.Plan, memory) { return step(args, s, m) })
	s.Kinds = []qos.Kind{qos.KindPod, qos.KindContainer}
	return s
}

// memory is when each container was last stopped, by path.
type memory map[string]time.Time

const (
	stopped = "its CPU limit stops the container, which uses less than it on average"
	done    = "no burst is needed, or the pod does not ask for it any more"
	noRoom  = "with bursts the node's work would pass the safe line"
)

// step holds what there is while the node cannot be measured: a burst is for the online side.
func step(args Args, s qos.State, m memory) (qos.Plan, memory) {
	next := memory{}
	if s.Blind {
		return qos.Plan{}, m
	}
	var plan qos.Plan
	others := s.CPU.OnlineMilliCPU.Plus(s.CPU.SystemMilliCPU)
	left := s.CPU.CapacityMilliCPU*args.SafeLinePermille/1000 - others.Value
	pods := map[string]string{} // why a pod's group has a burst: what its containers have
	asked := map[string]bool{}
	for _, g := range s.Groups {
		if g.Kind != qos.KindContainer || g.Settings[qos.CPUBurst].Unsupported {
			continue
		}
		last, known := m[g.Path]
		if s.Now.Before(last) { // the clock was set back: wait anew
			last = s.Now
		}
		throttled := g.Harm.ThrottledPermille
		if g.Burst && throttled.OK && throttled.Value >= args.ThrottledPermille {
			last, known = s.Now, true
		}
		pod := path.Dir(g.Path)
		asked[pod] = true
		quota, period, limited := quotaOf(g)
		burst := quota * args.MostPermilleOfQuota / 1000
		switch {
		case g.Burst && limited && (!throttled.OK || !others.OK || s.CPU.CapacityMilliCPU <= 0):
			pods[pod] = "" // not measured: it stays as it is
			if known {
				next[g.Path] = last
			}
		case !g.Burst || !limited || !known || s.Now.Sub(last) >= time.Duration(args.LowerAfterSeconds)*time.Second:
			ask(&plan, g, 0, done)
		case burst*1000/period > left:
			ask(&plan, g, 0, noRoom)
			next[g.Path] = last
		default:
			left -= burst * 1000 / period
			ask(&plan, g, burst, stopped)
			pods[pod], next[g.Path] = stopped, last
		}
	}
	for _, g := range s.Groups {
		if g.Kind != qos.KindPod || !asked[g.Path] || g.Settings[qos.CPUBurst].Unsupported {
			continue
		}
		why, has := pods[g.Path]
		quota, _, limited := quotaOf(g)
		switch {
		case has && why == "":
		case has && limited:
			ask(&plan, g, quota*args.MostPermilleOfQuota/1000, why)
		default:
			ask(&plan, g, 0, done)
		}
	}
	return plan, maps.Clone(next)
}

// ask adds a change. A burst that cannot be read is not taken for one that is wrong: others may have set it.
func ask(plan *qos.Plan, g qos.Group, micros int64, why string) {
	if g.Settings[qos.CPUBurst].OK {
		plan.Changes = append(plan.Changes, qos.Change{Group: g.Path, Knob: qos.CPUBurst, Value: strconv.FormatInt(micros, 10), Reason: why})
	}
}

// quotaOf reads a group's quota; it is not limited where it has none, or where it cannot be read.
func quotaOf(g qos.Group) (micros, periodMicros int64, limited bool) {
	first, second, hasPeriod := strings.Cut(g.Settings[qos.CPUQuota].Value, "/")
	micros, err := strconv.ParseInt(first, 10, 64)
	periodMicros = 100_000
	if hasPeriod && err == nil {
		periodMicros, err = strconv.ParseInt(second, 10, 64)
	}
	if err != nil || micros <= 0 || periodMicros <= 0 || micros > 1<<40 {
		return 0, 1, false
	}
	return micros, periodMicros, true
}
