package planner

import (
	"math"
	"testing"
	"testing/quick"
	"time"

	"github.com/google/go-cmp/cmp"
)

var monday = time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC)

// machine has the shares that use gives, one a slot.
func machine(name string, slots int, use func(i int) float64) Machine {
	m := Machine{Name: name, Cores: 1, Start: monday, Shares: make([]float32, slots)}
	for i := range m.Shares {
		m.Shares[i] = float32(use(i))
	}
	return m
}

func TestAGroupIsTheSumOfItsMembersByCores(t *testing.T) {
	a := Machine{Name: "a", Cores: 1, Start: monday, Shares: []float32{0.5, 0.5, -1, 0.5}}
	b := Machine{Name: "b", Cores: 3, Start: monday.Add(5 * time.Minute), Shares: []float32{0.1, 0.1, -1, 0.4}}
	got := Group([]Machine{b, a}, 2)
	want := []Machine{{Name: "group 1", Cores: 4, Start: monday, Shares: []float32{
		0.125, // (1 x 0.5 + 3 x nothing) / 4
		0.2,   // (1 x 0.5 + 3 x 0.1) / 4
		0.075, // (1 x nothing + 3 x 0.1) / 4
		0.125,
		0.3, // (1 x nothing + 3 x 0.4) / 4
	}}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("groups (-want +got):\n%s", diff)
	}
}

func TestAGroupIsCutWhereItWasAwayTooLong(t *testing.T) {
	gap := 9 * slotsPerDay
	m := machine("a", gap+3, func(i int) float64 {
		if i > 1 && i < gap {
			return -1
		}
		return 0.25
	})
	got := Group([]Machine{m}, 1)
	if len(got) != 2 || len(got[0].Shares) != 2 || len(got[1].Shares) != 3 || !got[1].Start.Equal(monday.Add(9*24*time.Hour)) {
		t.Errorf("got %d parts", len(got))
	}
}

func TestMachinesThatWereHardlyThereAreNotGrouped(t *testing.T) {
	long := machine("a", 100, func(int) float64 { return 0.1 })
	short := machine("b", 49, func(int) float64 { return 0.9 })
	if got := Group([]Machine{long, short}, 1); len(got) != 1 || got[0].Shares[0] != 0.1 {
		t.Errorf("got %+v", got)
	}
	if got := Group([]Machine{long}, 3); got != nil {
		t.Errorf("a group of one of three: %+v", got)
	}
}

func TestTheReferencesAreWhatTheirNamesSay(t *testing.T) {
	n, h := &nSigma{}, newHistogram()
	for i := range 2 * slotsPerDay { // half of the time 0.2, half 0.4: mean 0.3, standard deviation 0.1
		share := float32(0.2 + 0.2*float64(i%2))
		n.add(i, share)
		h.add(i, share)
		n.add(i, -1)
		h.add(i, -1)
	}
	if got := n.next(12); math.Abs(float64(got.base)-0.3) > 1e-4 || math.Abs(float64(got.unit)-0.1) > 1e-4 {
		t.Errorf("n-sigma: %+v, want 0.3 + m x 0.1", got)
	}
	if got := h.next(12); got.base < 0.4 || got.base > 0.4*1.02 || got.unit != got.base {
		t.Errorf("histogram: %+v, want 0.4 and at most 2 %% more", got)
	}
	// A day at 0.1 later three quarters of the weight are there and a quarter is older: p95 is still 0.4.
	for i := range slotsPerDay {
		h.add(i, 0.1)
	}
	if got := h.next(12); got.base < 0.4 {
		t.Errorf("histogram after a quiet day: %+v, want 0.4 still", got)
	}
	for i := range slotsPerDay { // a sixteenth is older, half of it 0.4: 3 %
		h.add(i, 0.1)
	}
	if got := h.next(12); got.base > 0.21 {
		t.Errorf("histogram after two quiet days: %+v, want 0.2 or less", got)
	}
	if got := (requests{}).next(12); got.at(7) != 1 {
		t.Errorf("requests: %+v, want the capacity whatever the margin", got)
	}
}

func TestAnOutcomeIsCountedByHand(t *testing.T) {
	truth := []float32{0.5, 0.2, 0.9, 0.1}
	by := []forecast{{0.3, 0.1}, {0.3, 0.1}, {0.3, 0.1}, {-0.5, 0.1}}
	// With margin 2 the limits are 0.5, 0.5, 0.5 and 0: the third is exceeded by 0.4, the fourth by 0.1.
	got := outcome(truth, by, 2)
	want := Outcome{Margin: 2, Violations: 0.5, Gain: (0.5 + 0.5 + 0.5 + 1) / 4, WorstExcess: 0.4}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b float64) bool { return math.Abs(a-b) < 1e-6 })); diff != "" {
		t.Errorf("outcome (-want +got):\n%s", diff)
	}
}

