package usage

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// harmed plays a pod: what it does in a second, second by second, into Baselines.
type harmed struct {
	t         *testing.T
	baselines Baselines
	now       time.Time
	sample    HarmSample
	rule      HarmRule
}

func newHarmed(t *testing.T) *harmed {
	h := &harmed{t: t, now: time.Date(2026, 11, 2, 9, 0, 0, 0, time.UTC), rule: HarmRule{LowBatchPermille: 60, PriorPermille: 30, AllowancePermille: 150}}
	h.sample = HarmSample{Key: GroupKey{"/pod", 1}, CPUMicros: Of(0), CPUSomeMicros: Of(0), ThrottledMicros: Of(0)}
	h.add(time.Second, 0, 0, 0, Of(0))
	return h
}

// add lets time go by in which the pod used milliCPU, waited some and was throttled (both in thousandths of
// the time), on a node of 10 cores.
func (h *harmed) add(elapsed time.Duration, milliCPU, some, throttled int64, batch Reading) Harm {
	h.now = h.now.Add(elapsed)
	micros := elapsed.Microseconds() / 1000
	h.sample.CPUMicros.Value += milliCPU * micros
	h.sample.CPUSomeMicros.Value += some * micros
	h.sample.ThrottledMicros.Value += throttled * micros
	return h.baselines.Add(h.rule, h.now, NodeCPU{10_000, batch}, []HarmSample{h.sample})[0]
}

func (h *harmed) seconds(n int, milliCPU, some int64, batch Reading) (last Harm) {
	for range n {
		last = h.add(time.Second, milliCPU, some, 0, batch)
	}
	return last
}

func TestAPodsOwnPressureIsNotBlamedOnBatch(t *testing.T) {
	h := newHarmed(t)
	h.seconds(20, 800, 200, Of(0)) // alone it waits for itself a fifth of the time
	if got := h.seconds(1, 800, 200, Of(8000)); got.ExcessPermille != Of(0) || got.ExpectedPermille != Of(200) {
		t.Errorf("as much as alone: %+v, want an excess of 0 over 200", got)
	}
	if got := h.seconds(1, 800, 500, Of(8000)); got.ExcessPermille != Of(300) {
		t.Errorf("500 where 200 are its own: excess %+v, want 300", got.ExcessPermille)
	}
	if got := h.seconds(60, 800, 500, Of(8000)); got.ExcessPermille != Of(300) {
		t.Errorf("after a minute of batch: excess %+v, want 300: nothing is learned beside batch", got.ExcessPermille)
	}
}

func TestWhatIsExpectedGoesByThePodsUse(t *testing.T) {
	h := newHarmed(t)
	h.seconds(20, 200, 40, Of(0))
	h.seconds(20, 1600, 400, Of(0))
	tests := []struct {
		name           string
		milliCPU, want int64
	}{
		{"a use that was seen", 1600, 400},
		{"a lower one that was seen", 200, 40},
		{"between the two the lower one counts", 700, 40},
		{"above both the upper one counts", 6000, 400},
		{"below both the prior counts", 20, 30},
	}
	for _, tc := range tests {
		if got := h.seconds(1, tc.milliCPU, 0, Of(8000)); got.ExpectedPermille != Of(tc.want) {
			t.Errorf("%s: expected %+v, want %d", tc.name, got.ExpectedPermille, tc.want)
		}
	}
}

func TestUsualUpsAndDownsAreNoHarm(t *testing.T) {
	h := newHarmed(t)
	for i := range 60 {
		h.seconds(1, 800, 100+100*int64(i%2), Of(0)) // 100 and 200 by turns: mean 150, mean deviation 50
	}
	got := h.seconds(1, 800, 200, Of(8000))
	if got.ExcessPermille != Of(0) || got.ExpectedPermille.Value < 230 || got.ExpectedPermille.Value > 300 {
		t.Errorf("%+v, want no excess over about 150 + 2.5 x 50 = 275", got)
	}
}

func TestMissingIsNotZero(t *testing.T) {
	h := newHarmed(t)
	h.seconds(20, 800, 300, Reading{}) // it is not known whether batch ran: nothing is learned
	if got := h.seconds(1, 800, 300, Of(8000)); got.ExcessPermille != Of(270) {
		t.Errorf("nothing learned: excess %+v, want 300 - 30", got.ExcessPermille)
	}
	h.sample.CPUSomeMicros = Reading{} // psi=0
	h.sample.ThrottledMicros = Reading{}
	if diff := cmp.Diff(Harm{}, h.seconds(2, 800, 0, Of(8000))); diff != "" {
		t.Errorf("without PSI (-want +got):\n%s", diff)
	}
	h.sample.RunDelayMicros = Of(0)
	h.seconds(1, 800, 0, Of(8000))
	h.sample.RunDelayMicros = Of(800_000) // 0.8 s waited beside 0.8 s run: half of it
	if got := h.seconds(1, 800, 0, Of(8000)); got.RunDelayPermille != Of(500) || got.ExcessPermille != Of(470) {
		t.Errorf("run delay alone: %+v, want 500 and an excess of 470", got)
	}
	h.sample.RunDelayMicros = Reading{} // the other pods' turn
	if got := h.seconds(10, 800, 0, Of(8000)); got.RunDelayPermille != Of(500) || got.ExcessPermille != Of(470) {
		t.Errorf("ten seconds later: %+v, want it to hold", got)
	}
	if got := h.seconds(1, 800, 0, Of(8000)); got != (Harm{}) {
		t.Errorf("after that: %+v, want nothing", got)
	}
}

