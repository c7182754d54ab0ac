package agent

import (
	"slices"
	"time"

	"github.com/plimsoll/plimsoll/pkg/api/v1alpha1"
	"github.com/plimsoll/plimsoll/pkg/cgroup"
	"github.com/plimsoll/plimsoll/pkg/qos"
	"github.com/plimsoll/plimsoll/pkg/usage"
)

// harmRule says what counts as batch's doing. Up to 60 thousandths of the node batch is too small to do harm
// that is worth telling; batchcap's floor, 50 by default, must be below it, so that what a pod makes for
// itself is learned while batch is held to the floor. 30 thousandths of the time are the waits of any pod on
// any node. In a tenth of a second one burst makes 150.
func harmRule() usage.HarmRule {
	return usage.HarmRule{LowBatchPermille: 60, PriorPermille: 30, AllowancePermille: 150}
}

// harmWatch follows who uses the CPUs and what online pods suffer, in full and in fast ticks.
type harmWatch struct {
	baselines usage.Baselines
	// at is when pods and branch, all CPU time of pods and of the batch branch, were read last.
	at           time.Time
	pods, branch usage.Reading
	// fullAt, fullPods and fullBranch are the same of the last full tick.
	fullAt               time.Time
	fullPods, fullBranch usage.Reading
	// rest is what of the pods' CPU use is neither online's nor the branch's, and system what is outside pods, as
	// of the last full tick: fast ticks do not read them.
	rest, system usage.Reading
	// online is the pods that are watched, as of the last full tick.
	online []usage.HarmSample
	// unlimited are those that no quota of their own has ever been able to stop.
	unlimited map[usage.GroupKey]bool
}

// full adds what a full tick read to what strategies see.
func (w *harmWatch) full(now time.Time, r *reading, classes []v1alpha1.ClassUtilization, s qos.State) qos.State {
	s.CPU = qos.CPUUse{CapacityMilliCPU: r.Capacity.MilliCPU}
	s.CPU.BatchMilliCPU, _ = useOf(classes, v1alpha1.ClassBatch)
	s.CPU.OnlineMilliCPU, _ = useOf(classes, v1alpha1.ClassLatencySensitive)
	s.CPU.SystemMilliCPU, _ = useOf(classes, v1alpha1.ClassSystem)
	if w.unlimited == nil {
		w.unlimited = map[usage.GroupKey]bool{}
	}
	clear(w.unlimited)
	w.online = w.online[:0]
	for _, p := range r.Pods {
		if g := r.sampleOf(p.Key, p.sample); g != nil && p.Info.Class == v1alpha1.ClassLatencySensitive {
			w.online = append(w.online, harmSample(*g))
			w.unlimited[p.Key] = g.Periods == usage.Of(0)
		}
	}
	w.at, w.pods, w.branch = now, cpuOf(r.sampleOf(r.Kubepods, 0)), usage.Of(0)
	if r.Branch.Path != "" {
		w.branch = cpuOf(r.sampleOf(r.Branch, 1))
	}
	w.system = s.CPU.SystemMilliCPU
	w.rest = usage.Reading{}
	inPods, inBranch := rate(w.fullPods, w.pods, now.Sub(w.fullAt)), rate(w.fullBranch, w.branch, now.Sub(w.fullAt))
	if inPods.OK && inBranch.OK && s.CPU.OnlineMilliCPU.OK {
		w.rest = usage.Of(max(0, inPods.Value-inBranch.Value-s.CPU.OnlineMilliCPU.Value))
	}
	w.fullAt, w.fullPods, w.fullBranch = now, w.pods, w.branch
	node := usage.NodeCPU{CapacityMilliCPU: r.Capacity.MilliCPU, BatchMilliCPU: s.CPU.BatchMilliCPU}
	return withHarm(s, w.online, w.baselines.Add(harmRule(), now, node, w.online))
}

