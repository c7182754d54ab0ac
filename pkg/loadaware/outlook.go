package loadaware

import (
	"math"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	fwk "k8s.io/kube-scheduler/framework"
)

// outlook is what one profile of the scheduler expects of one node, before the pod in hand is on it. It
// never changes; it is computed once for each state of the node's pods and not once for each pod to place.
// CPU is in milli-cores. Index k of an hourly array is the k-th hour from the present one on.
type outlook struct {
	generation int64        // of the scheduler's NodeInfo
	validUntil int64        // Unix nanoseconds
	born       int64        // the first Snapshot that has the View this was made from
	measuredAt int64        // by the plugin's own clock
	died       atomic.Int64 // the first Snapshot that has it no more; 0 as long as it is there
	known      bool         // there is a measurement of this very node
	horizon    int          // how many hours count

	worstPeak                          int64 // the highest within the horizon
	allocatable, requested, safeLine   int64
	memoryAllocatable, memoryRequested int64
	byRequests                         int64 // estimates by request of all pods that are not batch
	promisedBatch                      int64 // the same of all batch pods
	batchUse                           int64 // measured
	pressure                           int64 // pressure as CPU that is missing
	onlineMemory, unknownMemory        int64 // bytes; unknown is by estimate
	cpuRoom, memoryRoom                int64 // as in quick
	logTail                            float64

	hours   [hoursPerDay]hour  // of online use, what is not in pods included
	lasting [hoursPerDay]int32 // the highest peak from now to the end of that hour

	// risks is those of the hours within the horizon, riskCount of them, that no other one exceeds both in median
	// and in spread: only they can be the ones of most risk for a pod that uses the same at all hours.
	risks     [hoursPerDay]hour
	riskCount int
}

// hour is what is expected in an hour, in milli-cores; spread is peak less median.
type hour struct{ peak, spread int32 }

func (h hour) packed() uint64 { return uint64(uint32(h.peak))<<32 | uint64(uint32(h.spread)) }

func unpackHour(packed uint64) hour { return hour{peak: int32(packed >> 32), spread: int32(packed)} }

const (
	// neverMeasuredFull is how long a pod counts in full that is not in the node's measurements: images must
	// be pulled before there is anything to measure. It then fades within as long again: what has not been
	// seen for so long is not running.
	neverMeasuredFull = 10 * time.Minute
	// fadingStep is how long an outlook is kept in which some estimate fades with time.
	fadingStep = 5 * time.Second
)

// outlookOf returns the node's outlook, nil for a node of which nothing is known. While neither the node's
// pods nor its measurement change, all cycles use the same one.
func (p *Plugin) outlookOf(c *cycle, node *corev1.Node, nodeInfo fwk.NodeInfo) *outlook {
	generation := nodeInfo.GetGeneration()
	if o := p.shortcut.find(generation, c); o != nil {
		return o
	}
	v := c.snapshot.View(node.Name)
	if v == nil {
		return nil
	}
	return p.outlookFrom(v, c, node, nodeInfo, generation)
}

// outlookFrom returns the outlook of the View, from its cache if the node's pods are the same as then.
func (p *Plugin) outlookFrom(v *View, c *cycle, node *corev1.Node, nodeInfo fwk.NodeInfo, generation int64) *outlook {
	cached := p.index < len(v.outlooks) // not so for a View from before this profile was built
	if cached {
		if o := v.outlooks[p.index].Load(); o != nil && o.generation == generation && c.unixNano < o.validUntil {
			p.shortcut.add(o, nil)
			return o
		}
	}
	o := p.newOutlook(v, node, nodeInfo, c.now)
	o.generation = generation
	if !cached {
		return o
	}
	p.shortcut.add(o, v.outlooks[p.index].Swap(o))
	if died := v.died.Load(); died != 0 { // the View was replaced meanwhile, and what it had then was told
		p.shortcut.replaced(o, died)
	}
	return o
}

func (p *Plugin) newOutlook(v *View, node *corev1.Node, nodeInfo fwk.NodeInfo, now time.Time) *outlook {
	allocatable, requested := nodeInfo.GetAllocatable(), nodeInfo.GetRequested()
	o := &outlook{
		validUntil: now.Truncate(time.Hour).Add(time.Hour).UnixNano(), // when hour 0 is another
		known:      v.nodeUID == "" || v.nodeUID == node.UID,
		measuredAt: p.since(v.measuredAt), born: v.born,

		allocatable: clamp(allocatable.GetMilliCPU(), 0, maxMilliCPU), requested: requested.GetMilliCPU(),
		memoryAllocatable: clamp(allocatable.GetMemory(), 0, maxBytes), memoryRequested: requested.GetMemory(),
		batchUse: v.batch.MilliCPU,
		horizon:  p.horizonHours(),
		logTail:  math.Log(500 / 10.0),
	}
	o.pressure = o.allocatable * v.pressurePermille / 1000
	o.onlineMemory = v.onlineMemory()
	if f := v.forecast; f != nil {
		o.logTail = math.Log(500 / float64(1000-f.quantilePermille))
	}
	o.foresee(v, now)
	p.addPods(o, v, nodeInfo.GetPods(), now)
	o.summarise()
	p.limit(o)
	return o
}

