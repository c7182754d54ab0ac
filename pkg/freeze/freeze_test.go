package freeze

import (
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/plimsoll/plimsoll/pkg/api/v1alpha1"
)

func calendar(t *testing.T, windows ...v1alpha1.FreezeWindow) Calendar {
	t.Helper()
	c, errs := Parse(windows, field.NewPath("w"))
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	return c
}

// when reads a moment with its offset.
func when(t *testing.T, text string) time.Time {
	t.Helper()
	at, err := time.Parse("2006-01-02 15:04:05 -0700", text)
	if err != nil {
		t.Fatal(err)
	}
	return at.UTC()
}

func TestHeldBack(t *testing.T) {
	opening := v1alpha1.FreezeWindow{Name: "market open", Schedule: "30 9 * * MON-FRI", TimeZone: "America/New_York", DurationSeconds: 1800, RampSeconds: 600}
	half := v1alpha1.FreezeWindow{Name: "settlement", Schedule: "0 10 * * *", TimeZone: "UTC", DurationSeconds: 3600, LendPermille: 400, RampSeconds: 100}
	monthEnd := v1alpha1.FreezeWindow{Name: "month end", Schedule: "0 18 28-31 * *", TimeZone: "Europe/Zurich", DurationSeconds: 6 * 3600, LastDayOfMonthOnly: true}
	night := v1alpha1.FreezeWindow{Name: "night", Schedule: "30 2 * * *", TimeZone: "Europe/Zurich", DurationSeconds: 600}
	for _, tc := range []struct {
		name   string
		window v1alpha1.FreezeWindow
		now    string
		want   int64
	}{
		{"long before", opening, "2026-11-25 09:00:00 -0500", 0},
		{"the ramp begins 600 s and the lead of 30 s before", opening, "2026-11-25 09:19:30 -0500", 0},
		{"half way down", opening, "2026-11-25 09:24:30 -0500", 500},
		{"the ramp ends before the window begins", opening, "2026-11-25 09:29:30 -0500", 1000},
		{"the window", opening, "2026-11-25 09:30:00 -0500", 1000},
		{"its last second", opening, "2026-11-25 09:59:59 -0500", 1000},
		{"after it", opening, "2026-11-25 10:00:00 -0500", 0},
		{"on a Saturday", opening, "2026-11-28 09:40:00 -0500", 0},
		{"in summer the same local time", opening, "2026-07-01 09:40:00 -0400", 1000},
		{"and not an hour later", opening, "2026-07-01 10:40:00 -0400", 0},

		{"four tenths stay lent", half, "2026-11-25 10:30:00 +0000", 600},
		{"half of the ramp to six tenths", half, "2026-11-25 09:58:40 +0000", 300},

		{"the last day of November", monthEnd, "2026-11-30 18:00:00 +0100", 1000},
		{"past midnight of it", monthEnd, "2026-11-30 23:59:59 +0100", 1000},
		{"the day before it", monthEnd, "2026-11-29 19:00:00 +0100", 0},
		{"the last day of February", monthEnd, "2027-02-28 19:00:00 +0100", 1000},
		{"28 February of a leap year", monthEnd, "2028-02-28 19:00:00 +0100", 0},
		{"29 February of a leap year", monthEnd, "2028-02-29 19:00:00 +0100", 1000},
		{"no ramp: the lead all the same", monthEnd, "2026-11-30 17:59:30 +0100", 1000},
		{"no ramp: before the lead", monthEnd, "2026-11-30 17:59:29 +0100", 0},

		// 29 March 2026: at 02:00 it is 03:00. 02:30 never is; by the clock before it is 03:30, by that after it 01:30.
		{"the clock goes forward: the first that can be meant", night, "2026-03-29 01:30:00 +0100", 1000},
		{"the clock goes forward: before it", night, "2026-03-29 01:29:29 +0100", 0},
		{"the clock goes forward: the last that can be meant", night, "2026-03-29 03:39:59 +0200", 1000},
		{"the clock goes forward: over", night, "2026-03-29 03:40:00 +0200", 0},
		// 25 October 2026: at 03:00 it is 02:00 again, so 02:30 is twice.
		{"the clock goes back: the first 02:30", night, "2026-10-25 02:30:00 +0200", 1000},
		{"the clock goes back: between the two", night, "2026-10-25 02:10:00 +0100", 1000},
		{"the clock goes back: the second 02:30", night, "2026-10-25 02:39:59 +0100", 1000},
		{"the clock goes back: over", night, "2026-10-25 02:40:00 +0100", 0},
		{"the day after it is once", night, "2026-10-26 02:40:00 +0100", 0},
	} {
		h := calendar(t, tc.window).At(when(t, tc.now))
		if h.Permille != tc.want || (h.Why == "") != (h.Permille == 0) && h.Permille != 0 {
			t.Errorf("%s: at %s %d is held back (%s), want %d", tc.name, tc.now, h.Permille, h.Why, tc.want)
		}
	}
	both := calendar(t, half, opening).At(when(t, "2026-11-25 09:40:00 -0500"))
	if both.Permille != 1000 || !strings.Contains(both.Why, `"market open" until 2026-11-25 10:00 EST`) {
		t.Errorf("where windows meet: %+v, want the strictest", both)
	}
}