// fast reads again what tells of harm and returns what strategies see in a fast tick. It returns false where
// nothing new could be read.
func (w *harmWatch) fast(now time.Time, r *reading, read readGroup, s qos.State) (qos.State, bool) {
	elapsed := now.Sub(w.at)
	pods, errPods := read(r.Kubepods.Path, cgroup.CPUTime)
	branch, errBranch := read(r.Branch.Path, cgroup.CPUTime)
	if errPods != nil || errBranch != nil || elapsed <= 0 {
		return s, false // vanished: the next full tick finds out
	}
	inPods, inBranch := rate(w.pods, pods.CPUMicros, elapsed), rate(w.branch, branch.CPUMicros, elapsed)
	w.at, w.pods, w.branch = now, pods.CPUMicros, branch.CPUMicros
	s.Now, s.Fast = now, true
	s.CPU.BatchMilliCPU, s.CPU.OnlineMilliCPU, s.CPU.SystemMilliCPU = inBranch, usage.Reading{}, w.system
	if inPods.OK && inBranch.OK && w.rest.OK {
		s.CPU.OnlineMilliCPU = usage.Of(max(0, inPods.Value-inBranch.Value-w.rest.Value))
	}
	samples := make([]usage.HarmSample, 0, len(w.online))
	for _, was := range w.online {
		counters := cgroup.CPUPressure | cgroup.CPUTime
		if !w.unlimited[was.Key] {
			counters |= cgroup.Throttling
		}
		if g, err := read(was.Key.Path, counters); err == nil && g.Key == was.Key {
			next := harmSample(g)
			if w.unlimited[was.Key] {
				next.ThrottledMicros = was.ThrottledMicros
			}
			samples = append(samples, next)
		}
	}
	return withHarm(s, samples, w.baselines.Look(harmRule(), now, samples)), true
}

// withHarm gives each pod of a State its harm. The groups are copied: the State before keeps its own.
func withHarm(s qos.State, samples []usage.HarmSample, harms []usage.Harm) qos.State {
	byPath := make(map[string]usage.Harm, len(samples))
	for i, sample := range samples {
		byPath[sample.Key.Path] = harms[i]
	}
	s.Groups = slices.Clone(s.Groups)
	for i := range s.Groups {
		if s.Groups[i].Kind == qos.KindPod {
			s.Groups[i].Harm = byPath[s.Groups[i].Path]
		}
	}
	return s
}

func harmSample(g usage.GroupSample) usage.HarmSample {
	return usage.HarmSample{
		Key: g.Key, CPUMicros: g.CPUMicros, CPUSomeMicros: g.CPUSomeMicros, RunDelayMicros: g.RunDelayMicros, ThrottledMicros: g.ThrottledMicros,
	}
}

func cpuOf(g *usage.GroupSample) usage.Reading {
	if g == nil {
		return usage.Reading{}
	}
	return g.CPUMicros
}

// rate is CPU use in thousandths of a core between two readings of CPU time.
func rate(from, to usage.Reading, elapsed time.Duration) usage.Reading {
	if !from.OK || !to.OK || to.Value < from.Value || elapsed < time.Millisecond || elapsed > 10*time.Second {
		return usage.Reading{}
	}
	return usage.Of((to.Value - from.Value) * 1000 / elapsed.Microseconds())
}

// actFast asks the strategies that want to be asked between two full ticks, while there is batch work.
func (l *loop) actFast(now time.Time) {
	hasBatch := slices.ContainsFunc(l.lastState.Groups, func(g qos.Group) bool { return g.Kind == qos.KindBatchContainer })
	wanted := slices.ContainsFunc(l.actor.strategies, func(s running) bool { return s.Fast })
	if !hasBatch || !wanted || l.failures > 0 {
		return
	}
	if s, ok := l.harm.fast(now, &l.last, l.pressure.keeping(l.sensor.reader.ReadOnly), l.lastState); ok {
		l.actor.act(s, l.last.podName, l.wrote)
	}
}
