package usage

import (
	"math"
	"slices"
	"time"
)

const (
	// podSeconds is how far a PodWindow reaches back, and podMemoryEvery how far apart its samples of memory are.
	podSeconds     = 300
	podMemoryEvery = 10
	podMemories    = podSeconds / podMemoryEvery
	// leastMeasured is how many seconds, and how many samples of memory, a report rests on at least.
	leastMeasured = podMemories / 2
	// noMilliCPU marks a second that was not measured. No pod has four million CPUs.
	noMilliCPU = math.MaxUint32
)

// PodSpread is how the use of a pod was spread over the last five minutes.
type PodSpread struct {
	MeanMilliCPU, P95MilliCPU, MaxMilliCPU int64
	P95MemoryBytes, MaxMemoryBytes         int64
}

// PodWindow keeps the last five minutes of one pod: CPU use second by second, memory each ten seconds. It is one
// block of 1.5 kB, and neither Add nor Report allocates. It is not safe for concurrent use.
type PodWindow struct {
	cpu    [podSeconds]uint32
	memory [podMemories]int64 // bytes; negative where it was not measured
	// second is the newest second that was added, in seconds since 1970; first the oldest.
	second, first int64
	// at and cpuMicros are the counter of the last Add, of so many groups.
	at        time.Time
	cpuMicros Reading
	groups    int
}

// NewPodWindow returns a PodWindow without history.
func NewPodWindow() *PodWindow {
	w := &PodWindow{}
	w.clear(0)
	return w
}

func (w *PodWindow) clear(second int64) {
	for i := range w.cpu {
		w.cpu[i] = noMilliCPU
	}
	for i := range w.memory {
		w.memory[i] = -1
	}
	w.second, w.first = second, second
}

// Add takes the pod's CPU time, summed over so many groups, and its memory at one instant. A reading that is
// not OK leaves no trace, and of a sum over other groups than before the growth is not known. When the wall
// clock steps back, or nothing was added for five minutes, all is forgotten.
func (w *PodWindow) Add(at time.Time, groups int, cpuMicros, memoryBytes Reading) {
	elapsed := at.Sub(w.at)
	grown := perThousand(w.cpuMicros, cpuMicros, elapsed)
	if groups != w.groups {
		grown = Reading{}
	}
	w.at, w.cpuMicros, w.groups = at, cpuMicros, groups

	second := at.Unix()
	if second < 0 {
		return // before 1970: no clock
	}
	if second < w.second || second-w.second >= podSeconds {
		w.clear(second)
	}
	for ; w.second < second; w.second++ { // what was not measured since then
		next := w.second + 1
		w.cpu[next%podSeconds] = noMilliCPU
		if next%podMemoryEvery == 0 {
			w.memory[next/podMemoryEvery%podMemories] = -1
		}
	}
	if c := &w.cpu[second%podSeconds]; grown.OK && grown.Value < noMilliCPU {
		if v := uint32(grown.Value); *c == noMilliCPU || v > *c { // two ticks in one second: the higher
			*c = v
		}
	}
	if memoryBytes.OK && memoryBytes.Value >= 0 {
		m := &w.memory[second/podMemoryEvery%podMemories]
		*m = max(*m, memoryBytes.Value)
	}
}

// Report is how use was spread as of the last Add. It is not OK until the history fills the window, nor
// where too little of it was measured to tell a percentile.
func (w *PodWindow) Report() (PodSpread, bool) {
	var cpu [podSeconds]uint32
	var memory [podMemories]int64
	n, m, sum := 0, 0, int64(0)
	for _, v := range w.cpu {
		if v != noMilliCPU {
			cpu[n] = v
			sum += int64(v)
			n++
		}
	}
	for _, v := range w.memory {
		if v >= 0 {
			memory[m] = v
			m++
		}
	}
	if w.second-w.first < podSeconds-1 || n < leastMeasured || m < leastMeasured {
		return PodSpread{}, false
	}
	slices.Sort(cpu[:n])
	slices.Sort(memory[:m])
	return PodSpread{
		MeanMilliCPU: sum / int64(n), P95MilliCPU: int64(cpu[p95Of(n)]), MaxMilliCPU: int64(cpu[n-1]),
		P95MemoryBytes: memory[p95Of(m)], MaxMemoryBytes: memory[m-1],
	}, true
}

// p95Of is the index, among n sorted values, of the smallest that at least 95 of 100 are not above.
func p95Of(n int) int { return (95*n+99)/100 - 1 }