func TestASweptMarginViolatesAsOftenAsAskedAndNoMore(t *testing.T) {
	holds := func(truths, bases, units []uint16, ratePercent uint8) bool {
		n := min(len(truths), len(bases), len(units))
		if n == 0 {
			return true
		}
		truth, by := make([]float32, n), make([]forecast, n)
		for i := range n {
			truth[i] = float32(truths[i]) / math.MaxUint16
			by[i] = forecast{float32(bases[i]) / math.MaxUint16, float32(units[i]) / math.MaxUint16 / 4}
		}
		rate := float64(ratePercent%100) / 100
		margin := marginAt(neededMargins(truth, by), rate)
		o := outcome(truth, by, margin)
		if o.Gain < 0 || o.Gain > 1 || math.IsNaN(o.Gain) || math.IsNaN(o.Margin) {
			return false
		}
		return o.Violations <= rate || margin >= 1e6
	}
	if err := quick.Check(holds, &quick.Config{MaxCount: 500}); err != nil {
		t.Error(err)
	}
}

func TestTheLastIntervalsHaveNoTruth(t *testing.T) {
	shares := []float32{0.1, 0.4, -1, 0.2, 0.3}
	for i, want := range []struct {
		peak float32
		ok   bool
	}{{0.4, true}, {0.2, true}, {0.3, true}, {0, false}, {0, false}} {
		if peak, ok := peakAhead(shares, i, 2); peak != want.peak || ok != want.ok {
			t.Errorf("after %d: %v, %v, want %+v", i, peak, ok, want)
		}
	}
}

// A back-test sees nothing of what is ahead: changing the future changes no forecast of before.
func TestNoMethodSeesTheFuture(t *testing.T) {
	use := func(i int) float64 { return 0.3 + 0.2*math.Sin(float64(i)/40) }
	const cut = 2 * slotsPerDay
	a := machine("a", 3*slotsPerDay, use)
	b := machine("a", 3*slotsPerDay, func(i int) float64 {
		if i > cut {
			return 0.99
		}
		return use(i)
	})
	ra, rb := replayMachine(&a, DefaultHorizons()), replayMachine(&b, DefaultHorizons())
	checked := 0
	for h := range ra.horizons {
		for i, slot := range ra.horizons[h].slot {
			if int(slot) > cut {
				break
			}
			for k := range methods() {
				checked++
				if ra.horizons[h].by[k][i] != rb.horizons[h].by[k][i] {
					t.Fatalf("%s at slot %d forecasts %+v and, with another future, %+v", methods()[k].name, slot, ra.horizons[h].by[k][i], rb.horizons[h].by[k][i])
				}
			}
		}
	}
	if checked < 3*slotsPerDay {
		t.Errorf("only %d forecasts were compared", checked)
	}
}

func TestABacktestOfADailyRhythmKnowsTheHour(t *testing.T) {
	var machines []Machine
	for k := range 3 {
		machines = append(machines, machine(string(rune('a'+k)), 8*slotsPerDay, func(i int) float64 {
			if m := (i + 7*k) % slotsPerDay; m >= 114 && m < 150 {
				return 0.7
			}
			return 0.1 + 0.01*float64(i%3)
		}))
	}
	done := make(chan int, 10)
	r := Backtest("rhythm", "single", machines, BacktestOptions{Horizons: DefaultHorizons(), Progress: func(n, _ int) { done <- n }})
	h, ok := r.compared()
	if !ok || h.Minutes != 60 || h.Intervals != 3*(7*slotsPerDay+1-12) || len(done) != 3 {
		t.Fatalf("%+v, %d done", h, len(done))
	}
	// What the histogram lacks is the time of day: it keeps 0.7 free at night too, or is exceeded each morning.
	if ratio := h.GainRatio(1); ratio < 1.3 {
		t.Errorf("gain at 0.1 %% is %.2f of the histogram's, want at least 1.3", ratio)
	}
	for _, v := range Verdicts([]BacktestResult{r}) {
		if v.Scope != "single" || v.Measured == "" {
			t.Errorf("verdict %+v", v)
		}
	}
}

func TestNothingToScoreIsNoResultAndNoPanic(t *testing.T) {
	short := machine("a", 10, func(int) float64 { return 0.5 })
	r := Backtest("short", "single", []Machine{short}, BacktestOptions{Horizons: DefaultHorizons()})
	if h, _ := r.compared(); h.Intervals != 0 || len(h.Methods) != 0 {
		t.Errorf("%+v", h)
	}
	if got := Verdicts([]BacktestResult{r}); got != nil {
		t.Errorf("verdicts %+v", got)
	}
}
