package freeze

import (
	"fmt"
	"strings"
	"time"

	"github.com/robfig/cron/v3"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/plimsoll/plimsoll/pkg/api/v1alpha1"
)

// lead is how long before a window begins its ramp is over.
const lead = 30 * time.Second

// Calendar is the windows of a configuration.
type Calendar struct{ windows []window }

type window struct {
	config v1alpha1.FreezeWindow
	// begins has no time zone: it is asked in local times, written as if they were UTC.
	begins cron.Schedule
	zone   *time.Location
}

// Parse makes a Calendar. The errors name each field that is wrong below path, and what is allowed.
func Parse(windows []v1alpha1.FreezeWindow, path *field.Path) (Calendar, field.ErrorList) {
	var c Calendar
	var errs field.ErrorList
	parser := cron.NewParser(cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow)
	for i, w := range windows {
		at := path.Index(i)
		begins, err := parser.Parse(w.Schedule)
		switch {
		case strings.Contains(w.Schedule, "TZ="):
			errs = append(errs, field.Invalid(at.Child("schedule"), w.Schedule, "the time zone belongs in timeZone"))
		case err != nil:
			errs = append(errs, field.Invalid(at.Child("schedule"), w.Schedule,
				fmt.Sprintf("must be cron's five fields, minute hour day-of-month month day-of-week, as in 30 9 * * MON-FRI: %v", err)))
		case begins.Next(time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)).IsZero():
			errs = append(errs, field.Invalid(at.Child("schedule"), w.Schedule, "never comes"))
		}
		zone, err := time.LoadLocation(w.TimeZone)
		if err != nil || w.TimeZone == "" || w.TimeZone == "Local" {
			errs = append(errs, field.Invalid(at.Child("timeZone"), w.TimeZone, "must be the name of an IANA time zone, such as Europe/London or UTC"))
		}
		c.windows = append(c.windows, window{w, begins, zone})
	}
	if len(errs) > 0 {
		return Calendar{}, errs
	}
	return c, nil
}

// Hold is how much is held back, and why.
type Hold struct {
	Permille int64
	// Why is a clause for people; empty where nothing is held back.
	Why string
}

// more is the larger of two.
func (h Hold) more(o Hold) Hold {
	if o.Permille > h.Permille {
		return o
	}
	return h
}

// At is what the windows hold back at a moment. Where windows meet the strictest counts.
func (c Calendar) At(now time.Time) Hold {
	var h Hold
	for _, w := range c.windows {
		h = h.more(w.at(now))
	}
	return h
}

// mostBeginnings bounds the beginnings that are looked at, about a year of hours: one that begins oftener than it
// matters is found among the first.
const mostBeginnings = 10_000

func (w window) at(now time.Time) Hold {
	held := 1000 - w.config.LendPermille
	length := time.Duration(w.config.DurationSeconds) * time.Second
	ramp := time.Duration(w.config.RampSeconds) * time.Second
	// A day more than the length, for a clock may jump by hours and a zone by a day.
	local := asUTC(now.In(w.zone)).Add(-length - 24*time.Hour)
	for range mostBeginnings {
		local = w.begins.Next(local)
		if local.IsZero() {
			return Hold{}
		}
		if w.config.LastDayOfMonthOnly && local.AddDate(0, 0, 1).Day() != 1 {
			continue
		}
		first, last := moments(local, w.zone)
		switch {
		case !now.Before(last.Add(length)): // over
		case !now.Before(first):
			return Hold{held, fmt.Sprintf("freeze window %q until %s", w.config.Name, last.Add(length).In(w.zone).Format("2006-01-02 15:04 MST"))}
		default:
			rampEnds := first.Add(-lead)
			if since := now.Sub(rampEnds.Add(-ramp)); since >= 0 {
				permille := held
				if now.Before(rampEnds) {
					permille = held * int64(since/time.Millisecond) / int64(ramp/time.Millisecond)
				}
				return Hold{permille, fmt.Sprintf("freeze window %q begins %s", w.config.Name, first.In(w.zone).Format("2006-01-02 15:04 MST"))}
			}
			return Hold{}
		}
	}
	return Hold{}
}

// asUTC is the date and time that the clock on the wall shows, as if it hung in Greenwich in winter.
func asUTC(t time.Time) time.Time {
	return time.Date(t.Year(), t.Month(), t.Day(), t.Hour(), t.Minute(), t.Second(), 0, time.UTC)
}

// moments are the first and the last moment at which the clock on the wall shows a time: the same but for a
// time that is twice. One that never is lies between what it would be by the clock before the jump and by that after it.
func moments(local time.Time, zone *time.Location) (first, last time.Time) {
	guess := time.Date(local.Year(), local.Month(), local.Day(), local.Hour(), local.Minute(), local.Second(), 0, zone)
	first, last = guess, guess
	for _, other := range []time.Duration{-12 * time.Hour, 12 * time.Hour} { // any jump of the clock is between
		_, offset := guess.Add(other).Zone()
		by := local.Add(-time.Duration(offset) * time.Second) // the moment, by the offset on that side of the jump
		shows := asUTC(by.In(zone)).Equal(local)
		never := !asUTC(guess).Equal(local)
		if shows || never {
			if by.Before(first) {
				first = by
			}
			if by.After(last) {
				last = by
			}
		}
	}
	return first, last
}

// MostByHand is the longest time that a freeze by hand may be asked for.
const MostByHand = 7 * 24 * time.Hour

// ByHand is what a value of v1alpha1.FreezeUntilAnnotation holds back: all until then. A value that cannot be read
// holds back all, for whoever wrote it wanted a freeze.
func ByHand(annotation string, now time.Time) Hold {
	if annotation == "" {
		return Hold{}
	}
	until, err := time.Parse(time.RFC3339, annotation)
	if err != nil {
		return Hold{1000, fmt.Sprintf("the Node's annotation %s says %q, which is no time like 2026-11-25T16:00:00Z", v1alpha1.FreezeUntilAnnotation, clip(annotation))}
	}
	if !now.Before(until) {
		return Hold{}
	}
	return Hold{1000, "frozen by hand until " + until.UTC().Format("2006-01-02 15:04:05 MST")}
}

func clip(s string) string {
	if len(s) > 40 {
		return strings.ToValidUTF8(s[:40], "") + "..."
	}
	return s
}

// With is what the calendar and a freeze by hand hold back together.
func (c Calendar) With(annotation string, now time.Time) Hold {
	return c.At(now).more(ByHand(annotation, now))
}
