package agent

import (
	"cmp"
	"slices"

	"github.com/plimsoll/plimsoll/pkg/api/v1alpha1"
	"github.com/plimsoll/plimsoll/pkg/usage"
)

// mostRecent is how many pods' windows are told to readers. The status stays within its bound of bytes: where there
// are more pods, those that use least go without.
const mostRecent = 250

// podWindows keeps how the use of each pod was spread of late, by UID.
type podWindows struct {
	windows map[string]*podHistory
	// samples finds the sample of a group in the reading at hand; it is kept to be used again.
	samples map[usage.GroupKey]int
	round   int
}

type podHistory struct {
	window *usage.PodWindow
	round  int
}

func newPodWindows() *podWindows {
	return &podWindows{windows: map[string]*podHistory{}, samples: map[usage.GroupKey]int{}}
}

// add takes a reading. Pods that are not in it are forgotten.
func (w *podWindows) add(r reading) {
	clear(w.samples)
	for i := range r.Sample.Groups {
		w.samples[r.Sample.Groups[i].Key] = i
	}
	w.round++
	for i := range r.Pods {
		p := &r.Pods[i]
		h := w.windows[p.UID]
		if h == nil {
			h = &podHistory{window: usage.NewPodWindow()}
			w.windows[p.UID] = h
		}
		h.round = w.round
		cpu, memory := w.use(r, p.Key)
		for _, c := range p.BatchContainers {
			cpuOfOne, memoryOfOne := w.use(r, c)
			cpu, memory = cpu.Plus(cpuOfOne), memory.Plus(memoryOfOne)
		}
		h.window.Add(r.Sample.At, 1+len(p.BatchContainers), cpu, memory)
	}
	for uid, h := range w.windows {
		if h.round != w.round {
			delete(w.windows, uid)
		}
	}
}

func (w *podWindows) use(r reading, key usage.GroupKey) (cpuMicros, memoryBytes usage.Reading) {
	i, ok := w.samples[key]
	if !ok {
		return usage.Reading{}, usage.Reading{}
	}
	return r.Sample.Groups[i].CPUMicros, r.Sample.Groups[i].WorkingSetBytes
}

// report puts the windows into the pods of a status.
func (w *podWindows) report(pods []v1alpha1.PodUtilization) {
	order := make([]int, len(pods))
	for i := range order {
		order[i] = i
	}
	if len(pods) > mostRecent {
		slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(pods[b].MilliCPU, pods[a].MilliCPU) })
		order = order[:mostRecent]
	}
	for _, i := range order {
		h := w.windows[pods[i].UID]
		if h == nil {
			continue
		}
		if s, ok := h.window.Report(); ok {
			pods[i].Recent = &v1alpha1.PodRecent{
				MeanMilliCPU: s.MeanMilliCPU, P95MilliCPU: s.P95MilliCPU, MaxMilliCPU: s.MaxMilliCPU,
				P95MemoryBytes: s.P95MemoryBytes, MaxMemoryBytes: s.MaxMemoryBytes,
			}
		}
	}
}
