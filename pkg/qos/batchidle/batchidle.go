// Package batchidle is the strategy that sets cpu.idle on the batch branch, so that the kernel runs
// batch work only where no online pod wants the CPU. It is set once and holds without the agent.
//
// Where the kernel has no cpu.idle the branch gets the lowest weight instead. Where the probe found that the flag
// does not shield a waking task it stays set all the same: it comes with a weight below the lowest that
// can be written, and costs nothing.
//
// Work that gets next to nothing for long holds locks, leases and connections that others wait for. So
// where batch used less than a least part of the node over a window, while no online pod is harmed, the branch has a small
// weight in place of the flag for a slice of time. It is no quota: what online pods leave is batch's anyway.
//
// It is not a cap: batch uses whatever is idle. It never touches a group of the kubelet's: cpu.idle on
// the kubelet's besteffort tier makes the kubelet's next start fail, because the kernel then refuses
// its write of the tier's weight.
//
// Units: cpu.idle is 0 or 1, weights 1 to 10000, shares in thousandths (Permille) of the node's CPU.
//
// The trap: the flag counts only where batch and online are siblings, which is the branch and not the
// containers in it. And the flag goes before a weight can be written: for the moment in between batch weighs as much as
// a tier.
package batchidle

import (
	"fmt"
	"strconv"
	"time"

	"github.com/plimsoll/plimsoll/pkg/qos"
)

// Name is the strategy's name in the agent's configuration.
const Name = "batchidle"

// Args are the strategy's arguments.
type Args struct {
	// LeastPermille of the node's CPU is what batch work that wants to run shall have had over a window. 0 to
	// 100, where 0 means that batch may starve; default 5.
	LeastPermille int64 `json:"leastPermille"`
	// WindowSeconds is how long that is measured over. 10 to 3600; default 60.
	WindowSeconds int64 `json:"windowSeconds"`
	// SliceSeconds is how long batch then has a weight. 1 to 10; default 2.
	SliceSeconds int64 `json:"sliceSeconds"`
	// SliceWeight is that weight; a tier or a Guaranteed pod of one core has about 40 to 100. 1 to 50; default 5.
	SliceWeight int64 `json:"sliceWeight"`
	// HarmPermille is the excess of an online pod's pressure from which on there is no slice, and one that has
	// begun ends. 10 to 1000; default 100.
	HarmPermille int64 `json:"harmPermille"`
}

// Factory makes the strategy.
func Factory() qos.Factory { return qos.NewFactory(Name, defaults, validate, New) }

func defaults() Args {
	return Args{LeastPermille: 5, WindowSeconds: 60, SliceSeconds: 2, SliceWeight: 5, HarmPermille: 100}
}

func validate(a Args) error {
	var r qos.Ranges
	r.Check("leastPermille", a.LeastPermille, 0, 100)
	r.Check("windowSeconds", a.WindowSeconds, 10, 3600)
	r.Check("sliceSeconds", a.SliceSeconds, 1, 10)
	r.Check("sliceWeight", a.SliceWeight, 1, 50)
	r.Check("harmPermille", a.HarmPermille, 10, 1000)
	return r.Err()
}

// New returns the strategy.
func New(args Args) qos.Strategy {
	s := qos.Bind(Name, []qos.Knob{qos.CPUIdle, qos.CPUWeight}, func(s qos.State, m memory) (qos.Plan, memory) {
		plan := step(args, s, &m)
		return plan, m
	})
	s.Kinds, s.Fast = []qos.Kind{qos.KindBatchBranch}, true
	return s
}

// memory is what is kept from tick to tick: how much batch used since the window began, and the slice.
type memory struct {
	window, last time.Time
	usedMicros   int64
	sliceUntil   time.Time
}

const (
	// lowest is the lowest weight that can be written.
	lowest = "1"
	reason = "batch runs only when no online task wants the CPU"
)

// step wants cpu.idle=1 on the batch branch, blind or not: the plan that protects the online side is
// the same plan, but for the slices.
func step(args Args, s qos.State, m *memory) qos.Plan {
	for _, g := range s.Groups {
		if g.Kind != qos.KindBatchBranch {
			continue
		}
		if g.Settings[qos.CPUIdle].Unsupported {
			return qos.Plan{
				Changes: []qos.Change{{Group: g.Path, Knob: qos.CPUWeight, Value: lowest, Reason: "this kernel has no cpu.idle: batch has the lowest weight instead"}},
				Notes:   []string{"this kernel has no cpu.idle (it came with Linux 5.15): batch is held back by its weight only"},
			}
		}
		if why := m.slice(args, s); why != "" {
			return qos.Plan{Changes: []qos.Change{
				{Group: g.Path, Knob: qos.CPUIdle, Value: "0", Reason: why},
				{Group: g.Path, Knob: qos.CPUWeight, Value: strconv.FormatInt(args.SliceWeight, 10), Reason: why},
			}}
		}
		return qos.Plan{Changes: []qos.Change{{Group: g.Path, Knob: qos.CPUIdle, Value: "1", Reason: reason}}}
	}
	return qos.Plan{Notes: []string{"no batch branch on this node yet: batch containers are where the kubelet put them"}}
}

// slice says why batch has a slice now; nothing when it has none.
func (m *memory) slice(args Args, s qos.State) (why string) {
	window := time.Duration(args.WindowSeconds) * time.Second
	quiet, batch := look(args, s)
	elapsed := s.Now.Sub(m.last)
	if s.Blind || args.LeastPermille == 0 || !quiet || !batch || s.CPU.CapacityMilliCPU <= 0 || !m.last.IsZero() && (elapsed < 0 || elapsed > window) {
		*m = memory{} // also where somebody is harmed: a whole window before the next slice
		return ""
	}
	why = fmt.Sprintf("batch had less than %d ‰ of the node's CPU over %d s: it has a slice of %d s, and nobody is harmed",
		args.LeastPermille, args.WindowSeconds, args.SliceSeconds)
	switch {
	case m.last.IsZero():
		m.window, m.last = s.Now, s.Now
		return ""
	case s.Now.Before(m.sliceUntil):
		m.last = s.Now
		return why
	case !m.sliceUntil.IsZero():
		*m = memory{window: s.Now, last: s.Now}
		return ""
	case s.Fast: // counted by the next full tick
		return ""
	}
	if !s.CPU.BatchMilliCPU.OK {
		*m = memory{}
		return ""
	}
	m.usedMicros += s.CPU.BatchMilliCPU.Value * elapsed.Microseconds() / 1000
	m.last = s.Now
	if length := s.Now.Sub(m.window); length >= window {
		starved := m.usedMicros*1000*1000 < args.LeastPermille*s.CPU.CapacityMilliCPU*length.Microseconds()
		*m = memory{window: s.Now, last: s.Now}
		if starved {
			m.sliceUntil = s.Now.Add(time.Duration(args.SliceSeconds) * time.Second)
			return why
		}
	}
	return ""
}

// look says whether no online pod is known to be harmed, nor any one's harm missing, and whether there is batch work.
func look(args Args, s qos.State) (quiet, batch bool) {
	quiet = true
	for _, g := range s.Groups {
		switch {
		case g.Kind == qos.KindBatchContainer:
			batch = true
		case g.Kind == qos.KindPod && g.Online && (!s.Fast || g.Harm.ExcessPermille.OK):
			quiet = quiet && g.Harm.ExcessPermille.OK && g.Harm.ExcessPermille.Value < args.HarmPermille
		}
	}
	return quiet, batch
}
