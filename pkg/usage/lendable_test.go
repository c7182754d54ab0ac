package usage

import (
	"testing"
	"testing/quick"
	"time"

	"github.com/google/go-cmp/cmp"
)

var aLendRule = LendRule{
	SafeLinePermille: 800, MarginPermille: 20, ColdMarginPermille: 100,
	RaiseAfter: 10 * time.Minute, DeadBandPermille: 10, Unit: 10,
}

func TestWhatCanBeLent(t *testing.T) {
	in := func(system, peak Reading, confidence int64) LendInput {
		return LendInput{Capacity: 4000, System: system, ForecastPeak: peak, ConfidencePermille: confidence}
	}
	tests := map[string]struct {
		in     LendInput
		want   LendSum
		wantOK bool
	}{
		"full confidence: 3200 - 200 - 1000 - 80": {in(Of(200), Of(1000), 1000), LendSum{3200, 200, 1000, 80, 1920}, true},
		// margin: 4000 x (20 + 80 x 0.5) / 1000
		"half of it": {in(Of(200), Of(1000), 500), LendSum{3200, 200, 1000, 240, 1760}, true},
		"none":       {in(Of(200), Of(1000), 0), LendSum{3200, 200, 1000, 400, 1600}, true},
		"a confidence that cannot be counts as full or none": {in(Of(0), Of(0), 5000), LendSum{3200, 0, 0, 80, 3120}, true},
		"a full node lends nothing, and not less":            {in(Of(200), Of(3500), 1000), LendSum{3200, 200, 3500, 80, 0}, true},
		"system use was not measured":                        {in(Reading{}, Of(1), 1000), LendSum{}, false},
		"there is no forecast":                               {in(Of(1), Reading{Value: 5}, 1000), LendSum{}, false},
		"a use below zero is no measurement":                 {in(Of(-1), Of(1), 1000), LendSum{}, false},
		"a node without capacity":                            {LendInput{System: Of(0), ForecastPeak: Of(0)}, LendSum{}, false},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			got, ok := aLendRule.Compute(tc.in)
			if ok != tc.wantOK {
				t.Fatalf("ok = %v, want %v", ok, tc.wantOK)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("sum (-want +got):\n%s", diff)
			}
		})
	}
}

func TestWhatIsPublishedFallsAtOnceAndRisesSlowly(t *testing.T) {
	type step struct {
		seconds  int // how long computed stays so
		computed int64
		want     int64 // what is published at the end of it
	}
	// Capacity 4000: the dead band is 40.
	tests := map[string][]step{
		"nothing before ten minutes were measured":           {{599, 2000, 0}, {80, 2000, 2000}},
		"down at once, half a dead band further":             {{700, 2000, 2000}, {1, 1500, 1480}, {1, 1490, 1480}, {1, 1400, 1380}},
		"up once ten minutes had it to spare":                {{700, 2000, 2000}, {1, 1000, 980}, {590, 2000, 980}, {90, 2000, 2000}},
		"a dip within the ten minutes makes it wait anew":    {{700, 2000, 2000}, {1, 1000, 980}, {500, 2000, 980}, {1, 1200, 980}, {590, 2000, 1200}, {90, 2000, 2000}},
		"a rise within the dead band is none":                {{700, 2000, 2000}, {3000, 2039, 2000}},
		"to zero and never below":                            {{700, 2000, 2000}, {1, 10, 0}, {1, 0, 0}},
		"amounts are whole units, never above what there is": {{700, 1999, 1990}},
	}
	for name, steps := range tests {
		t.Run(name, func(t *testing.T) {
			var l Lender
			now := epoch
			for i, s := range steps {
				var got int64
				for range s.seconds {
					now = now.Add(time.Second)
					got = l.Follow(aLendRule, now, s.computed, 4000)
				}
				if got != s.want {
					t.Errorf("after step %d (%d for %d s): %d, want %d", i, s.computed, s.seconds, got, s.want)
				}
			}
		})
	}
}

func TestNothingIsRaisedAcrossAGapOrAClockStep(t *testing.T) {
	for name, jump := range map[string]time.Duration{"a gap": time.Hour, "a step back": -time.Hour} {
		var l Lender
		for s := range 300 {
			l.Follow(aLendRule, epoch.Add(time.Duration(s)*time.Second), 2000, 4000)
		}
		after := epoch.Add(jump)
		for s := range 599 {
			if got := l.Follow(aLendRule, after.Add(time.Duration(s)*time.Second), 2000, 4000); got != 0 {
				t.Fatalf("%s: %d published %d s after it, want 0", name, got, s)
			}
		}
	}
}