// A window of a month that begins each minute is always open, and is found without going through all of its beginnings.
func TestTheRampNeverFallsBeforeItsWindow(t *testing.T) {
	c := calendar(t, v1alpha1.FreezeWindow{Name: "w", Schedule: "0 9 * * *", TimeZone: "Asia/Tokyo", DurationSeconds: 3600, RampSeconds: 3600})
	last := int64(0)
	for at := when(t, "2026-11-25 07:59:00 +0900"); at.Before(when(t, "2026-11-25 10:00:00 +0900")); at = at.Add(time.Second) {
		h := c.At(at)
		if h.Permille < last || h.Permille > 1000 {
			t.Fatalf("at %s %d is held back after %d", at, h.Permille, last)
		}
		last = h.Permille
	}
	if last != 1000 {
		t.Errorf("%d is held back in the window, want all", last)
	}
	always := calendar(t, v1alpha1.FreezeWindow{Name: "w", Schedule: "* * * * *", TimeZone: "UTC", DurationSeconds: 2_678_400})
	if h := always.At(when(t, "2026-11-25 10:00:00 +0900")); h.Permille != 1000 {
		t.Errorf("a window that never ends holds back %d", h.Permille)
	}
}

func TestBadWindowsAreNamedWithWhatIsAllowed(t *testing.T) {
	for name, tc := range map[string]struct {
		window v1alpha1.FreezeWindow
		want   []string
	}{
		"four fields":       {v1alpha1.FreezeWindow{Schedule: "30 9 * *", TimeZone: "UTC"}, []string{"w[0].schedule", "five fields"}},
		"a zone in it":      {v1alpha1.FreezeWindow{Schedule: "CRON_TZ=UTC 30 9 * * *", TimeZone: "UTC"}, []string{"w[0].schedule", "belongs in timeZone"}},
		"a day never there": {v1alpha1.FreezeWindow{Schedule: "0 0 31 2 *", TimeZone: "UTC"}, []string{"w[0].schedule", "never comes"}},
		"no zone":           {v1alpha1.FreezeWindow{Schedule: "30 9 * * *"}, []string{"w[0].timeZone", "Europe/London"}},
		"the host's zone":   {v1alpha1.FreezeWindow{Schedule: "30 9 * * *", TimeZone: "Local"}, []string{"w[0].timeZone"}},
		"a made-up zone":    {v1alpha1.FreezeWindow{Schedule: "x", TimeZone: "Mars/Base"}, []string{"w[0].timeZone", "Mars/Base", "w[0].schedule"}},
	} {
		_, errs := Parse([]v1alpha1.FreezeWindow{tc.window}, field.NewPath("w"))
		for _, want := range tc.want {
			if errs == nil || !strings.Contains(errs.ToAggregate().Error(), want) {
				t.Errorf("%s: %v, want it to say %q", name, errs, want)
			}
		}
	}
}

func TestAFreezeByHandHoldsAllBackUntilItsEnd(t *testing.T) {
	now := when(t, "2026-11-25 12:00:00 +0000")
	for _, tc := range []struct {
		annotation string
		want       int64
	}{
		{"", 0}, {"2026-11-25T12:00:01Z", 1000}, {"2026-11-25T12:00:00Z", 0}, {"2026-11-25T13:30:00+01:00", 1000}, {"tomorrow", 1000}, {strings.Repeat("x", 300), 1000},
	} {
		if h := ByHand(tc.annotation, now); h.Permille != tc.want || len(h.Why) > 200 || (h.Why != "") != (tc.want > 0) {
			t.Errorf("%q: %+v, want %d held back", tc.annotation, h, tc.want)
		}
	}
	if h := (Calendar{}).With("2026-11-25T13:00:00Z", now); h.Permille != 1000 {
		t.Errorf("with no window: %+v", h)
	}
}
