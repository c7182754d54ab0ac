package usage

import (
	"cmp"
	"slices"
	"time"
)

const (
	// hoursOfDay is the resolution of a profile.
	hoursOfDay = 24
	// profileDecay is what a day-old measurement counts for beside a new one: half.
	profileDecay = 0.5
)

// WorkloadSample is the use of one pod at one instant.
type WorkloadSample struct {
	Workload              string
	Class                 string
	MilliCPU, MemoryBytes Reading
}

// WorkloadProfile is what one pod of a workload uses.
type WorkloadProfile struct {
	Workload, Class string
	// Pods is how many pods there were in the newest sample.
	Pods    int32
	History time.Duration
	// MilliCPU and MemoryBytes are the spread of one pod's use over the history; half of what they rest on
	// is of the last day.
	MilliCPU, MemoryBytes Spread
	// HourlyPeakMilliCPU is one pod's p95 in each hour of the day (UTC); nil while a day is not known.
	HourlyPeakMilliCPU []int64
	// RunSeconds is how long pods ran that have ended; HasRun is false for none.
	RunSeconds Spread
	HasRun     bool
}

// Workloads keeps a profile of each workload of one node, the most recently seen ones up to a limit. A
// profile takes at most 4 KiB for each of 27 sketches, and a tenth of it for use that hardly varies. It is
// not safe for concurrent use.
type Workloads struct {
	limit    int
	last     time.Time
	profiles map[string]*profile
}

type profile struct {
	class    string
	pods     int32
	seen     time.Time
	history  time.Duration
	day      int64
	cpu, mem spreader
	run      spreader
	hourly   [hoursOfDay]hour
}

// hour is what was seen in one hour of the day, on the days up to `day` since 1970.
type hour struct {
	day  int64
	cpu  spreader
	seen time.Duration
}

// NewWorkloads returns Workloads that keep at most limit profiles.
func NewWorkloads(limit int) *Workloads {
	return &Workloads{limit: max(1, limit), profiles: map[string]*profile{}}
}

// Begin starts a sample of all pods at now; Add takes each pod. Time that no sample covers is not history.
func (w *Workloads) Begin(now time.Time) {
	for _, p := range w.profiles {
		p.pods = 0
	}
	w.last = now
}

// Add takes the use of one pod. A reading that is not OK leaves no trace but the pod itself.
func (w *Workloads) Add(s WorkloadSample) {
	p := w.profiles[s.Workload]
	if p == nil {
		w.makeRoom()
		p = &profile{cpu: newSpreader(), mem: newSpreader(), run: newSpreader(), day: day(w.last)}
		w.profiles[s.Workload] = p
	}
	p.class = s.Class
	p.pods++
	p.add(w.last, s)
}

func (p *profile) add(now time.Time, s WorkloadSample) {
	const most = time.Minute // a longer gap is no history
	if gap := now.Sub(p.seen); gap > 0 && gap <= most {
		p.history += gap
		p.hourly[now.UTC().Hour()].seen += gap
	}
	p.seen = now
	if today := day(now); today > p.day {
		factor := decayOver(today - p.day)
		p.cpu.decay(factor)
		p.mem.decay(factor)
		p.day = today
	}
	if s.MilliCPU.OK {
		p.cpu.add(s.MilliCPU.Value, 1)
		p.hourly[now.UTC().Hour()].add(day(now), s.MilliCPU.Value)
	}
	if s.MemoryBytes.OK {
		p.mem.add(s.MemoryBytes.Value, 1)
	}
}

func (h *hour) add(today, milliCPU int64) {
	if h.cpu.sketch == nil {
		h.cpu, h.day = newSpreader(), today
	}
	if today > h.day {
		h.cpu.decay(decayOver(today - h.day))
		h.day = today
	}
	h.cpu.add(milliCPU, 1)
}

// decayOver is profileDecay once a day, and so little after a month that nothing is left of it.
func decayOver(days int64) float64 {
	factor := 1.0
	for range min(days, 30) {
		factor *= profileDecay
	}
	return factor
}

func day(t time.Time) int64 { return t.Unix() / 86_400 }

// Ended takes how long a pod ran that has ended.
func (w *Workloads) Ended(workload string, ran time.Duration) {
	if p := w.profiles[workload]; p != nil && ran >= 0 {
		p.run.add(int64(ran/time.Second), 1)
	}
}

// makeRoom drops the profile that was not seen for longest while there are as many as may be.
func (w *Workloads) makeRoom() {
	for len(w.profiles) >= w.limit {
		oldest := ""
		for name, p := range w.profiles {
			if o := w.profiles[oldest]; o == nil || p.seen.Before(o.seen) || p.seen.Equal(o.seen) && name < oldest {
				oldest = name
			}
		}
		delete(w.profiles, oldest)
	}
}

// Profiles returns up to `most` profiles: those with pods on the node now come first, and among them those
// that use most.
func (w *Workloads) Profiles(most int) []WorkloadProfile {
	all := make([]WorkloadProfile, 0, len(w.profiles))
	for name, p := range w.profiles {
		if r, ok := p.report(name); ok {
			all = append(all, r)
		}
	}
	slices.SortFunc(all, func(a, b WorkloadProfile) int {
		running := func(p WorkloadProfile) int { return int(min(p.Pods, 1)) }
		return cmp.Or(running(b)-running(a),
			cmp.Compare(b.MilliCPU.Mean*int64(max(b.Pods, 1)), a.MilliCPU.Mean*int64(max(a.Pods, 1))),
			cmp.Compare(a.Workload, b.Workload))
	})
	return all[:min(len(all), most)]
}

func (p *profile) report(name string) (WorkloadProfile, bool) {
	r := WorkloadProfile{Workload: name, Class: p.class, Pods: p.pods, History: p.history}
	var okCPU, okMemory bool
	r.MilliCPU, okCPU = p.cpu.spread()
	r.MemoryBytes, okMemory = p.mem.spread()
	r.RunSeconds, r.HasRun = p.run.spread()
	if !okCPU || !okMemory {
		return r, false
	}
	hourly := make([]int64, hoursOfDay)
	for i := range p.hourly {
		h := &p.hourly[i]
		if h.seen < time.Hour/2 { // an hour is known when half of it was seen
			return r, true
		}
		hourly[i] = h.cpu.quantile(0.95)
	}
	r.HourlyPeakMilliCPU = hourly
	return r, true
}
