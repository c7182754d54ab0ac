package usage

import (
	"math"
	"testing"
	"time"
)

// noise is a fixed sequence of numbers from 0 to 1 that looks random.
type noise uint64

func (n *noise) next() float64 {
	*n = *n*6364136223846793005 + 1442695040888963407
	return float64(*n>>11) / (1 << 53)
}

func newTestEnvelope(t testing.TB) *Envelope {
	t.Helper()
	e, err := NewEnvelope(1_000_000)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// ask is a forecast to be checked, and the share of misses that is allowed.
type ask struct {
	slots            int
	quantilePermille int32
	most             float64
}

// checkMisses replays use, one value a slot, and after two days holds each kind of forecast to its share of misses.
func checkMisses(t *testing.T, name string, use []float64, asks []ask) {
	t.Helper()
	e := newTestEnvelope(t)
	missed, of := make([]int, len(asks)), 0
	for i, v := range use {
		at := monday.Add(time.Duration(i) * SlotLength)
		e.Add(at, Of(int64(v)))
		now := at.Add(SlotLength)
		e.Add(now, Reading{})
		if i < 2*slotsPerDay || i+longestHorizon >= len(use) {
			continue
		}
		of++
		for k, ask := range asks {
			a, ok := e.Peak(now, time.Duration(ask.slots)*SlotLength, ask.quantilePermille)
			if !ok {
				t.Fatalf("slot %d: no forecast", i)
			}
			for _, w := range use[i+1 : i+1+ask.slots] {
				if w > float64(a.Peak) {
					missed[k]++
					break
				}
			}
		}
	}
	for k, ask := range asks {
		if got := float64(missed[k]) / float64(of); got > ask.most {
			t.Errorf("%s, %d slots ahead, quantile %d: %.2f %% missed, at most %.2f %% may be", name, ask.slots, ask.quantilePermille, 100*got, 100*ask.most)
		}
	}
}

// What is promised is delivered whatever the noise looks like: smooth, with a heavy tail, or in bursts.
func TestTheShareOfMissesIsTheOnePromised(t *testing.T) {
	const days = 30
	shapes := map[string]func(n *noise, i int, before float64) float64{
		"even noise":   func(n *noise, _ int, _ float64) float64 { return 200_000 + 200_000*n.next() },
		"a heavy tail": func(n *noise, _ int, _ float64) float64 { return min(900_000, 20_000/math.Sqrt(n.next()+1e-9)) },
		"a slow walk": func(n *noise, _ int, before float64) float64 {
			return min(800_000, max(50_000, before+40_000*(n.next()-0.5)))
		},
		"bursts": func(n *noise, _ int, _ float64) float64 { return 50_000 + 500_000*math.Floor(1.004*n.next()) },
		"day and night ": func(n *noise, i int, _ float64) float64 {
			return 300_000 + 200_000*math.Sin(2*math.Pi*float64(i)/288) + 50_000*n.next()
		},
	}
	for name, shape := range shapes {
		n, use, before := noise(7), []float64{}, 200_000.0
		for i := range days * slotsPerDay {
			before = shape(&n, i, before)
			use = append(use, before)
		}
		// Four hours ahead there are few excesses to learn from in a month.
		checkMisses(t, name, use, []ask{{1, 990, 0.015}, {12, 990, 0.015}, {48, 990, 0.02}, {12, 950, 0.06}})
	}
}

// A service that opens at 09:30 every day is foreseen at 09:00, and what it needs is not kept free at noon on.
func TestTheOpeningOfTheDayIsForeseen(t *testing.T) {
	e := newTestEnvelope(t)
	busy := func(i int) int64 { // 09:30 to 10:30
		if m := i % slotsPerDay; m >= 114 && m < 126 {
			return 600_000
		}
		return 100_000
	}
	const days = 9
	slot := 0
	advance := func(until int) time.Time {
		for ; slot < until; slot++ {
			e.Add(monday.Add(time.Duration(slot)*SlotLength), Of(busy(slot)))
		}
		now := monday.Add(time.Duration(slot) * SlotLength)
		e.Add(now, Reading{})
		return now
	}
	peak := func(now time.Time) int64 {
		a, ok := e.Peak(now, time.Hour, 990)
		if !ok {
			t.Fatalf("%v: no forecast", now)
		}
		return a.Peak
	}
	day := days * slotsPerDay
	night := peak(advance(day + 4*slotsPerHour))
	early := peak(advance(day + 9*slotsPerHour))
	if night > 400_000 {
		t.Errorf("at 04:00: %d, want well below the day's peak of 600000", night)
	}
	if early < 600_000 {
		t.Errorf("at 09:00: %d, the peak of 600000 at 09:30 was not foreseen", early)
	}
}

func TestAJumpIsAnsweredBeforeItsSlotEnds(t *testing.T) {
	e := newTestEnvelope(t)
	for i := range 5 * slotsPerDay {
		e.Add(monday.Add(time.Duration(i)*SlotLength), Of(100_000))
	}
	now := monday.Add(5*24*time.Hour + 10*time.Second)
	e.Add(now, Of(100_000))
	before, _ := e.Peak(now, time.Hour, 990)
	e.Add(now.Add(time.Second), Of(700_000))
	after, ok := e.Peak(now.Add(time.Second), time.Hour, 990)
	if !ok || before.Peak > 200_000 || after.Peak < 700_000 {
		t.Errorf("peak %d before and %d after a use of 700000", before.Peak, after.Peak)
	}
}

func TestAHigherQuantileIsNeverALowerPeak(t *testing.T) {
	e, n := newTestEnvelope(t), noise(3)
	for i := range 6 * slotsPerDay {
		at := monday.Add(time.Duration(i) * SlotLength)
		e.Add(at, Of(int64(100_000+300_000*n.next())))
		if i < slotsPerDay || i%97 != 0 {
			continue
		}
		last := int64(0)
		for _, q := range []int32{500, 700, 900, 950, 980, 990, 999} {
			a, ok := e.Peak(at, time.Hour, q)
			if !ok || a.Peak < last || a.Base > a.Peak {
				t.Fatalf("slot %d, quantile %d: %+v after %d", i, q, a, last)
			}
			last = a.Peak
		}
	}
}

func TestAProfileTellsWhenThePeakIs(t *testing.T) {
	f := newForecaster(t)
	now := feed(f, 8*slotsPerDay, func(i int) int64 {
		if m := i % slotsPerDay; m >= 114 && m < 126 {
			return 6000
		}
		return 1000
	})
	f.Add(now, Reading{}, Reading{})
	p, ok := f.Profile(now, 24, time.Hour, 990)
	if !ok || len(p.PeakMilliCPU) != 24 || len(p.MedianMilliCPU) != 24 || !p.Start.Equal(now) {
		t.Fatalf("%+v, %v", p, ok)
	}
	if p.PeakMilliCPU[9] < 6000 || p.PeakMilliCPU[15] >= 6000 || p.PeakMilliCPU[15] <= 1000 {
		t.Errorf("peaks by hour %v, want 6000 at 09 and less at 15", p.PeakMilliCPU)
	}
	if p.MedianMilliCPU[15] != 1000 {
		t.Errorf("medians by hour %v, want 1000 at 15", p.MedianMilliCPU)
	}
}

// What happens at a time of day is expected at that time, also where it happened on one of the days only.
func TestTheUsualBaseIsTheHighestOfTheDaysBefore(t *testing.T) {
	h := &slots{}
	h.clear(0)
	for i := range slotsKept {
		use := float32(100)
		switch slotsKept - i { // slots ago
		case slotsPerDay:
			use = 200
		case 2 * slotsPerDay:
			use = 400
		case 7 * slotsPerDay:
			use = 300
		case 3 * slotsPerDay:
			use = 900
		}
		h.push(use, use)
	}
	if got, want := h.bases(0, 12, 0), [basesCount]float64{100, 200, 400}; got != want {
		t.Errorf("bases %v, want %v", got, want)
	}
	if got, want := h.bases(0, 12, 500), [basesCount]float64{500, 500, 500}; got != want {
		t.Errorf("bases with 500 in the open slot %v, want %v", got, want)
	}
	empty := &slots{}
	empty.clear(0)
	if got, want := empty.bases(0, 12, 7), [basesCount]float64{7, 7, 7}; got != want {
		t.Errorf("bases without history %v, want %v", got, want)
	}
}
