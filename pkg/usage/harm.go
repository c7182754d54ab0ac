package usage

import (
	"math/bits"
	"time"
)

// HarmSample is the counters of one pod at one instant that tell of harm: how long its tasks waited.
type HarmSample struct {
	Key GroupKey
	// CPUMicros is CPU time consumed.
	CPUMicros Reading
	// CPUSomeMicros is PSI's total of time in which at least one of its tasks waited for a CPU.
	CPUSomeMicros Reading
	// RunDelayMicros is the time that its tasks waited in run queues, summed over tasks. Pods take turns in
	// being measured, so it may be missing in most samples.
	RunDelayMicros Reading
	// ThrottledMicros is how long its own quota, or that of its containers, stopped it.
	ThrottledMicros Reading
}

// Harm is what a pod suffered since the sample before, and how much of it others are to blame for.
type Harm struct {
	// PressurePermille is the share of the time in which some task waited for a CPU, less the time in which
	// the pod's own quota stopped it: that is nobody else's doing.
	PressurePermille Reading
	// RunDelayPermille is the share of the time that its tasks could run in which they waited, delay / (delay +
	// run), at the last measurement of the last ten seconds.
	RunDelayPermille Reading
	// ThrottledPermille is the share of the time in which its own quota stopped it.
	ThrottledPermille Reading
	// ExpectedPermille is the pressure that it makes for itself at this CPU use, without batch.
	ExpectedPermille Reading
	// ExcessPermille is how far the pressure, or the run delay, is above what is expected: what batch is to
	// blame for. It is not OK where neither was measured.
	ExcessPermille Reading
}

// HarmRule says what a pod's pressure is compared with.
type HarmRule struct {
	// LowBatchPermille is the batch use, in thousandths of the node's CPU, up to which a pod's pressure counts
	// as its own making, and is learned.
	LowBatchPermille int64
	// PriorPermille is what is expected of a pod before anything was learned about it.
	PriorPermille int64
	// AllowancePermille is added to what is expected where the time since the sample before is short, and
	// one burst makes much of it: see ShortWindow.
	AllowancePermille int64
}

// ShortWindow is the time below which AllowancePermille counts, and nothing is learned.
const ShortWindow = 400 * time.Millisecond

// harmGap is the longest time between two samples that are compared: across a gap it cannot be told when it was.
const harmGap = 10 * time.Second

// Baselines remembers, for each pod that was in the newest set of samples, what pressure it makes for itself
// by how much CPU it uses. It is not safe for concurrent use; the zero value has learned nothing.
type Baselines struct {
	// at is the time of the last Add, looked that of the last Add or Look.
	at, looked time.Time
	pods       map[GroupKey]*podBaseline
}

// podBaseline is what is known of one pod.
type podBaseline struct {
	last, lastLook HarmSample
	// lastDelay is the last sample with a run delay, as of delayAt; waited the share that it gave. mixed is true
	// where batch was, or may have been, at work since.
	lastDelay          HarmSample
	delayAt            time.Time
	waited             Reading
	mixed              bool
	pressure, runDelay baseline
}

// NodeCPU is what else must be known of the node to tell whose doing a pod's pressure is.
type NodeCPU struct {
	// CapacityMilliCPU is all that the node has.
	CapacityMilliCPU int64
	// BatchMilliCPU is what batch used since the sample before.
	BatchMilliCPU Reading
}

// Add takes the samples of all pods at one instant and returns the harm of each, in the same order. A pod
// that is new, or after a gap, or whose counters went back, has none yet. Nothing is learned while batch
// runs, or while it is not known whether it does.
//
// A pod of which nothing was learned at its present use is held to what was learned at lower use, else to the
// prior: batch is blamed for too much rather than for too little. What is wrong about that mends itself, for
// batch is capped, then uses little, and then the pod's own pressure is learned.
func (b *Baselines) Add(rule HarmRule, now time.Time, node NodeCPU, samples []HarmSample) []Harm {
	elapsed := now.Sub(b.at)
	comparable := !b.at.IsZero() && elapsed > 0 && elapsed <= harmGap
	b.at, b.looked = now, now
	allowance, learn := int64(0), node.BatchMilliCPU.OK && node.BatchMilliCPU.Value*1000 <= rule.LowBatchPermille*node.CapacityMilliCPU
	if elapsed < ShortWindow {
		allowance, learn = rule.AllowancePermille, false
	}
	kept := make(map[GroupKey]*podBaseline, len(samples))
	harms := make([]Harm, len(samples))
	for i, s := range samples {
		p, known := b.pods[s.Key]
		if !known {
			p = &podBaseline{}
		}
		kept[s.Key] = p
		if known && comparable {
			harms[i] = p.harm(rule, p.last, s, elapsed, allowance, learn)
			p.addDelay(rule, now, s, learn, &harms[i])
		}
		p.last, p.lastLook = s, s
	}
	b.pods = kept
	return harms
}

