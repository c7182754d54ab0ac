package agent

import (
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// play has fast ticks come by so much later than each is due, over and over.
func play(p *punctuality, now time.Time, length time.Duration, late ...time.Duration) (end time.Time, observed int) {
	end = now.Add(length)
	for i := 0; p.due.Before(end); i++ {
		p.came(p.due.Add(late[i%len(late)]), func(float64) { observed++ })
	}
	return end, observed
}

func TestAnAgentThatGetsNoCPUSaysSoAndTakesItBack(t *testing.T) {
	var p punctuality
	now := at
	p.start(now)
	is := func(when string, want metav1.ConditionStatus, words string) {
		t.Helper()
		if c := p.condition(); c.Status != want || !strings.Contains(c.Message, words) {
			t.Errorf("%s: %+v, want %s and %q", when, c, want, words)
		}
	}
	is("before the first tick", metav1.ConditionTrue, "when it should")
	now, _ = play(&p, now, 2*time.Minute, 0, 20*time.Millisecond)
	is("while ticks are little late", metav1.ConditionTrue, "when it should")
	now, _ = play(&p, now, 5*time.Second, 730*time.Millisecond)
	is("at once when ticks are late", metav1.ConditionFalse, "one 730ms")
	now, _ = play(&p, now, 2*time.Minute, 730*time.Millisecond)
	is("while they are", metav1.ConditionFalse, "one 730ms")
	now, _ = play(&p, now, 30*time.Second, 0)
	is("half a minute after they were", metav1.ConditionFalse, "one 730ms")
	_, _ = play(&p, now, 2*time.Minute, 0)
	is("after a minute of good ones", metav1.ConditionTrue, "when it should")
}

// One tick in a hundred may be late: a machine has other work now and then.
func TestOneLateTickInAHundredIsNothingToTell(t *testing.T) {
	var p punctuality
	p.start(at)
	for range 10 {
		p.came(p.due.Add(60*time.Millisecond), func(float64) {})
		for range 120 {
			p.came(p.due, func(float64) {})
		}
		if c := p.condition(); c.Status != metav1.ConditionTrue {
			t.Fatalf("%+v", c)
		}
	}
}

// A tick that is five seconds late stands for fifty, or one long wait would hide among many good ticks.
func TestTicksThatAreLeftOutCountAsLate(t *testing.T) {
	var p punctuality
	p.start(at)
	var observed []float64
	p.came(at.Add(fastTick+450*time.Millisecond), func(s float64) { observed = append(observed, s) })
	if len(observed) != 5 || observed[0] != 0.45 || observed[4] < 0.049 || p.now.late != 4 {
		t.Errorf("observed %v, %d of them late, want 0.45, 0.35, 0.25, 0.15 and 0.05, the last of them not late", observed, p.now.late)
	}
}