// horizonHours is how many hours count, the present one included.
func (p *Plugin) horizonHours() int {
	return max(1, min(int((p.args.HorizonSeconds+3599)/3600), hoursPerDay))
}

// foresee fills in what the node's measured pods will use, hour by hour: the higher of the forecast and the
// sum of its workloads' profiles at that time of day, and for hours of which neither tells, what is used
// now. The present hour's peak is at least what is used now.
func (o *outlook) foresee(v *View, now time.Time) {
	told := 0 // a bit for each hour of which the forecast tells
	if f := v.forecast; f != nil {
		thisHour, second := now.Truncate(time.Hour).Unix(), now.Unix()
		begin, system := f.start.Unix(), v.system.MilliCPU
		for i, peak := range f.peak {
			end := begin + f.stepSeconds
			if end > second {
				for k := int(max(0, begin-thisHour) / 3600); k < hoursPerDay && thisHour+int64(k)*3600 < end; k++ {
					told |= 1 << k
					o.hours[k].peak = max(o.hours[k].peak, milli(peak+system))
					o.hours[k].spread = max(o.hours[k].spread, milli(peak-f.median[i]))
				}
			}
			begin = end
		}
	}
	profiles := profileSum(v.workloads, now.UTC().Hour())
	online := milli(v.onlineMilliCPU())
	for k := range o.hours {
		if profiles[k] > 0 {
			o.hours[k].peak = max(o.hours[k].peak, milli(profiles[k]+v.system.MilliCPU))
		}
		if k == 0 || (told&(1<<k) == 0 && profiles[k] == 0) {
			o.hours[k].peak = max(o.hours[k].peak, online)
		}
	}
}

// profileSum is what the pods of online workloads use together, from the given hour of the day on.
func profileSum(workloads []*workload, firstHour int) [hoursPerDay]int64 {
	var sum [hoursPerDay]int64
	for _, w := range workloads {
		if w.batch || w.hourly == nil {
			continue
		}
		for k := range sum {
			sum[k] += w.pods * int64(w.hourly[(firstHour+k)%hoursPerDay])
		}
	}
	return sum
}

// addPods adds what the node's measurements do not hold yet: pods just placed, and pods measured for less
// than maturity.
func (p *Plugin) addPods(o *outlook, v *View, pods []fwk.PodInfo, now time.Time) {
	var add expectedUse
	var hourly [hoursPerDay]int64
	mature := max(p.args.MaturityMilliseconds, v.windowMilliseconds)
	for _, info := range pods {
		pod := info.GetPod()
		batch := isBatch(pod)
		milliCPU, bytes := placedRequest(info, batch)
		byRequest := p.byRequest(pod, milliCPU, batch)
		if batch {
			o.promisedBatch += byRequest
			continue
		}
		o.byRequests += byRequest
		use, measured := v.useOf(pod)
		if measured && use.measuredMilliseconds >= mature {
			continue // most pods: their use is in the node's
		}
		expected := useOf(p.history.of(pod), byRequest, now)
		var keep float64
		if measured {
			add.add(p.immature(use, expected, v.windowMilliseconds))
			keep = p.estimateWeight(use)
			o.unknownMemory += max(0, int64(keep*float64(bytes-use.memoryBytes)))
		} else {
			keep = unseenWeight(pod, v.measuredAt)
			if keep < 1 {
				o.validUntil = min(o.validUntil, now.Add(fadingStep).UnixNano())
			}
			add.add(expectedUse{median: int64(keep * float64(expected.median)), peak: int64(keep * float64(expected.peak))})
			o.unknownMemory += int64(keep * float64(bytes))
		}
		if expected.hourly != nil { // its peak is not the same at all hours: keep the difference
			for k, v := range expected.hourly {
				hourly[k] += int64(keep * float64(int64(v)-expected.peak))
			}
		}
	}
	for k := range o.hours {
		o.hours[k].peak = milli(int64(o.hours[k].peak) + add.peak + hourly[k])
		o.hours[k].spread = milli(int64(o.hours[k].spread) + add.peak - add.median)
	}
}

