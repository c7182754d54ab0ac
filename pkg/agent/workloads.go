package agent

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/plimsoll/plimsoll/pkg/api/v1alpha1"
	"github.com/plimsoll/plimsoll/pkg/usage"
)

const (
	// workloadsEvery is the time between two samples of the workloads. The rates are averages over the
	// agent's window, so that closer ones would count the same use again.
	workloadsEvery = 10 * time.Second
	// mostWorkloads bounds what is kept, and mostPublished what readers are told: a profile is 0.6 kB.
	mostWorkloads, mostPublished = 96, 32
	// forecastSteps of forecastStep are told to readers.
	forecastSteps = 24
	forecastStep  = time.Hour
	// profileEvery is how long a published forecast is used: it is made of slots of five minutes.
	profileEvery = time.Minute
)

// workloads learns what one pod of each workload uses.
type workloads struct {
	profiles *usage.Workloads
	sampled  time.Time
	// running are the pods of the sample before, to notice those that have ended.
	running map[string]livePod
}

// livePod is a pod that runs.
type livePod struct {
	workload string
	started  time.Time
}

func newWorkloads() *workloads {
	return &workloads{profiles: usage.NewWorkloads(mostWorkloads), running: map[string]livePod{}}
}

// add takes the pods of one tick. Pods whose workload is not known are left out.
func (w *workloads) add(now time.Time, r reading, pods []v1alpha1.PodUtilization) {
	if age := now.Sub(w.sampled); age >= 0 && age < workloadsEvery {
		return
	}
	w.sampled = now
	infos := make(map[string]*podInfo, len(r.Pods))
	for i := range r.Pods {
		infos[r.Pods[i].UID] = &r.Pods[i].Info
	}
	w.profiles.Begin(now)
	for i := range pods {
		p := &pods[i]
		info := infos[p.UID]
		if info == nil || info.Workload == "" {
			continue
		}
		w.profiles.Add(usage.WorkloadSample{
			Workload: info.Workload, Class: string(p.Class), MilliCPU: usage.Of(p.MilliCPU), MemoryBytes: usage.Of(p.MemoryBytes),
		})
		w.running[p.UID] = livePod{info.Workload, info.Started}
	}
	for uid, pod := range w.running {
		if infos[uid] != nil {
			continue
		}
		if !pod.started.IsZero() {
			w.profiles.Ended(pod.workload, now.Sub(pod.started))
		}
		delete(w.running, uid)
	}
}

// report is what readers are told.
func (w *workloads) report() []v1alpha1.WorkloadProfile {
	var out []v1alpha1.WorkloadProfile
	for _, p := range w.profiles.Profiles(mostPublished) {
		if p.Pods == 0 && !p.HasRun {
			continue // nothing runs, and there is nothing to tell of how long it would
		}
		profile := v1alpha1.WorkloadProfile{
			Name: p.Workload, Class: v1alpha1.Class(p.Class), Pods: p.Pods, HistorySeconds: int64(p.History / time.Second),
			MilliCPU: distribution(p.MilliCPU), MemoryBytes: distribution(p.MemoryBytes), HourlyPeakMilliCPU: p.HourlyPeakMilliCPU,
		}
		if p.HasRun {
			run := distribution(p.RunSeconds)
			profile.RunSeconds = &run
		}
		out = append(out, profile)
	}
	return out
}

// profile is the published forecast, made anew once a minute.
func (l *lending) profile(now time.Time) *v1alpha1.Forecast {
	if l.forecaster == nil {
		return nil
	}
	if age := now.Sub(l.profileAt); l.published != nil && age >= 0 && age < profileEvery {
		return l.published
	}
	p, ok := l.forecaster.Profile(now, forecastSteps, forecastStep, int32(l.config.QuantilePermille))
	if !ok {
		l.published = nil
		return nil
	}
	l.profileAt = now
	l.published = &v1alpha1.Forecast{
		Start: metav1.NewTime(p.Start), StepSeconds: int32(p.Step / time.Second),
		QuantilePermille: int32(l.config.QuantilePermille), ConfidencePermille: p.ConfidencePermille,
		HistorySeconds: int64(p.History / time.Second), ColdStart: p.ColdStart,
		PeakMilliCPU: p.PeakMilliCPU, MedianMilliCPU: p.MedianMilliCPU, PeakMemoryBytes: p.PeakMemoryBytes,
	}
	return l.published
}
