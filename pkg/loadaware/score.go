package loadaware

import (
	"math"
	"time"

	fwk "k8s.io/kube-scheduler/framework"

	"github.com/plimsoll/plimsoll/pkg/api/v1alpha1"
)

const (
	// minScore and maxScore are the framework's, under names that all its releases have.
	minScore, maxScore int64 = 0, 100

	// maxRaw is the highest raw score. NormalizeScore brings raw scores to the framework's 0 to 100; a pod that
	// takes a thousandth of a node must still make a difference before that.
	maxRaw = 1_000_000
	// tolerance is the expected excess over the safe line, as a share of the line, that costs half of the
	// marks for safety.
	tolerance = 0.05
	// fullMarksRange is the difference of raw scores that makes the whole difference after normalisation. What
	// differs by less is told apart, but does not outvote other plugins over a trifle.
	fullMarksRange = maxRaw / 5
)

// Prospect is what a node will carry with the pod on it, and what follows. CPU in milli-cores.
type Prospect struct {
	Age          time.Duration `json:"ageNanoseconds"` // of the measurement; 0 where there is none
	Staleness    float64       `json:"staleness"`      // 0: by measurement, 1: by requests
	Median       int64         `json:"medianMilliCPU"`
	Peak         int64         `json:"peakMilliCPU"`
	Pressure     int64         `json:"pressureMilliCPU"` // in both for online pods
	Batch        int64         `json:"batchMilliCPU"`    // what batch pods on the node were promised or use; batch pods only
	SafeLine     int64         `json:"safeLineMilliCPU"`
	ExpectedOver float64       `json:"expectedExcessMilliCPU"`
	Raw          int64         `json:"raw"`
}

// reason is why a node is refused, or how it was scored.
type reason string

const (
	reasonNone          reason = ""
	reasonCPU           reason = "CPU"
	reasonMemory        reason = "Memory"
	reasonNoMeasurement reason = "NoMeasurement"
	reasonStale         reason = "Stale"
)

// staleness is 0 up to the age freshSeconds and 1 from staleAfterSeconds on.
func (p *Plugin) staleness(age time.Duration) float64 {
	switch {
	case age <= p.fresh:
		return 0
	case age >= p.stale:
		return 1
	default:
		return float64(age-p.fresh) / float64(p.stale-p.fresh)
	}
}

// refuse says why the pod must not be put on the node, if so.
//
// A latency-sensitive pod is refused where the node's use would exceed its limit. Nothing that is not known
// keeps it from being placed, and neither does a node that is below what its pods asked for as long as the
// requests leave room: then the requests bound its use. A batch pod needs a measurement of the node that is young.
func (p *Plugin) refuse(o *outlook, need *podNeed, since int64) reason {
	if need.batch {
		switch {
		case o == nil || !o.known:
			return reasonNoMeasurement
		case time.Duration(since-o.measuredAt) >= p.batchMaxAge:
			return reasonStale
		}
		return reasonNone
	}
	if o == nil || !o.known || time.Duration(since-o.measuredAt) >= p.stale {
		return reasonNone
	}
	if limit := p.args.MaxCPUPercent; limit > 0 {
		peak := o.online(need)
		before := peak - need.use.peak
		if peak*100 > o.allocatable*limit && (before > o.requested || peak > o.allocatable) {
			return reasonCPU
		}
	}
	if limit := p.args.MaxMemoryPercent; limit > 0 {
		before := o.onlineMemory + o.unknownMemory
		after := before + need.memoryBytes
		if float64(after)*100 > float64(o.memoryAllocatable)*float64(limit) && (before > o.memoryRequested || after > o.memoryAllocatable) {
			return reasonMemory
		}
	}
	return reasonNone
}

// online is the highest peak within the horizon with the pod on the node. Profiles are added up by time of
// day: two peaks that do not coincide share a node.
func (o *outlook) online(need *podNeed) int64 {
	if need.use.hourly == nil {
		return o.worstPeak + need.use.peak
	}
	peak := int64(0)
	for k, h := range o.hours[:o.horizon] {
		peak = max(peak, int64(h.peak)+int64(need.use.hourly[k]))
	}
	return peak
}

// load is what an outlook tells of online use as a whole; what it tells by the hour goes with it.
type load struct {
	measuredAt, safeLine, byRequests, pressure int64
	logTail                                    float64

	few      [quickRisks]hour // the risks, where there are no more than that
	fewCount int

	lasting, batch int64 // the highest peak until a batch pod's end, and what batch there is
}

func (o *outlook) load() load {
	return load{measuredAt: o.measuredAt, safeLine: o.safeLine, byRequests: o.byRequests, pressure: o.pressure, logTail: o.logTail}
}