func TestARestoredAmountFallsAtOnce(t *testing.T) {
	var l Lender
	l.Restore(1500)
	if got := l.Follow(aLendRule, epoch, 2000, 4000); got != 1500 {
		t.Errorf("after a restart: %d, want the 1500 of before", got)
	}
	if got := l.Follow(aLendRule, epoch.Add(time.Second), 1000, 4000); got != 980 {
		t.Errorf("%d, want 980", got)
	}
	l.Stop()
	if l.Published() != 0 {
		t.Error("a stopped lender publishes")
	}
}

// TestNoiseDoesNotFlap: a level with noise of 5 % of the capacity changes what is published a few times a
// day, not at each swing.
func TestNoiseDoesNotFlap(t *testing.T) {
	var l Lender
	changes, last := 0, int64(0)
	noise := uint32(1)
	for s := range 24 * 3600 {
		noise = noise*1664525 + 1013904223 // a linear congruential generator: the same noise each time
		computed := 2000 + int64(noise>>16)%200
		if got := l.Follow(aLendRule, epoch.Add(time.Duration(s)*time.Second), computed, 4000); got != last {
			changes, last = changes+1, got
		}
	}
	if changes == 0 || changes > 10 {
		t.Errorf("%d changes in a day of noise, want 1 to 10", changes)
	}
	if last < 1960 {
		t.Errorf("%d is published, want about the least that there was: 2000", last)
	}
}

func TestWhateverIsMeasuredWhatIsPublishedIsWithinWhatThereIs(t *testing.T) {
	holds := func(safe, margin, cold, band uint16, readings []int64, seconds []uint16, confidence int64) bool {
		r := LendRule{
			SafeLinePermille: int64(safe), MarginPermille: int64(margin), ColdMarginPermille: int64(cold),
			DeadBandPermille: int64(band), RaiseAfter: 10 * time.Second, Unit: 10,
		}
		var l Lender
		now := epoch
		for i, v := range readings {
			if len(seconds) > 0 {
				now = now.Add(time.Duration(seconds[i%len(seconds)]%30) * time.Second)
			}
			const capacity = 64_000
			sum, ok := r.Compute(LendInput{Capacity: capacity, System: Of(v % 64_000), ForecastPeak: Of(v / 3), ConfidencePermille: confidence})
			if !ok {
				l.Stop()
				continue
			}
			got := l.Follow(r, now, sum.Computed, capacity)
			if got < 0 || got > sum.Computed || got%10 != 0 || sum.Computed > capacity {
				return false
			}
		}
		return true
	}
	if err := quick.Check(holds, &quick.Config{MaxCount: 2000}); err != nil {
		t.Error(err)
	}
}

func TestAConstantInputSettles(t *testing.T) {
	holds := func(before []uint16, level uint16) bool {
		var l Lender
		now := epoch
		for _, v := range before {
			now = now.Add(7 * time.Second)
			l.Follow(aLendRule, now, int64(v), 64_000)
		}
		computed := int64(level)
		var got int64
		for range 700 {
			now = now.Add(time.Second)
			got = l.Follow(aLendRule, now, computed, 64_000)
		}
		for range 2000 {
			now = now.Add(time.Second)
			if l.Follow(aLendRule, now, computed, 64_000) != got {
				return false
			}
		}
		// within a dead band (640) and a unit of what there is
		return got <= computed && got > computed-640-10
	}
	if err := quick.Check(holds, &quick.Config{MaxCount: 200}); err != nil {
		t.Error(err)
	}
}

func TestLoans(t *testing.T) {
	lent, unused, beyond := SumLoans([]Loan{
		{1000, Of(400)},     // 600 unused
		{500, Of(800)},      // 300 beyond
		{200, Reading{}},    // not measured
		{0, Of(50)},         // asked for nothing: 50 beyond
		{100, Of(-5)},       // no use: 100 unused
		{-100, Reading{}},   // asked for nothing
		{300, Of(300)},      // exactly
		{-100, Of(100_000)}, // 100,000 beyond
	})
	if diff := cmp.Diff([]int64{2100, 700, 100_350}, []int64{lent, unused, beyond}); diff != "" {
		t.Errorf("lent, unused, beyond (-want +got):\n%s", diff)
	}
}

func TestAPeakIsThatOfTheLastMinutes(t *testing.T) {
	var p SlidingPeak
	f := func(second int, r, want Reading) {
		t.Helper()
		if got := p.Of(epoch.Add(time.Duration(second)*time.Second), 80*time.Second, r); got != want {
			t.Errorf("at %d s: %+v, want %+v", second, got, want)
		}
	}
	f(0, Of(5), Of(5))
	f(10, Of(90), Of(90))
	f(11, Reading{}, Reading{})
	f(60, Of(7), Of(90))
	f(90, Of(7), Of(90))  // 80 s ago
	f(105, Of(7), Of(7))  // more than 80 s and an eighth
	f(20, Of(3), Of(3))   // the clock was set back
	f(4000, Of(0), Of(0)) // a long gap
}
