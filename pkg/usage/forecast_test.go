package usage

import (
	"math"
	"testing"
	"testing/quick"
	"time"
	"unsafe"
)

// monday is a slot boundary, so that a test can count slots from it.
var monday = time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC)

func newForecaster(t testing.TB) *Forecaster {
	t.Helper()
	f, err := NewForecaster(Capacity{MilliCPU: 10_000, MemoryBytes: 64 << 30})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// feed adds one sample a slot from monday on and returns the instant after the last.
func feed(f *Forecaster, slots int, milliCPU func(i int) int64) time.Time {
	for i := range slots {
		f.Add(monday.Add(time.Duration(i)*SlotLength), Of(milliCPU(i)), Of(8<<30))
	}
	return monday.Add(time.Duration(slots) * SlotLength)
}

func constant(milliCPU int64) func(int) int64 { return func(int) int64 { return milliCPU } }

func TestACapacityOfNothingIsRefused(t *testing.T) {
	for _, c := range []Capacity{{}, {MilliCPU: 1}, {MemoryBytes: 1}, {MilliCPU: -1, MemoryBytes: 1}} {
		if _, err := NewForecaster(c); err == nil {
			t.Errorf("capacity %+v: no error", c)
		}
	}
}

func TestWithoutAFreshMeasurementThereIsNoForecast(t *testing.T) {
	f := newForecaster(t)
	if _, ok := f.Peak(monday, time.Hour, 990); ok {
		t.Error("a forecast without any measurement")
	}
	now := feed(f, slotsPerDay, constant(1000))
	if _, ok := f.Peak(now, time.Hour, 990); !ok {
		t.Error("no forecast after a day")
	}
	if _, ok := f.Peak(now.Add(20*time.Minute), time.Hour, 990); ok {
		t.Error("a forecast from a measurement 20 minutes old")
	}
	if _, ok := f.Peak(now.Add(-time.Hour), time.Hour, 990); ok {
		t.Error("a forecast from a measurement that is still to come")
	}
}

func TestAColdStartLendsLittleAndSaysSo(t *testing.T) {
	f := newForecaster(t)
	now := feed(f, 1, constant(500)).Add(-time.Second)
	got, ok := f.Peak(now, time.Hour, 990)
	if !ok || !got.ColdStart || got.PeakMilliCPU != 10_000 || got.ConfidencePermille != 0 {
		t.Errorf("in the first slot: %+v, %v; want the whole capacity, cold, no confidence", got, ok)
	}
	last := got.PeakMilliCPU
	for _, c := range []struct {
		slots           int
		lowest, highest int64 // of 10000, with 500 in use: what is lent is at most 9500 x sqrt(slots/288)
	}{{2, 9_200, 9_999}, {12, 8_000, 9_000}, {72, 5_200, 6_000}, {287, 500, 1_000}} {
		got, ok := f.Peak(feed(f, c.slots+1, constant(500)), time.Hour, 990)
		if !ok || !got.ColdStart || got.PeakMilliCPU < c.lowest || got.PeakMilliCPU > c.highest || got.PeakMilliCPU > last {
			t.Errorf("after %d slots: %+v, %v; want a peak from %d to %d", c.slots, got, ok, c.lowest, c.highest)
		}
		last = got.PeakMilliCPU
	}
}

func TestConfidenceGrowsWithHistory(t *testing.T) {
	f, last := newForecaster(t), int32(-1)
	for day := 1; day <= 9; day++ {
		now := feed(f, day*slotsPerDay, constant(500))
		got, ok := f.Peak(now, time.Hour, 990)
		if !ok || got.ConfidencePermille < last || (day < 7 && got.ConfidencePermille == last) {
			t.Errorf("day %d: confidence %d after %d", day, got.ConfidencePermille, last)
		}
		last = got.ConfidencePermille
	}
	if last != 1000 {
		t.Errorf("confidence after nine days: %d, want 1000", last)
	}
}

func TestAClockThatStepsBackDropsWhatHasNotBeen(t *testing.T) {
	f := newForecaster(t)
	now := feed(f, 2*slotsPerDay, func(i int) int64 {
		if i >= slotsPerDay {
			return 9000
		}
		return 1000
	})
	back := now.Add(-24 * time.Hour)
	f.Add(back, Of(1000), Of(1<<30))
	got, ok := f.Peak(back, time.Hour, 990)
	if !ok || got.PeakMilliCPU > 3000 || got.History != 24*time.Hour {
		t.Errorf("after a step back over the busy day: %+v, %v", got, ok)
	}
}

func TestAClockThatStepsFarAheadStartsCold(t *testing.T) {
	f := newForecaster(t)
	now := feed(f, 2*slotsPerDay, constant(1000)).Add(365 * 24 * time.Hour)
	f.Add(now, Of(1000), Of(1<<30))
	if got, ok := f.Peak(now, time.Hour, 990); !ok || !got.ColdStart || got.PeakMilliCPU != 10_000 {
		t.Errorf("a year ahead: %+v, %v; want a cold start", got, ok)
	}
}

func TestASnapshotRestoresTheForecast(t *testing.T) {
	f := newForecaster(t)
	now := feed(f, 3*slotsPerDay+17, func(i int) int64 { return int64(1000 + i%700) })
	f.Add(now, Reading{}, Reading{})
	b, err := f.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	g := newForecaster(t)
	if err := g.UnmarshalBinary(b); err != nil {
		t.Fatal(err)
	}
	want, _ := f.Peak(now, 4*time.Hour, 990)
	got, ok := g.Peak(now, 4*time.Hour, 990)
	if !ok || got != want {
		t.Errorf("restored: %+v, %v, want %+v", got, ok, want)
	}
}

func TestABrokenSnapshotIsRefusedAndChangesNothing(t *testing.T) {
	f := newForecaster(t)
	now := feed(f, slotsPerDay, constant(1000))
	want, _ := f.Peak(now, time.Hour, 990)
	whole, err := f.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	other := append([]byte{}, whole...)
	other[0]++
	tooMany := append([]byte{}, whole...)
	tooMany[versionBytes+11] = 0x7f
	for name, b := range map[string][]byte{
		"empty": nil, "cut": whole[:len(whole)-1], "long": append(append([]byte{}, whole...), 0),
		"another version": other, "too many slots": tooMany,
	} {
		if err := f.UnmarshalBinary(b); err == nil {
			t.Errorf("%s: no error", name)
		}
		if got, ok := f.Peak(now, time.Hour, 990); !ok || got != want {
			t.Errorf("%s: forecast %+v, %v, want %+v", name, got, ok, want)
		}
	}
}

// FuzzNoSnapshotMakesAForecastOutOfRange: whatever a file holds, what is published from it is a use.
func FuzzNoSnapshotMakesAForecastOutOfRange(f *testing.F) {
	g := newForecaster(f)
	feed(g, 100, constant(1000))
	b, err := g.MarshalBinary()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	nan := append([]byte{}, b...)
	for i := versionBytes + envelopeHeaderBytes; i+4 <= len(nan); i += 12 {
		copy(nan[i:], []byte{0, 0, 0xc0, 0x7f})
	}
	f.Add(nan)
	f.Fuzz(func(t *testing.T, b []byte) {
		g := newForecaster(t)
		if err := g.UnmarshalBinary(b); err != nil {
			return
		}
		checkForecast(t, g, g.cpu.slots.next.start())
	})
}

// checkForecast asks for forecasts and holds them to their ranges.
func checkForecast(t *testing.T, f *Forecaster, now time.Time) {
	t.Helper()
	for _, horizon := range []time.Duration{time.Second, 5 * time.Minute, time.Hour, 4 * time.Hour} {
		for _, q := range []int32{500, 950, 990, 999} {
			p, ok := f.Peak(now, horizon, q)
			if !ok {
				continue
			}
			if p.PeakMilliCPU < 0 || p.PeakMilliCPU > f.cpu.capacity || p.MedianMilliCPU < 0 || p.MedianMilliCPU > p.PeakMilliCPU ||
				p.PeakMemoryBytes < 0 || p.PeakMemoryBytes > f.memory.capacity || p.ConfidencePermille < 0 || p.ConfidencePermille > 1000 {
				t.Fatalf("horizon %v, quantile %d: %+v", horizon, q, p)
			}
		}
	}
}

func TestWhateverIsReadTheForecastStaysInRange(t *testing.T) {
	holds := func(cpu, memory []int64, gaps []int32, missing uint8) bool {
		f, at := newForecaster(t), monday
		for i := range cpu {
			m := Reading{}
			if i < len(memory) {
				m = Of(memory[i])
			}
			r := Of(cpu[i])
			if i%(int(missing)+1) == 1 {
				r = Reading{}
			}
			f.Add(at, r, m)
			if i < len(gaps) {
				at = at.Add(time.Duration(gaps[i]) * time.Second / 1000)
			}
			checkForecast(t, f, at)
		}
		return true
	}
	if err := quick.Check(holds, &quick.Config{MaxCount: 200}); err != nil {
		t.Error(err)
	}
	f := newForecaster(t)
	for i, v := range []int64{math.MaxInt64, math.MinInt64, 0, -1, math.MaxInt64} {
		f.Add(monday.Add(time.Duration(i)*SlotLength), Of(v), Of(v))
		checkForecast(t, f, monday.Add(time.Duration(i)*SlotLength))
	}
}

// The documented limit: 80 KiB a node, whatever happens on it.
func TestAForecasterHasAFixedSize(t *testing.T) {
	const limit = 80 << 10
	if got := unsafe.Sizeof(Forecaster{}); got > limit {
		t.Errorf("a Forecaster has %d bytes, want at most %d", got, limit)
	}
}

func TestAddAndPeakDoNotAllocate(t *testing.T) {
	f := newForecaster(t)
	at := feed(f, slotsKept, func(i int) int64 { return int64(i) })
	if n := testing.AllocsPerRun(1000, func() {
		f.Add(at, Of(1000), Of(1<<30))
		at = at.Add(SlotLength)
	}); n != 0 {
		t.Errorf("Add allocates %v times", n)
	}
	if n := testing.AllocsPerRun(100, func() { f.Peak(at, time.Hour, 990) }); n != 0 {
		t.Errorf("Peak allocates %v times", n)
	}
}

func BenchmarkAddOneSlot(b *testing.B) {
	f := newForecaster(b)
	at := feed(f, slotsKept, func(i int) int64 { return int64(i * 7 % 9000) })
	b.ReportAllocs()
	for b.Loop() {
		f.Add(at, Of(1000), Of(1<<30))
		at = at.Add(SlotLength)
	}
}

func BenchmarkPeak(b *testing.B) {
	f := newForecaster(b)
	at := feed(f, slotsKept, func(i int) int64 { return int64(i * 7 % 9000) })
	b.ReportAllocs()
	for b.Loop() {
		f.Peak(at, time.Hour, 990)
	}
}
