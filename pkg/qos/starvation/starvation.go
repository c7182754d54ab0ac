// Package starvation is the strategy that evicts batch pods which cannot progress: the node's services need
// the CPU for so long that the pod would do better elsewhere. Where it goes is the scheduler's business.
//
// A pod starves while it gets less than a small share of what it was lent although it wants to run: tasks of
// it wait for a CPU most of the time. A job that waits for its data does not want to run and is left alone. Getting
// more for a moment, as in a slice of strategy batchidle, makes up for the time that this feeds it, and no more.
// Of those that have starved long enough the one with the least work done goes first, one at a time.
//
// Units: CPU in thousandths of a core, shares in thousandths, times in seconds.
//
// The trap: only time that was measured counts. While the pressure of a pod cannot be read (psi=0, or no
// group in the unified hierarchy) the strategy says nothing about it.
package starvation

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/plimsoll/plimsoll/pkg/qos"
)

// Name is the strategy's name in the agent's configuration.
const Name = "starvation"

// Args are the strategy's arguments.
type Args struct {
	// AfterSeconds is how long a pod starves before it is evicted: 30 to 86400; default 600.
	AfterSeconds int64 `json:"afterSeconds"`
	// LeastPermille of what it was lent is what a pod must get: 1 to 1000; default 50.
	LeastPermille int64 `json:"leastPermille"`
	// WaitingPermille of the time a task of the pod must wait for a CPU, or it does not want to run: 1 to 1000;
	// default 500.
	WaitingPermille int64 `json:"waitingPermille"`
	// EverySeconds is the least time between two evictions on the node: 1 to 3600; default 60. What one pod
	// leaves may be enough for the next.
	EverySeconds int64 `json:"everySeconds"`
}

// Factory makes the strategy.
func Factory() qos.Factory {
	return qos.NewFactory(Name, func() Args {
		return Args{AfterSeconds: 600, LeastPermille: 50, WaitingPermille: 500, EverySeconds: 60}
	}, validate, New)
}

func validate(a Args) error {
	var r qos.Ranges
	r.Check("afterSeconds", a.AfterSeconds, 30, 86_400)
	r.Check("leastPermille", a.LeastPermille, 1, 1000)
	r.Check("waitingPermille", a.WaitingPermille, 1, 1000)
	r.Check("everySeconds", a.EverySeconds, 1, 3600)
	return r.Err()
}

// New returns the strategy. It claims no knob.
func New(args Args) qos.Strategy {
	return qos.Bind(Name, nil, func(s qos.State, m memory) (qos.Plan, memory) { return step(args, s, m) })
}

// memory is lost at a restart, after which every pod has starved for no time.
type memory struct {
	at time.Time
	// starved is for how long each pod has got nothing, or as good as that, by UID.
	starved map[string]time.Duration
	// wait is how long until the next pod may be evicted.
	wait time.Duration
}

func step(args Args, s qos.State, m memory) (qos.Plan, memory) {
	elapsed := min(max(s.Now.Sub(m.at), 0), qos.MostCounted)
	if m.at.IsZero() {
		elapsed = 0
	}
	next := memory{at: s.Now, starved: m.starved, wait: max(m.wait-elapsed, 0)}
	if s.Blind {
		return qos.Plan{}, next // nobody is evicted for what nobody measured, and nobody is forgotten
	}
	next.starved = make(map[string]time.Duration, len(s.BatchPods))
	var due []qos.BatchPod
	for _, p := range s.BatchPods {
		want, known := wants(args, p)
		switch {
		case !known:
			next.starved[p.UID] = m.starved[p.UID]
		case want:
			next.starved[p.UID] = max(m.starved[p.UID]+starving(args, p, elapsed), 0)
			if next.starved[p.UID] >= time.Duration(args.AfterSeconds)*time.Second {
				due = append(due, p)
			}
		}
	}
	if len(due) == 0 || next.wait > 0 {
		return qos.Plan{}, next
	}
	p := slices.MinFunc(due, leastWork)
	next.wait = time.Duration(args.EverySeconds) * time.Second
	starved := next.starved[p.UID].Round(time.Second)
	return qos.Plan{Evictions: []qos.Eviction{{
		Pod:    p,
		Reason: fmt.Sprintf("it wants to run and has got less than %d thousandths of what it was lent, for %s", args.LeastPermille, starved),
		Inputs: fmt.Sprintf("pod.milliCPU=%d pod.requestMilliCPU=%d pod.cpuSomePermille=%d starvedSeconds=%d",
			p.MilliCPU.Value, p.RequestMilliCPU, p.CPUSomePermille.Value, int64(starved/time.Second)),
	}}}, next
}

// wants says whether a pod wants to run and is owed something; known is false where that was not measured.
func wants(args Args, p qos.BatchPod) (wants, known bool) {
	if p.RequestMilliCPU <= 0 {
		return false, true // nothing was lent, so nothing is owed
	}
	if !p.MilliCPU.OK || !p.CPUSomePermille.OK {
		return false, false
	}
	return p.CPUSomePermille.Value >= args.WaitingPermille, true
}

// starving is how much longer a pod that wants to run has starved after some time: all of that where it got
// nothing, none where it got the least that it is owed, and the less the more it got above that. So a moment
// in which it ran makes up for the time that it would have fed it, and not for all that was before.
func starving(args Args, p qos.BatchPod, elapsed time.Duration) time.Duration {
	owed := max(p.RequestMilliCPU*args.LeastPermille/1000, 1)
	return time.Duration(int64(elapsed) * (owed - min(p.MilliCPU.Value, 1000*owed)) / owed)
}

// leastWork orders by the work that would be lost. One whose work is not known may have done much.
func leastWork(a, b qos.BatchPod) int {
	if a.DoneCPUMicros.OK != b.DoneCPUMicros.OK {
		if a.DoneCPUMicros.OK {
			return -1
		}
		return 1
	}
	return cmp.Or(cmp.Compare(a.DoneCPUMicros.Value, b.DoneCPUMicros.Value), cmp.Compare(a.UID, b.UID))
}