// Look is Add for the time since the last Look or Add, between two Adds: it teaches nothing, and knows only
// the pods that the last Add knew.
func (b *Baselines) Look(rule HarmRule, now time.Time, samples []HarmSample) []Harm {
	elapsed := now.Sub(b.looked)
	comparable := !b.looked.IsZero() && elapsed > 0 && elapsed <= harmGap
	b.looked = now
	harms := make([]Harm, len(samples))
	for i, s := range samples {
		p, known := b.pods[s.Key]
		if !known {
			continue
		}
		if comparable {
			harms[i] = p.harm(rule, p.lastLook, s, elapsed, rule.AllowancePermille, false)
		}
		p.lastLook = s
	}
	return harms
}

func (p *podBaseline) harm(rule HarmRule, from, s HarmSample, elapsed time.Duration, allowance int64, learn bool) Harm {
	used := perThousand(from.CPUMicros, s.CPUMicros, elapsed)
	if !used.OK { // also where the counter went back: the group is another one
		return Harm{}
	}
	h := Harm{
		PressurePermille:  share(from.CPUSomeMicros, s.CPUSomeMicros, elapsed),
		ThrottledPermille: share(from.ThrottledMicros, s.ThrottledMicros, elapsed),
	}
	if h.ThrottledPermille.OK {
		h.PressurePermille.Value = max(0, h.PressurePermille.Value-h.ThrottledPermille.Value)
	}
	if !h.PressurePermille.OK {
		return h
	}
	h.ExpectedPermille = Of(p.pressure.expect(used.Value, rule.PriorPermille))
	h.ExcessPermille = Of(max(0, h.PressurePermille.Value-h.ExpectedPermille.Value-allowance))
	if learn {
		p.pressure.learn(used.Value, h.PressurePermille.Value)
	}
	return h
}

// addDelay adds what run delay tells, which spans the time since it was measured last.
func (p *podBaseline) addDelay(rule HarmRule, now time.Time, s HarmSample, learn bool, h *Harm) {
	p.mixed = p.mixed || !learn
	if s.RunDelayMicros.OK {
		elapsed := now.Sub(p.delayAt)
		used := perThousand(p.lastDelay.CPUMicros, s.CPUMicros, elapsed)
		p.waited = Reading{}
		if p.lastDelay.RunDelayMicros.OK && elapsed > 0 && elapsed <= maxRunDelayAge && used.OK {
			p.waited = waitShare(p.lastDelay, s)
			if !p.mixed && p.waited.OK {
				p.runDelay.learn(used.Value, p.waited.Value)
			}
		}
		p.lastDelay, p.delayAt, p.mixed = s, now, false
	}
	if age := now.Sub(p.delayAt); !p.waited.OK || age < 0 || age > harmGap {
		return
	}
	h.RunDelayPermille = p.waited
	used := perThousand(p.last.CPUMicros, s.CPUMicros, time.Second) // about: it decides on a bin only
	expected := p.runDelay.expect(used.Value, rule.PriorPermille)
	h.ExcessPermille = Of(max(h.ExcessPermille.Value, p.waited.Value-expected, 0))
}

// waitShare is the part of the time that tasks could run in which they waited.
func waitShare(from, to HarmSample) Reading {
	waited, ran := to.RunDelayMicros.Value-from.RunDelayMicros.Value, to.CPUMicros.Value-from.CPUMicros.Value
	if waited < 0 {
		return Reading{} // tasks ended, and took what they had waited with them
	}
	if waited+ran <= 0 {
		return Of(0)
	}
	return Of(waited * 1000 / (waited + ran))
}

// baseline is what a pod suffers without batch, by how much CPU it uses.
type baseline struct {
	bins [baselineBins]struct {
		count int32
		// mean and deviation (the mean absolute one) are in thousandths of a Permille: averages move slowly.
		mean, deviation int64
	}
}

const (
	// baselineBins are two for each doubling of CPU use from 16 thousandths of a core on, to above 1000 cores.
	baselineBins = 36
	leastBin     = 16
	// enough is how many samples a bin needs before it counts.
	enough = 5
	// slowest is the weight, as 1 / slowest, of a new sample among many.
	slowest = 64
	// finer is how much finer the averages are kept than they are told.
	finer = 1000
)

// binOf is where a CPU use belongs.
func binOf(milliCPU int64) int {
	doublings := bits.Len64(uint64(max(milliCPU, 0)) / leastBin) // 0 below 16, 1 below 32, 2 below 64...
	bin := 2 * doublings
	if doublings > 0 && milliCPU >= (3*leastBin/2)<<(doublings-1) { // the upper half of a doubling
		bin++
	}
	return min(bin, baselineBins-1)
}

// learn adds one measurement without batch.
func (b *baseline) learn(milliCPU, permille int64) {
	bin := &b.bins[binOf(milliCPU)]
	v := permille * finer
	if bin.count == 0 {
		bin.mean = v
	}
	bin.count = min(bin.count+1, slowest)
	weight := int64(bin.count)
	off := v - bin.mean
	bin.mean += off / weight
	bin.deviation += (max(off, -off) - bin.deviation) / weight
}

// expect is what a pod suffers of its own making at this use, with room for its usual ups and downs: the
// mean and two and a half mean deviations, which is two standard ones.
func (b *baseline) expect(milliCPU, prior int64) int64 {
	for i := binOf(milliCPU); i >= 0; i-- {
		if bin := b.bins[i]; bin.count >= enough {
			return max(prior, (bin.mean+bin.deviation*5/2)/finer)
		}
	}
	return prior
}
