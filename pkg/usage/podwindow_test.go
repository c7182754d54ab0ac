package usage

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
	"unsafe"
)

// podFeed adds one second after another to a PodWindow.
type podFeed struct {
	w      *PodWindow
	at     time.Time
	micros int64
}

func newPodFeed() *podFeed { return &podFeed{w: NewPodWindow(), at: time.Unix(1_800_000_000, 0)} }

// second adds a second in which the pod used this much.
func (f *podFeed) second(milliCPU, memoryBytes int64) {
	f.at = f.at.Add(time.Second)
	f.micros += milliCPU * 1000
	f.w.Add(f.at, 1, Of(f.micros), Of(memoryBytes))
}

func TestAPodsPercentilesAreThoseOfItsLastFiveMinutes(t *testing.T) {
	f, random := newPodFeed(), rand.New(rand.NewPCG(1, 2))
	var cpu []int64
	for i := range 2000 {
		v := random.Int64N(4000)
		f.second(v, int64(i)<<20)
		cpu = append(cpu, v)
		got, ok := f.w.Report()
		if want := i >= podSeconds-1; ok != want {
			t.Fatalf("after %d s there is a report: %v", i+1, ok)
		}
		if !ok || i == podSeconds-1 { // the first second has no rate
			continue
		}
		last := slices.Sorted(slices.Values(cpu[len(cpu)-podSeconds:]))
		var sum int64
		for _, v := range last {
			sum += v
		}
		// Of 300 values 285 are at most the 285th; of 30 samples of memory 29 are at most the one before the last.
		want := PodSpread{MeanMilliCPU: sum / 300, P95MilliCPU: last[284], MaxMilliCPU: last[299], MaxMemoryBytes: int64(i) << 20}
		want.P95MemoryBytes = got.P95MemoryBytes
		if got != want || got.P95MemoryBytes > got.MaxMemoryBytes || got.P95MemoryBytes < int64(i-2*podMemoryEvery)<<20 {
			t.Fatalf("after %d s: %+v, want %+v", i+1, got, want)
		}
	}
}

func TestAGapInAPodsHistoryIsNotZero(t *testing.T) {
	f := newPodFeed()
	for range podSeconds {
		f.second(1000, 1<<30)
	}
	for range 100 { // nothing is read: the rates before and after count, and the mean over the gap as one second
		f.at = f.at.Add(time.Second)
		f.micros += 1_000_000
		f.w.Add(f.at, 1, Reading{}, Reading{})
	}
	f.second(1000, 1<<30)
	f.second(3000, 1<<30)
	got, ok := f.w.Report()
	if want := (PodSpread{MeanMilliCPU: 1010, P95MilliCPU: 1000, MaxMilliCPU: 3000, P95MemoryBytes: 1 << 30, MaxMemoryBytes: 1 << 30}); !ok || got != want {
		t.Errorf("%+v, %v, want %+v", got, ok, want)
	}
	for range 290 {
		f.at = f.at.Add(time.Second)
		f.w.Add(f.at, 1, Reading{}, Reading{})
	}
	if got, ok := f.w.Report(); ok {
		t.Errorf("after 290 s without a measurement: %+v", got)
	}
}

func TestAPodsWindowBeginsAnew(t *testing.T) {
	for name, disturb := range map[string]func(f *podFeed){
		"the clock steps back":      func(f *podFeed) { f.at = f.at.Add(-time.Hour) },
		"nothing for five minutes":  func(f *podFeed) { f.at = f.at.Add(podSeconds * time.Second) },
		"the clock is before 1970":  func(f *podFeed) { f.w.Add(time.Unix(-5, 0), 1, Of(1), Of(1)); f.at = f.at.Add(-time.Hour) },
		"use beyond what there can": func(f *podFeed) { f.second(1<<40, 1); f.at = f.at.Add(-time.Hour) },
	} {
		f := newPodFeed()
		for range podSeconds {
			f.second(1000, 1<<30)
		}
		if _, ok := f.w.Report(); !ok {
			t.Fatal("no report after five minutes")
		}
		disturb(f)
		f.second(1000, 1<<30)
		if got, ok := f.w.Report(); ok {
			t.Errorf("%s: %+v, want none", name, got)
		}
	}
}

// A container that is found late brings the CPU time of its whole life into the sum.
func TestOtherGroupsInTheSumAreNoUse(t *testing.T) {
	f := newPodFeed()
	for range podSeconds {
		f.second(1000, 1<<30)
	}
	f.at, f.micros = f.at.Add(time.Second), f.micros+3_600_000_000
	f.w.Add(f.at, 2, Of(f.micros), Of(1<<30))
	f.at, f.micros = f.at.Add(time.Second), f.micros+2_000_000
	f.w.Add(f.at, 2, Of(f.micros), Of(1<<30))
	f.at, f.micros = f.at.Add(time.Second), 5 // one is gone
	f.w.Add(f.at, 1, Of(f.micros), Of(1<<30))
	if got, ok := f.w.Report(); !ok || got.MaxMilliCPU != 2000 {
		t.Errorf("%+v, %v, want a maximum of 2000", got, ok)
	}
}

func TestAPodWindowIsSmallAndAllocatesNothing(t *testing.T) {
	if size := unsafe.Sizeof(PodWindow{}); size > 1600 {
		t.Errorf("a PodWindow has %d bytes, want at most 1600", size)
	}
	f := newPodFeed()
	for range podSeconds {
		f.second(1000, 1<<30)
	}
	if n := testing.AllocsPerRun(1000, func() { f.second(1000, 1<<30) }); n != 0 {
		t.Errorf("%v allocations a second", n)
	}
	if n := testing.AllocsPerRun(100, func() { f.w.Report() }); n != 0 {
		t.Errorf("%v allocations a report", n)
	}
}

func BenchmarkPodWindowAdd(b *testing.B) {
	f := newPodFeed()
	b.ReportAllocs()
	for b.Loop() {
		f.second(1000, 1<<30)
	}
}

func BenchmarkPodWindowReport(b *testing.B) {
	f, random := newPodFeed(), rand.New(rand.NewPCG(1, 2))
	for range podSeconds {
		f.second(random.Int64N(4000), 1<<30)
	}
	b.ReportAllocs()
	for b.Loop() {
		f.w.Report()
	}
}