// worst is the highest peak of all hours, the spread in that hour, and the highest expected excess over the line.
type worst struct{ peak, spread, excess float64 }

// add takes in an hour, as it is with the pod on the node.
func (w *worst) add(peak, spread int64, line float64, d *doubt, logTail float64) {
	p, s := d.apply(float64(peak), float64(spread))
	w.excess = max(w.excess, expectedExcess(p, s, line, logTail))
	if p > w.peak {
		w.peak, w.spread = p, s
	}
}

// atWorst is the worst of the hours with the pod on the node and the doubt about the measurement applied. For a
// pod whose use is not known by the hour, hours may be just those of most risk.
func atWorst(hours []hour, need *podNeed, line float64, d *doubt, logTail float64) worst {
	w := worst{peak: -1}
	podSpread := need.use.peak - need.use.median
	if need.use.hourly == nil {
		for _, h := range hours {
			w.add(int64(h.peak)+need.use.peak, int64(h.spread)+podSpread, line, d, logTail)
		}
		return w
	}
	median, widest := int64(-1), int64(-1)
	for k, h := range hours {
		peak, spread := int64(h.peak)+int64(need.use.hourly[k]), int64(h.spread)+podSpread
		if peak-spread <= median && spread <= widest {
			continue // an hour before exceeds at least as much
		}
		before := w.peak
		w.add(peak, spread, line, d, logTail)
		if w.peak > before {
			median, widest = peak-spread, spread
		}
	}
	return w
}

// doubt is what the age of a measurement makes of what it foretells. With staleness s, and R what all pods
// asked for:
//
//	median' = (1-s) x median + s x R
//	peak'   = (1-s) x (peak + s x spread) + s x R
//
// so that the spread first grows, and requests decide in the end. Pressure counts as use and fades likewise.
type doubt struct{ staleness, requests, pressure float64 }

func (d *doubt) apply(peak, spread float64) (peakOut, spreadOut float64) {
	s := d.staleness
	if s == 0 {
		return peak + d.pressure, spread
	}
	return (1-s)*(peak+s*spread+d.pressure) + s*d.requests, (1 - s) * (1 + s) * spread
}

// foreseen is what the node will carry with the pod on it. o is nil for a node of which nothing is known;
// nodeInfo then tells what its pods asked for.
func (p *Plugin) foreseen(o *outlook, need *podNeed, nodeInfo fwk.NodeInfo, c *cycle) Prospect {
	if o == nil || !o.known {
		return p.byRequests(need, nodeInfo)
	}
	l := o.load()
	if need.batch {
		l.lasting, l.batch = int64(o.lasting[c.lastHour]), o.batch()
		return p.batchUnderLoad(&l, need, c)
	}
	hours := o.risks[:o.riskCount]
	if need.use.hourly != nil {
		hours = o.hours[:o.horizon]
	}
	return p.underLoad(&l, hours, need, c)
}

// underLoad is foreseen for a latency-sensitive pod, where there is a measurement.
func (p *Plugin) underLoad(l *load, hours []hour, need *podNeed, c *cycle) Prospect {
	f, d := p.believed(l, c)
	d.requests += float64(need.requestMilliCPU)
	w := atWorst(hours, need, float64(f.SafeLine), &d, l.logTail)
	f.Peak, f.Median, f.ExpectedOver = int64(w.peak), int64(w.peak-w.spread), w.excess
	f.Raw = rawOnline(&f, p.args.ScoringStrategy)
	return f
}

// batchUnderLoad is foreseen for a batch pod, where there is a measurement.
func (p *Plugin) batchUnderLoad(l *load, need *podNeed, c *cycle) Prospect {
	f, d := p.believed(l, c)
	d.pressure = 0 // which is taken off in another way
	peak, _ := d.apply(float64(l.lasting), 0)
	f.Peak, f.Median, f.Batch = int64(peak), int64(peak), l.batch
	f.Raw = rawBatch(&f, need.requestMilliCPU)
	return f
}

// believed is how far the measurement is believed, by its age.
func (p *Plugin) believed(l *load, c *cycle) (Prospect, doubt) {
	age := time.Duration(c.since - l.measuredAt)
	d := doubt{staleness: p.staleness(age), requests: float64(l.byRequests), pressure: float64(l.pressure)}
	return Prospect{Age: age, Staleness: d.staleness, SafeLine: l.safeLine, Pressure: int64((1 - d.staleness) * d.pressure)}, d
}

