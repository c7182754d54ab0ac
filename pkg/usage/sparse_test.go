package usage

import (
	"testing"
	"time"
)

// A counter that is read every eighth second has a rate all the time, which is of its last measurements.
func TestRunDelayIsARateBetweenItsTurns(t *testing.T) {
	m := NewMeter(10 * time.Second)
	key := GroupKey{Path: "/pod", ID: 1}
	at := time.Unix(1000, 0)
	var got Reading
	second := func(delay Reading) {
		at = at.Add(time.Second)
		u := m.Add(Sample{At: at, Groups: []GroupSample{{Key: key, CPUMicros: Of(at.UnixMicro()), RunDelayMicros: delay}}})
		got = u.Groups[key].RunDelayPermille
	}
	turn := func(delay Reading, want Reading) {
		t.Helper()
		second(delay)
		for range 7 {
			if got != want {
				t.Errorf("%v: rate %+v, want %+v", at, got, want)
			}
			second(Reading{})
		}
	}
	turn(Of(5_000_000), Reading{}) // one measurement is no rate
	turn(Of(5_800_000), Of(100))   // 0.8 s in 8 s
	turn(Of(13_800_000), Of(550))  // 8.8 s in 16 s
	turn(Of(21_800_000), Of(1000)) // 16 s in the last 16 s
	turn(Of(1_000), Reading{})     // went back: another counter
	turn(Of(81_000), Of(10))
	turn(Of(1_681_000), Of(105)) // 1.68 s in 16 s
	for range 53 {               // 60 s since it was measured
		second(Reading{})
	}
	if want := Of(105); got != want {
		t.Errorf("a minute after the last measurement: %+v, want %+v", got, want)
	}
	second(Reading{})
	if got.OK {
		t.Errorf("more than a minute after the last measurement: %+v, want none", got)
	}
	turn(Of(2_000_000), Reading{}) // a growth across the gap would hide the gap
}

func TestRunDelayKeepsFewPointsWhateverTheTick(t *testing.T) {
	var s sparse
	at := time.Unix(1000, 0)
	for i := range 10_000 {
		at = at.Add(10 * time.Millisecond)
		s.add(10*time.Second, at, Of(int64(i)*10_000))
		if len(s.points) > pointsPerWindow+2 {
			t.Fatalf("%d points after %d measurements", len(s.points), i+1)
		}
	}
	if got := s.add(10*time.Second, at, Reading{}); got != Of(1000) {
		t.Errorf("a counter that grows as time does has %+v, want 1000", got)
	}
}
