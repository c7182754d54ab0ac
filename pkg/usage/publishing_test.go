package usage

import (
	"math"
	"testing"
	"testing/quick"
	"time"
)

var aRule = PublishRule{
	MinInterval: time.Second, AverageInterval: 75 * time.Second, Heartbeat: 2 * time.Minute,
	FloorPermille: 5, JumpPermille: 100, BudgetPermilleSeconds: 200,
}

// writesOf returns the seconds at which a rule writes when the error at each second is what `at` says.
// What is written is right at that second: the error is of the use since then.
func writesOf(r PublishRule, seconds int, at func(second int, sinceWrite int) int64) []int {
	var p Publishing
	p.Wrote(epoch)
	var writes []int
	last := 0
	for s := 1; s <= seconds; s++ {
		now := epoch.Add(time.Duration(s) * time.Second)
		if p.Due(r, now, at(s, s-last)) {
			p.Wrote(now)
			writes, last = append(writes, s), s
		}
	}
	return writes
}

func TestWritesComeWhereTheErrorIs(t *testing.T) {
	first := func(writes []int) int {
		if len(writes) == 0 {
			return 0
		}
		return writes[0]
	}
	for name, tc := range map[string]struct {
		errorPermille int64
		want          int
	}{
		"no error: the heartbeat":        {0, 120},
		"below the floor: the heartbeat": {4, 120},
		"5 permille: 200/5 s":            {5, 40},
		"20 permille: 200/20 s":          {20, 10},
		"99 permille: 200/99 s":          {99, 3},
		"100 permille: at once":          {100, 1},
	} {
		if got := first(writesOf(aRule, 200, func(int, int) int64 { return tc.errorPermille })); got != tc.want {
			t.Errorf("%s: first write at %d s, want at %d s", name, got, tc.want)
		}
	}
}

func TestANodeThatNeverRestsIsWrittenHardlyMoreOftenThanTheAverage(t *testing.T) {
	// Whatever is written, 30 permille are wrong a second later: noise.
	writes := writesOf(aRule, 24*3600, func(int, int) int64 { return 30 })
	want := 24 * 3600 / 75
	if got := len(writes); got > want*11/10 || got < want*9/10 {
		t.Errorf("%d writes a day, want about %d: one in 75 s", got, want)
	}
}

func TestJumpsAreToldOfWhateverThePriceButNeverTwiceWithinTheInterval(t *testing.T) {
	r := aRule
	r.MinInterval = 5 * time.Second
	writes := writesOf(r, 1000, func(int, int) int64 { return 500 })
	if len(writes) != 200 {
		t.Errorf("%d writes in 1000 s of jumps, want one in 5 s", len(writes))
	}
	var p Publishing
	p.Wrote(epoch)
	if p.MayWrite(r, epoch.Add(4*time.Second)) || !p.MayWrite(r, epoch.Add(5*time.Second)) {
		t.Error("news may be written exactly from the interval on")
	}
}

func TestTheFirstWriteAndOneAfterTheClockWasSetBackAreDue(t *testing.T) {
	var p Publishing
	if !p.Due(aRule, epoch, 0) {
		t.Error("the first write is not due")
	}
	p.Wrote(epoch)
	if !p.Due(aRule, epoch.Add(-time.Hour), 0) || !p.MayWrite(aRule, epoch.Add(-time.Hour)) {
		t.Error("after the clock was set back readers would not be told for an hour")
	}
}

func TestTheErrorIsAShareOfTheCapacityWhateverTheNumbers(t *testing.T) {
	f := func(told, is, capacity, want int64) {
		t.Helper()
		if got := ErrorPermille(told, is, capacity); got != want {
			t.Errorf("ErrorPermille(%d, %d, %d) = %d, want %d", told, is, capacity, got, want)
		}
	}
	f(1000, 1040, 4000, 10)
	f(1040, 1000, 4000, 10)
	f(1000, 1039, 4000, 9) // 39/4000 = 9.75 permille
	f(7, 7, 0, 0)
	f(7, 8, 0, 1000)
	f(0, 9000, 4000, 1000)
	f(math.MinInt64, math.MaxInt64, 4000, 1000)
	f(0, 1<<59, 1<<60, 500)
	within := func(told, is, capacity int64) bool {
		got := ErrorPermille(told, is, capacity)
		return got >= 0 && got <= 1001
	}
	if err := quick.Check(within, nil); err != nil {
		t.Error(err)
	}
}
