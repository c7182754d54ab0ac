package loadaware

import (
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/plimsoll/plimsoll/pkg/api/v1alpha1"
)

// minHistorySeconds is how much history a profile must rest on to count for more than a request.
const minHistorySeconds = 600

// workload is what is kept of a WorkloadProfile. It never changes.
type workload struct {
	name           string
	batch          bool
	pods           int64
	historySeconds int64
	median, peak   int64 // milli-cores of one pod: p50 and p95
	// hourly is one pod's p95 in each hour of the day, UTC; nil with less than a day of history.
	hourly     *[hoursPerDay]int32
	runSeconds int64 // p95 of how long its pods ran; 0 for none that ended
}

// workloadsOf excerpts the profiles that make sense and rest on enough history.
func workloadsOf(profiles []v1alpha1.WorkloadProfile) []*workload {
	var out []*workload
	for i := range profiles {
		p := &profiles[i]
		w := &workload{
			name: p.Name, batch: p.Class == v1alpha1.ClassBatch, pods: clamp(int64(p.Pods), 0, 1024),
			historySeconds: p.HistorySeconds, median: p.MilliCPU.P50, peak: p.MilliCPU.P95,
		}
		if p.RunSeconds != nil {
			w.runSeconds = clamp(p.RunSeconds.P95, 0, 365*86_400)
		}
		if w.median < 0 || w.peak < w.median || w.peak > maxNodeMilliCPU {
			continue
		}
		if p.HistorySeconds < minHistorySeconds && w.runSeconds == 0 {
			continue
		}
		if len(p.HourlyPeakMilliCPU) == hoursPerDay {
			hourly := new([hoursPerDay]int32)
			for h, v := range p.HourlyPeakMilliCPU {
				hourly[h] = int32(clamp(v, 0, maxNodeMilliCPU))
			}
			w.hourly = hourly
		}
		out = append(out, w)
	}
	return out
}

// useOf is what a pod is expected to use: what other pods of its workload used, else what it asks for. now
// says which hour the present one is.
func useOf(w *workload, requestMilliCPU int64, now time.Time) expectedUse {
	if w == nil || w.historySeconds < minHistorySeconds {
		return expectedUse{median: requestMilliCPU, peak: requestMilliCPU}
	}
	use := expectedUse{median: w.median, peak: w.peak}
	if w.hourly != nil {
		first := now.UTC().Hour()
		use.hourly = new([hoursPerDay]int32)
		for k := range use.hourly {
			use.hourly[k] = w.hourly[(first+k)%hoursPerDay]
		}
	}
	return use
}

// history finds the profile of a workload among those of all nodes. What is in it is in some node's View:
// what no node tells any more is gone.
type history struct {
	mu     sync.RWMutex
	byName map[string]*known
}

// known is the profile of a workload that rests on most history, and how many Views tell of the workload.
type known struct {
	best  *workload
	views int
}

func newHistory() *history { return &history{byName: map[string]*known{}} }

// of is the profile of the pod's workload, nil if there is none.
func (h *history) of(pod *corev1.Pod) *workload {
	h.mu.RLock()
	defer h.mu.RUnlock()
	if len(h.byName) == 0 {
		return nil
	}
	k := h.byName[v1alpha1.WorkloadOf(pod.Namespace, pod.Name, pod.Labels, pod.OwnerReferences)]
	if k == nil {
		return nil
	}
	return k.best
}

// replace takes in what a node's View tells instead of what its last one did; either may be nil.
func (h *history) replace(before, after *View) {
	if before.workloadCount() == 0 && after.workloadCount() == 0 {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if after != nil {
		for _, w := range after.workloads {
			k := h.byName[w.name]
			if k == nil {
				k = &known{}
				h.byName[w.name] = k
			}
			k.views++
			// The same node's newer profile has more history than its last, so this follows it too.
			if k.best == nil || w.historySeconds >= k.best.historySeconds || before.tells(k.best) {
				k.best = w
			}
		}
	}
	if before != nil {
		for _, w := range before.workloads {
			k := h.byName[w.name]
			if k.views--; k.views == 0 {
				delete(h.byName, w.name)
			}
		}
	}
}

func (v *View) workloadCount() int {
	if v == nil {
		return 0
	}
	return len(v.workloads)
}

// tells says whether w is from this View.
func (v *View) tells(w *workload) bool {
	if v == nil {
		return false
	}
	return slices.Contains(v.workloads, w)
}