// byRequests is what a node will carry of which nothing is known, by what the scheduler has added up.
func (p *Plugin) byRequests(need *podNeed, nodeInfo fwk.NodeInfo) Prospect {
	f := Prospect{Staleness: 1, SafeLine: clamp(nodeInfo.GetAllocatable().GetMilliCPU(), 0, maxMilliCPU) * p.args.SafeCPUPercent / 100}
	f.Peak = clamp(nodeInfo.GetNonZeroRequested().GetMilliCPU(), 0, maxMilliCPU) * p.args.Estimates.LatencySensitive.RequestPercent / 100
	if need.batch {
		f.Median = f.Peak
		f.Batch = clamp(nodeInfo.GetRequested().GetScalarResources()[batchCPUResource], 0, maxMilliCPU)
		f.Raw = rawBatch(&f, need.requestMilliCPU)
		return f
	}
	f.Peak += need.requestMilliCPU
	f.Median = f.Peak
	f.ExpectedOver = expectedExcess(float64(f.Peak), 0, float64(f.SafeLine), 1)
	f.Raw = rawOnline(&f, p.args.ScoringStrategy)
	return f
}

// lastHour is the hour from the present one on in which the job ends. Beyond a day it is the day's last.
func lastHour(duration time.Duration, now time.Time) int {
	last := now.Sub(now.Truncate(time.Hour)) + duration
	return int(min(last/time.Hour, hoursPerDay-1))
}

// batch is what batch pods on the node were promised or use, whichever is more.
func (o *outlook) batch() int64 { return max(o.promisedBatch, o.batchUse) }

// expectedExcess is how far use is expected to be above the line, weighted with the probability: the
// integral of P(use > x) for x from the line up. Use above its median m is taken to be distributed
// exponentially with a tail that passes through its known quantile, the peak:
//
//	P(use > x) = 1/2 exp(-(x-m)/scale), scale = spread / ln(1/2 / (1-q)), logTail = that logarithm
//	excess     = scale/2 exp(-(line-m)/scale)      if the line is above the median
//	           = m - line + scale/2                if it is not: an upper bound
//
// It grows with the median, and with the spread.
func expectedExcess(peak, spread, line, logTail float64) float64 {
	median := peak - spread
	if spread <= 0 {
		return max(0, median-line)
	}
	scale := spread / logTail
	if line <= median {
		return median - line + scale/2
	}
	return scale / 2 * math.Exp(-(line-median)/scale)
}

// rawOnline is the raw score of a node for a latency-sensitive pod, half of it for safety and half of it for
// what is left below the safe line (LeastRisk) or what is filled of it (MostUsed):
//
//	1/2 / (1 + excess/(tolerance x line)) + 1/2 x (1 - peak/line)
//	1/2 / (1 + excess/(tolerance x line)) + 1/2 x peak/line
//
// The second half is 0 where the peak is above the line. More load never scores higher under LeastRisk.
func rawOnline(f *Prospect, strategy v1alpha1.ScoringStrategy) int64 {
	line := float64(f.SafeLine)
	if line <= 0 {
		return 0
	}
	safety := 1 / (1 + f.ExpectedOver/(tolerance*line))
	room := 0.0
	if peak := float64(f.Peak); peak <= line {
		room = 1 - peak/line
		if strategy == v1alpha1.MostUsed {
			room = peak / line
		}
	}
	return int64(maxRaw / 2 * (safety + room))
}

// rawBatch is the raw score of a node for a batch pod: the share of the safe line that stays free as long as
// the pod runs, less where online services wait for CPU already.
//
//	(line - peak - batch - pod) / line x (1 - pressure/line)
func rawBatch(f *Prospect, podMilliCPU int64) int64 {
	line := float64(f.SafeLine)
	if line <= 0 {
		return 0
	}
	room := (line - float64(f.Peak) - float64(f.Batch) - float64(podMilliCPU)) / line
	calm := 1 - min(1, float64(f.Pressure)/line)
	return int64(maxRaw * max(0, min(1, room)) * calm)
}

// normalise brings raw scores to 0 to 100. The best node gets 100, and one that is fullMarksRange of raw
// score behind it, or the worst if that is further behind, gets 0.
func normalise(scores fwk.NodeScoreList) {
	span, high := spanOf(scores)
	for i := range scores {
		scores[i].Score = normal(scores[i].Score, high, span)
	}
}

// spanOf is the difference that makes the whole difference, and the highest score.
func spanOf(scores fwk.NodeScoreList) (span, high int64) {
	low := int64(maxRaw)
	for i := range scores {
		low, high = min(low, scores[i].Score), max(high, scores[i].Score)
	}
	return max(high-low, fullMarksRange), high
}

func normal(raw, high, span int64) int64 {
	return maxScore - (high-raw)*maxScore/span
}