func (e *expectedUse) add(other expectedUse) {
	e.median += other.median
	e.peak += other.peak
}

// staticPodAnnotation holds the UID by which the kubelet knows a static pod.
const staticPodAnnotation = "kubernetes.io/config.hash"

// useOf is what was measured of the pod. The kubelet knows a static pod by another UID than the API server
// does, and an annotation tells it.
func (v *View) useOf(pod *corev1.Pod) (podUse, bool) {
	use, ok := v.pods[pod.UID]
	if !ok {
		if static, isStatic := pod.Annotations[staticPodAnnotation]; isStatic {
			use, ok = v.pods[types.UID(static)]
		}
	}
	return use, ok
}

// immature is what must be added to the node's measured use for a pod that is measured for less than
// maturity:
//
//	(1 - w) x estimate + w x measured - measured x min(1, time measured / window)
//
// with w = time measured / maturity. The last part is what of the pod is in the node's use already, which is
// an average over the window.
func (p *Plugin) immature(use podUse, expected expectedUse, windowMilliseconds int64) expectedUse {
	keep := p.estimateWeight(use)
	contained := float64(use.milliCPU) * min(1, float64(use.measuredMilliseconds)/float64(windowMilliseconds))
	own := (1 - keep) * float64(use.milliCPU)
	return expectedUse{
		median: int64(keep*float64(expected.median) + own - contained),
		peak:   int64(keep*float64(expected.peak) + own - contained),
	}
}

// estimateWeight is what an estimate still counts beside the pod's own measurement: 1 at first, 0 at maturity.
func (p *Plugin) estimateWeight(use podUse) float64 {
	if use.measuredMilliseconds >= p.args.MaturityMilliseconds {
		return 0
	}
	return 1 - float64(use.measuredMilliseconds)/float64(p.args.MaturityMilliseconds)
}

// unseenWeight is what the estimate of a pod counts that was not measured, by how long it was on the node
// when the node was.
func unseenWeight(pod *corev1.Pod, measuredAt time.Time) float64 {
	since, ok := boundSince(pod)
	if !ok {
		return 1
	}
	late := measuredAt.Sub(since) - neverMeasuredFull
	return max(0, min(1, 1-float64(late)/float64(neverMeasuredFull)))
}

// boundSince is when the pod came to its node. It is in the pod, so that a scheduler that has just started
// does not take all pods for new. A pod that was assumed a moment ago has no such time.
func boundSince(pod *corev1.Pod) (time.Time, bool) {
	for i := range pod.Status.Conditions {
		c := &pod.Status.Conditions[i]
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionTrue {
			return c.LastTransitionTime.Time, true
		}
	}
	if pod.Status.StartTime != nil {
		return pod.Status.StartTime.Time, true
	}
	return time.Time{}, false
}

// limit derives what Filter compares a pod with. What is above cpuRoom may still be admitted, as refuse
// tells; memoryRoom is a KiB short, so that no rounding of refuse is decided here.
func (p *Plugin) limit(o *outlook) {
	o.safeLine = o.allocatable * p.args.SafeCPUPercent / 100
	o.cpuRoom, o.memoryRoom = math.MaxInt64, math.MaxInt64
	if limit := p.args.MaxCPUPercent; limit > 0 && o.known {
		o.cpuRoom = o.allocatable*limit/100 - o.worstPeak
	}
	if limit := p.args.MaxMemoryPercent; limit > 0 && o.known {
		o.memoryRoom = int64(float64(o.memoryAllocatable)/100*float64(limit)) - o.onlineMemory - o.unknownMemory - 1024
	}
}

// summarise derives what most pods are scored by, so that scoring them reads few hours.
func (o *outlook) summarise() {
	highest := int32(0)
	for k := range o.hours {
		highest = max(highest, o.hours[k].peak)
		o.lasting[k] = highest
	}
	o.worstPeak = int64(o.lasting[o.horizon-1])
	for k := range o.horizon {
		if !o.outdone(k) {
			o.risks[o.riskCount] = o.hours[k]
			o.riskCount++
		}
	}
}

// outdone says whether some other hour's median and spread are both at least as high; of equals the first
// one stays.
func (o *outlook) outdone(k int) bool {
	median, spread := o.hours[k].peak-o.hours[k].spread, o.hours[k].spread
	for j, other := range o.hours[:o.horizon] {
		m, s := other.peak-other.spread, other.spread
		if m >= median && s >= spread && (m > median || s > spread || j < k) {
			return true
		}
	}
	return false
}

// milli bounds what goes into the hourly arrays.
func milli(v int64) int32 { return int32(clamp(v, 0, maxMilliCPU)) }
