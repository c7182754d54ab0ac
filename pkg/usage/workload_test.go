package usage

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// play samples pods of workloads every 10 s for a time; use says each pod's use at a time.
func play(w *Workloads, from time.Time, length time.Duration, pods []string, use func(at time.Time, workload string) int64) time.Time {
	at := from
	for ; at.Before(from.Add(length)); at = at.Add(10 * time.Second) {
		w.Begin(at)
		for _, p := range pods {
			v := use(at, p)
			w.Add(WorkloadSample{Workload: p, Class: "LatencySensitive", MilliCPU: Of(v), MemoryBytes: Of(v << 20)})
		}
	}
	return at
}

func TestAProfileIsOnePodsUseByTheHour(t *testing.T) {
	w := NewWorkloads(8)
	midnight := time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC)
	// Two pods of api use 1000 from 9 to 10 o'clock and else 100.
	use := func(at time.Time, _ string) int64 {
		if at.Hour() == 9 {
			return 1000
		}
		return 100
	}
	at := play(w, midnight, 23*time.Hour, []string{"pay/Deployment/api", "pay/Deployment/api"}, use)
	if got := w.Profiles(8)[0]; got.HourlyPeakMilliCPU != nil {
		t.Errorf("hours %v after 23 h, want none before the day is known", got.HourlyPeakMilliCPU)
	}
	play(w, at, time.Hour, []string{"pay/Deployment/api"}, use)
	got := w.Profiles(8)[0]
	for hour, peak := range got.HourlyPeakMilliCPU {
		want := int64(100)
		if hour == 9 {
			want = 1000
		}
		if peak < want*99/100 || peak > want*101/100 {
			t.Errorf("p95 of hour %d = %d, want %d", hour, peak, want)
		}
	}
	if len(got.HourlyPeakMilliCPU) != 24 || got.Pods != 1 || got.History < 23*time.Hour+59*time.Minute || got.History > 24*time.Hour {
		t.Errorf("%d hours, %d pods, %v of history; want 24, 1 and 24 h", len(got.HourlyPeakMilliCPU), got.Pods, got.History)
	}
	if got.MilliCPU.P50 > 101 || got.MilliCPU.Max != 1000 {
		t.Errorf("spread %+v, want a median of 100 and a maximum of 1000", got.MilliCPU)
	}
}

func TestAProfileFollowsAWorkloadThatChanged(t *testing.T) {
	w := NewWorkloads(8)
	midnight := time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC)
	level := int64(1000)
	use := func(time.Time, string) int64 { return level }
	at := play(w, midnight, 48*time.Hour, []string{"a"}, use)
	level = 100
	play(w, at, 8*24*time.Hour, []string{"a"}, use)
	// Eight days on, what was before counts for 1/256 of what is now: beyond p95 and p99.
	if got := w.Profiles(1)[0]; got.HourlyPeakMilliCPU[12] > 101 || got.MilliCPU.P99 > 101 {
		t.Errorf("p95 at noon %d, p99 %d; want the 100 of the last eight days", got.HourlyPeakMilliCPU[12], got.MilliCPU.P99)
	}
}

func TestEndedPodsSayHowLongAWorkloadRuns(t *testing.T) {
	w := NewWorkloads(8)
	play(w, epoch, time.Minute, []string{"jobs/CronJob/eod"}, func(time.Time, string) int64 { return 10 })
	if got := w.Profiles(1)[0]; got.HasRun {
		t.Errorf("run time %+v of pods that have not ended", got.RunSeconds)
	}
	for _, minutes := range []int{10, 10, 20} {
		w.Ended("jobs/CronJob/eod", time.Duration(minutes)*time.Minute)
	}
	w.Ended("jobs/CronJob/eod", -time.Minute)
	w.Ended("unknown", time.Minute)
	got := w.Profiles(1)[0].RunSeconds
	if got.Mean != 800 || got.Max != 1200 { // (600 + 600 + 1200) / 3
		t.Errorf("run time %+v, want a mean of 800 s and a maximum of 1200 s", got)
	}
}

func TestTheWorkloadsThatWereSeenLastAreKept(t *testing.T) {
	w := NewWorkloads(3)
	one := func(time.Time, string) int64 { return 1 }
	at := epoch
	for _, name := range []string{"a", "b", "c", "d"} {
		at = play(w, at, 10*time.Second, []string{name}, one)
	}
	var names []string
	for _, p := range w.Profiles(10) {
		names = append(names, p.Workload)
	}
	if diff := cmp.Diff([]string{"d", "b", "c"}, names); diff != "" { // d runs now; a made room for it
		t.Errorf("profiles (-want +got):\n%s", diff)
	}
}

// TestProfilesAreBoundedInMemoryAndDoNotAllocate: 64 workloads whose use varies tenfold. Measured: 3.0 MB.
func TestProfilesAreBoundedInMemoryAndDoNotAllocate(t *testing.T) {
	var names []string
	for i := range 64 {
		names = append(names, fmt.Sprintf("ns/Deployment/w%d", i))
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	w := NewWorkloads(64)
	use := func(at time.Time, _ string) int64 { return 100 + at.Unix()*7919%900 }
	at := play(w, epoch, 26*time.Hour, names, use)
	allocations := testing.AllocsPerRun(100, func() {
		at = at.Add(10 * time.Second)
		w.Begin(at)
		for _, n := range names {
			w.Add(WorkloadSample{Workload: n, MilliCPU: Of(use(at, n)), MemoryBytes: Of(1 << 30)})
		}
	})
	if allocations != 0 {
		t.Errorf("%v allocations an update, want none", allocations)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	const limit = 8 << 20
	if used := int64(after.HeapAlloc) - int64(before.HeapAlloc); used > limit {
		t.Errorf("%d bytes, want at most %d", used, limit)
	} else {
		t.Logf("%d bytes", used)
	}
	runtime.KeepAlive(w)
}

func BenchmarkWorkloadsAdd(b *testing.B) {
	w := NewWorkloads(64)
	at := epoch
	for b.Loop() {
		at = at.Add(10 * time.Second)
		w.Begin(at)
		w.Add(WorkloadSample{Workload: "a", MilliCPU: Of(at.Unix() % 900), MemoryBytes: Of(1 << 30)})
	}
}
