package agent

import (
	"time"

	"github.com/plimsoll/plimsoll/pkg/api/v1alpha1"
	"github.com/plimsoll/plimsoll/pkg/usage"
)

// classWindows measures each class from tick to tick, finer than the published rates, and keeps how its use
// was spread over time.
type classWindows struct {
	meter   *usage.Meter
	windows map[v1alpha1.Class]*usage.Windows
}

// newClassWindows takes the time between two ticks. Its rates span one tick, also when one comes early.
func newClassWindows(tick time.Duration) *classWindows {
	w := &classWindows{meter: usage.NewMeter(tick * 3 / 4), windows: map[v1alpha1.Class]*usage.Windows{}}
	for _, c := range []v1alpha1.Class{v1alpha1.ClassBatch, v1alpha1.ClassLatencySensitive, v1alpha1.ClassSystem} {
		w.windows[c] = usage.NewWindows()
	}
	return w
}

// add takes a reading and returns the use of each class in the tick before it, absent where it was not measured.
func (w *classWindows) add(r reading) []v1alpha1.ClassUtilization {
	sample, pods := w.coarse(r)
	u := w.meter.Add(sample)
	for i := range pods {
		rates := u.Groups[r.Pods[pods[i].index].Key]
		pods[i].entry.MilliCPU, pods[i].entry.MemoryBytes = rates.MilliCPU.Value, rates.MemoryBytes.Value
		pods[i].ok = rates.MilliCPU.OK && rates.MemoryBytes.OK
	}
	entries := make([]v1alpha1.PodUtilization, 0, len(pods))
	for _, p := range pods {
		if p.ok {
			entries = append(entries, p.entry)
		}
	}
	all := classes(entries, r, u)
	for i := range all {
		w.windows[all[i].Class].Add(r.Sample.At, usage.Of(all[i].MilliCPU), usage.Of(all[i].MemoryBytes))
	}
	return all
}

type coarsePod struct {
	index int
	entry v1alpha1.PodUtilization
	ok    bool
}

// coarse is the part of a sample that the classes are made of: all pods together, the batch branch, and the
// own groups of the pods that are not latency-sensitive. Most pods are, so it is small.
func (w *classWindows) coarse(r reading) (usage.Sample, []coarsePod) {
	wanted := map[usage.GroupKey]bool{r.Kubepods: true, r.Branch: true}
	var pods []coarsePod
	for i, p := range r.Pods {
		if p.Info.Class != v1alpha1.ClassLatencySensitive {
			wanted[p.Key] = true
			pods = append(pods, coarsePod{index: i, entry: v1alpha1.PodUtilization{UID: p.UID, Class: p.Info.Class}})
		}
	}
	s := usage.Sample{At: r.Sample.At, Node: r.Sample.Node, Groups: make([]usage.GroupSample, 0, len(wanted))}
	for _, g := range r.Sample.Groups {
		if wanted[g.Key] {
			s.Groups = append(s.Groups, g)
		}
	}
	return s, pods
}

// report puts the windows into the classes of a status.
func (w *classWindows) report(now time.Time, classes []v1alpha1.ClassUtilization) {
	for i := range classes {
		classes[i].Windows = nil
		for _, s := range w.windows[classes[i].Class].Report(now) {
			classes[i].Windows = append(classes[i].Windows, v1alpha1.WindowUtilization{
				WindowSeconds: int32(s.Length / time.Second), MilliCPU: distribution(s.MilliCPU), MemoryBytes: distribution(s.MemoryBytes),
			})
		}
	}
}

func distribution(s usage.Spread) v1alpha1.Distribution {
	return v1alpha1.Distribution{Mean: s.Mean, P50: s.P50, P95: s.P95, P99: s.P99, Max: s.Max}
}

// useOf is the use of one class, not OK where it was not measured.
func useOf(classes []v1alpha1.ClassUtilization, class v1alpha1.Class) (milliCPU, memoryBytes usage.Reading) {
	for _, c := range classes {
		if c.Class == class {
			return usage.Of(c.MilliCPU), usage.Of(c.MemoryBytes)
		}
	}
	return usage.Reading{}, usage.Reading{}
}
