package usage

import (
	"math"
	"runtime"
	"slices"
	"testing"
	"testing/quick"
	"time"
)

func TestAWindowIsHowUseWasSpreadOverItsLength(t *testing.T) {
	w := NewWindows()
	// 100 s of 1000 milli-cores, then one minute in which second i uses i+1.
	for s := range 100 {
		w.Add(epoch.Add(time.Duration(s)*time.Second), Of(1000), Of(7<<30))
	}
	for i := range 60 {
		w.Add(epoch.Add(time.Duration(100+i)*time.Second), Of(int64(i)+1), Of(7<<30))
	}
	got := w.Report(epoch.Add(159 * time.Second))
	if len(got) != 2 || got[0].Length != 10*time.Second || got[1].Length != time.Minute {
		t.Fatalf("windows %+v, want those of 10 s and 1 min: the others are longer than the history", got)
	}
	near := func(name string, got, low, high int64) {
		t.Helper()
		if got < low || got > high {
			t.Errorf("%s = %d, want %d to %d", name, got, low, high)
		}
	}
	ten, minute := got[0].MilliCPU, got[1].MilliCPU
	near("mean of 10 s", ten.Mean, 55, 56) // 51..60
	near("max of 10 s", ten.Max, 60, 60)
	near("p50 of 10 s", ten.P50, 54, 57)
	near("mean of 1 min", minute.Mean, 30, 33) // 1..60, of which up to a tenth is left out
	near("p50 of 1 min", minute.P50, 29, 33)
	near("p95 of 1 min", minute.P95, 55, 58)
	near("p99 of 1 min", minute.P99, 58, 60)
	near("memory", got[0].MemoryBytes.P50, 7<<30-7<<30/100, 7<<30)
}

// TestQuantilesAreWithinOnePercent compares with the exact quantiles of the same values.
func TestQuantilesAreWithinOnePercent(t *testing.T) {
	holds := func(values []uint16) bool {
		if len(values) == 0 {
			return true
		}
		s := newSpreader()
		for _, v := range values {
			s.add(int64(v)+10, 1) // a range of 1 to 6,500
		}
		slices.Sort(values)
		for _, q := range []float64{0.5, 0.95, 0.99} {
			exact := float64(values[int(q*float64(len(values)-1))]) + 10
			if math.Abs(float64(s.quantile(q))-exact) > exact*sketchError+0.5 {
				return false
			}
		}
		return true
	}
	if err := quick.Check(holds, nil); err != nil {
		t.Error(err)
	}
}

func TestWhatIsNoMeasurementLeavesNoTrace(t *testing.T) {
	holds := func(values []int64, ok []bool, weight float64) bool {
		w, s := NewWindows(), newSpreader()
		for i, v := range values {
			r := Reading{Value: v, OK: i < len(ok) && ok[i]}
			w.Add(epoch.Add(time.Duration(i)*time.Second), r, r)
			s.add(v, weight)
		}
		s.add(1, math.NaN())
		s.add(1, math.Inf(1))
		spreads := []Spread{}
		for _, r := range w.Report(epoch.Add(time.Duration(len(values)) * time.Second)) {
			spreads = append(spreads, r.MilliCPU, r.MemoryBytes)
		}
		if own, ok := s.spread(); ok {
			spreads = append(spreads, own)
		}
		for _, sp := range spreads {
			if sp.Mean < 0 || sp.P50 < 0 || sp.P95 < sp.P50 || sp.P99 < sp.P95 || sp.Max < sp.P99 || sp.Max > 1<<60 {
				return false
			}
		}
		return true
	}
	if err := quick.Check(holds, &quick.Config{MaxCount: 500}); err != nil {
		t.Error(err)
	}
}

func TestAClockThatStepsBackAndALongGapStartTheWindowsAnew(t *testing.T) {
	for name, jump := range map[string]time.Duration{"back": -time.Hour, "a gap": 2 * time.Hour} {
		w := NewWindows()
		for s := range 30 {
			w.Add(epoch.Add(time.Duration(s)*time.Second), Of(9), Of(9))
		}
		now := epoch.Add(jump)
		w.Add(now, Of(1), Of(1))
		if got := w.Report(now); len(got) != 0 {
			t.Errorf("%s: %+v, want no window yet", name, got)
		}
	}
}

// TestWindowsAreFixedInMemoryAndDoNotAllocate: three classes are kept, so a node's windows take at most
// three times this. Measured: 268 KB.
func TestWindowsAreFixedInMemoryAndDoNotAllocate(t *testing.T) {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	w := NewWindows()
	second := 0
	next := func() {
		second++
		// 20 to 40,000 milli-cores, 100 MiB to 100 GiB: as wide as a node's use gets
		v := int64(20 + second*7919%40_000)
		w.Add(epoch.Add(time.Duration(second)*time.Second), Of(v), Of(v<<20))
	}
	for range 3 * 3600 {
		next()
	}
	if got := testing.AllocsPerRun(5000, next); got != 0 {
		t.Errorf("%v allocations an update, want none", got)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	const limit = 400 << 10
	if used := int64(after.HeapAlloc) - int64(before.HeapAlloc); used > limit {
		t.Errorf("%d bytes, want at most %d", used, limit)
	} else {
		t.Logf("%d bytes", used)
	}
	runtime.KeepAlive(w)
}

func BenchmarkWindowsAdd(b *testing.B) {
	w := NewWindows()
	second := 0
	for b.Loop() {
		second++
		w.Add(epoch.Add(time.Duration(second)*time.Second), Of(int64(second%4000)), Of(int64(second%4000)<<20))
	}
}