func TestRunDelayOfItsOwnIsLearnedWhereAllOfTheTimeWasWithoutBatch(t *testing.T) {
	h := newHarmed(t)
	delay := int64(0)
	turn := func(batch int64) Harm { // measured each fourth second; a fifth of the time that it could run it waits
		h.sample.RunDelayMicros = Reading{}
		h.seconds(3, 800, 0, Of(batch))
		delay += 4 * 200_000
		h.sample.RunDelayMicros = Of(delay)
		return h.seconds(1, 800, 0, Of(0))
	}
	for range 10 {
		turn(8000)
	}
	if got := turn(8000); got.ExcessPermille != Of(170) { // 200 - 30
		t.Errorf("beside batch: %+v, want nothing learned", got)
	}
	for range 10 {
		turn(0)
	}
	if got := turn(8000); got.ExcessPermille != Of(0) {
		t.Errorf("learned without batch: %+v, want no excess", got)
	}
}

func TestThrottlingIsThePodsOwn(t *testing.T) {
	h := newHarmed(t)
	got := h.add(time.Second, 500, 450, 400, Of(8000))
	want := Harm{PressurePermille: Of(50), ThrottledPermille: Of(400), ExpectedPermille: Of(30), ExcessPermille: Of(20)}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("a pod that its own quota stops (-want +got):\n%s", diff)
	}
}

func TestAShortWindowHasAnAllowanceAndTeachesNothing(t *testing.T) {
	h := newHarmed(t)
	for range 20 {
		h.add(100*time.Millisecond, 800, 900, 0, Of(0))
	}
	got := h.add(100*time.Millisecond, 800, 500, 0, Of(8000))
	if got.ExcessPermille != Of(320) || got.ExpectedPermille != Of(30) { // 500 - 30 - 150
		t.Errorf("%+v, want an excess of 320 over 30", got)
	}
}

func TestALookBetweenTwoSamplesTakesNothingFromThem(t *testing.T) {
	h := newHarmed(t)
	h.seconds(20, 800, 200, Of(0))
	for range 9 {
		h.now = h.now.Add(100 * time.Millisecond)
		h.sample.CPUMicros.Value += 80_000
		h.sample.CPUSomeMicros.Value += 60_000
		got := h.baselines.Look(h.rule, h.now, []HarmSample{h.sample, {Key: GroupKey{"/unknown", 2}}})
		if got[0].PressurePermille != Of(600) || got[0].ExcessPermille != Of(250) || got[1] != (Harm{}) { // 600 - 200 - 150
			t.Fatalf("look: %+v, want 600, of which 250 too much, and nothing of a pod that is not known", got)
		}
	}
	got := h.add(100*time.Millisecond, 800, 600, 0, Of(8000))
	if got.PressurePermille != Of(600) || got.ExcessPermille != Of(400) { // 600 - 200 over the whole second
		t.Errorf("the second: %+v, want 600, of which 400 too much", got)
	}
}

func TestAfterAGapOrAStepOfTheClockNothingIsTold(t *testing.T) {
	for name, step := range map[string]time.Duration{"an hour's gap": time.Hour, "the clock was set back": -time.Hour, "no time went by": 0} {
		h := newHarmed(t)
		if got := h.add(step, 800, 500, 0, Of(8000)); got != (Harm{}) {
			t.Errorf("%s: %+v, want nothing", name, got)
		}
		if got := h.seconds(1, 800, 500, Of(8000)); got.ExcessPermille != Of(470) {
			t.Errorf("the second after %s: %+v, want it measured again", name, got)
		}
	}
	h := newHarmed(t)
	h.sample.CPUMicros.Value = 0
	h.seconds(1, 800, 0, Of(0))
	h.sample.CPUMicros = Of(0) // made anew with the same number
	if got := h.seconds(1, 0, 0, Of(0)); got != (Harm{}) {
		t.Errorf("a counter that went back: %+v, want nothing", got)
	}
}

func TestBinsAreInOrder(t *testing.T) {
	last := 0
	for _, c := range []struct {
		milliCPU int64
		want     int
	}{{-1, 0}, {0, 0}, {15, 0}, {16, 2}, {23, 2}, {24, 3}, {31, 3}, {32, 4}, {48, 5}, {1 << 40, baselineBins - 1}} {
		if got := binOf(c.milliCPU); got != c.want {
			t.Errorf("binOf(%d) = %d, want %d", c.milliCPU, got, c.want)
		}
	}
	for v := range int64(2_000_000) {
		if b := binOf(v); b < last || b >= baselineBins {
			t.Fatalf("binOf(%d) = %d after %d", v, b, last)
		} else {
			last = b
		}
	}
}
