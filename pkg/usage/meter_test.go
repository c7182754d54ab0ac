package usage

import (
	"testing"
	"testing/quick"
	"time"

	"github.com/google/go-cmp/cmp"
)

var epoch = time.Date(2026, 3, 2, 9, 30, 0, 0, time.UTC)

func sampleAt(after time.Duration, groups ...GroupSample) Sample {
	return Sample{At: epoch.Add(after), Groups: groups}
}

func TestRatesAreGrowthOverElapsedTime(t *testing.T) {
	key := GroupKey{Path: "/kubepods/podx", ID: 7}
	type tick struct {
		after time.Duration
		cpu   Reading
	}
	tests := map[string]struct {
		ticks []tick
		want  Rates
	}{
		"the first reading has no rate": {
			ticks: []tick{{0, Of(5_000_000)}},
			want:  Rates{},
		},
		"half a core": { // 500,000 us in 1 s
			ticks: []tick{{0, Of(0)}, {time.Second, Of(500_000)}},
			want:  Rates{Window: time.Second, Measured: time.Second, MilliCPU: Of(500)},
		},
		"a missed tick widens the span and not the rate": { // 1,500,000 us in 3 s
			ticks: []tick{{0, Of(0)}, {3 * time.Second, Of(1_500_000)}},
			want:  Rates{Window: 3 * time.Second, Measured: 3 * time.Second, MilliCPU: Of(500)},
		},
		"a counter that runs backwards starts anew": {
			ticks: []tick{{0, Of(9_000_000)}, {time.Second, Of(100)}, {2 * time.Second, Of(250_100)}},
			want:  Rates{Window: time.Second, Measured: time.Second, MilliCPU: Of(250)},
		},
		"a clock that runs backwards starts anew": {
			ticks: []tick{{10 * time.Second, Of(0)}, {time.Second, Of(100_000)}, {2 * time.Second, Of(200_000)}},
			want:  Rates{Window: time.Second, Measured: time.Second, MilliCPU: Of(100)},
		},
		"a missing newest reading gives no rate": {
			ticks: []tick{{0, Of(0)}, {time.Second, Reading{}}},
			want:  Rates{Window: time.Second, Measured: time.Second},
		},
		"what is older than the window is forgotten": { // 1 core for 4 s, then idle for 4 s; the window is 4 s
			ticks: []tick{{0, Of(0)}, {4 * time.Second, Of(4_000_000)}, {6 * time.Second, Of(4_000_000)}, {8 * time.Second, Of(4_000_000)}},
			want:  Rates{Window: 4 * time.Second, Measured: 8 * time.Second, MilliCPU: Of(0)},
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			m := NewMeter(4 * time.Second)
			var got Usage
			for _, k := range tc.ticks {
				got = m.Add(sampleAt(k.after, GroupSample{Key: key, CPUMicros: k.cpu}))
			}
			if diff := cmp.Diff(tc.want, got.Groups[key]); diff != "" {
				t.Errorf("rates (-want +got):\n%s", diff)
			}
		})
	}
}

func TestAGroupThatVanishedForOneTickIsMeasuredAnew(t *testing.T) {
	key := GroupKey{Path: "/kubepods/podx", ID: 7}
	m := NewMeter(10 * time.Second)
	m.Add(sampleAt(0, GroupSample{Key: key, CPUMicros: Of(0)}))
	m.Add(sampleAt(time.Second))
	got := m.Add(sampleAt(2*time.Second, GroupSample{Key: key, CPUMicros: Of(2_000_000)}))
	if r := got.Groups[key]; r.MilliCPU.OK {
		t.Errorf("rate across a gap: %+v, want none", r)
	}
}

func TestARecreatedGroupIsAnotherGroup(t *testing.T) {
	m := NewMeter(10 * time.Second)
	m.Add(sampleAt(0, GroupSample{Key: GroupKey{Path: "/a", ID: 1}, CPUMicros: Of(0)}))
	again := GroupKey{Path: "/a", ID: 2}
	got := m.Add(sampleAt(time.Second, GroupSample{Key: again, CPUMicros: Of(1_000_000)}))
	if r := got.Groups[again]; r.MilliCPU.OK {
		t.Errorf("rate of a new group: %+v, want none", r)
	}
}

func TestPressureIsNeverAboveTheWhole(t *testing.T) {
	key := GroupKey{Path: "/a", ID: 1}
	m := NewMeter(10 * time.Second)
	m.Add(sampleAt(0, GroupSample{Key: key, CPUSomeMicros: Of(0)}))
	got := m.Add(sampleAt(time.Second, GroupSample{Key: key, CPUSomeMicros: Of(1_000_250)}))
	if diff := cmp.Diff(Of(1000), got.Groups[key].CPUSomePermille); diff != "" {
		t.Errorf("pressure (-want +got):\n%s", diff)
	}
}

func TestAConstantLoadHasAConstantRateWhateverTheTicks(t *testing.T) {
	key := GroupKey{Path: "/a", ID: 1}
	holds := func(gapsMillis []uint16, milliCPU uint16) bool {
		m := NewMeter(10 * time.Second)
		at, cpu := time.Duration(0), int64(0)
		for _, gap := range gapsMillis {
			step := time.Duration(gap%5000+1) * time.Millisecond
			at += step
			cpu += int64(milliCPU) * step.Milliseconds()
			u := m.Add(sampleAt(at, GroupSample{Key: key, CPUMicros: Of(cpu)}))
			r := u.Groups[key]
			if r.MilliCPU.OK && r.MilliCPU.Value != int64(milliCPU) {
				return false
			}
			if n := len(m.groups[key].points); n > pointsPerWindow+2 {
				return false
			}
		}
		return true
	}
	if err := quick.Check(holds, &quick.Config{MaxCount: 300}); err != nil {
		t.Error(err)
	}
}
