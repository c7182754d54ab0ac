package trace

import (
	"errors"
	"fmt"
	"math"
	"time"
)

// Row is the use of one machine or virtual machine over a span of time.
type Row struct {
	Entity string
	Start  time.Time
	// Span is how long the use was averaged over; 0 for a sample at an instant.
	Span time.Duration
	// Share is use as a share of capacity, 0 to 1.
	Share float64
	// Cores is the capacity; 1 where the trace does not tell.
	Cores float64
	// part names the piece of the trace within which rows must be in order; empty for the whole of it.
	part string
}

// Resource is what a trace is read for.
type Resource string

// The resources. Only some formats hold memory.
const (
	CPU    Resource = "cpu"
	Memory Resource = "memory"
)

// Options are how a trace is read.
type Options struct {
	Resource Resource
	// MaxSkippedShare is the share of readings above which it is an error that they had to be skipped.
	MaxSkippedShare float64
}

// Problem is a reading that was skipped.
type Problem struct {
	File   string `json:"file"`
	Line   int    `json:"line"`
	Reason string `json:"reason"`
}

func (p Problem) String() string { return fmt.Sprintf("%s:%d: %s", p.File, p.Line, p.Reason) }

// problemsKept is how many problems a Report names; it counts all.
const problemsKept = 10

// Report is what was read and what was not.
type Report struct {
	Format string   `json:"format"`
	Files  []string `json:"files"`
	// Ignored are files of the folder that are no trace of use in this format.
	Ignored []string `json:"ignored,omitempty"`
	// Readings counts all, Skipped those of them that were skipped. Problems names the first of these.
	Readings int64     `json:"readings"`
	Skipped  int64     `json:"skipped"`
	Problems []Problem `json:"problems,omitempty"`
}

// DefaultMaxSkippedShare is the share of readings above which a trace is refused: more than that is a wrong
// format or a broken file, and what is left of it would pass for the truth.
const DefaultMaxSkippedShare = 0.05

// ErrTooManySkipped means that more readings were skipped than allowed.
var ErrTooManySkipped = errors.New("too many readings skipped")

// check ends a reading: nothing read, or too much skipped, is an error.
func (r *Report) check(path string, maxSkippedShare float64) error {
	if r.Readings == 0 {
		return fmt.Errorf("reading trace %s: no readings in it", path)
	}
	share := float64(r.Skipped) / float64(r.Readings)
	if share <= maxSkippedShare {
		return nil
	}
	return fmt.Errorf("reading trace %s: %w: %d of %d, at most %.1f %% may be; first: %s",
		path, ErrTooManySkipped, r.Skipped, r.Readings, 100*maxSkippedShare, r.Problems[0])
}

func (r *Report) skip(p Problem, readings int64) {
	r.Skipped += readings
	if len(r.Problems) < problemsKept {
		r.Problems = append(r.Problems, p)
	}
}

// The times that a row may have, in seconds: whatever is outside is a broken number. A span may begin before the epoch, which
// is when some traces begin.
const (
	earliestUnix = -86400
	latestUnix   = 4102444800 // the year 2100
)

// longestSpan is the longest time that one reading may stand for.
const longestSpan = time.Hour

// checkRow says what is wrong with a row, whatever format it comes from.
func checkRow(r Row) error {
	switch {
	case r.Entity == "":
		return errors.New("the name is empty")
	case r.Start.Unix() < earliestUnix || r.Start.Unix() > latestUnix:
		return fmt.Errorf("time %d s, must be %d to %d", r.Start.Unix(), earliestUnix, latestUnix)
	case r.Span < 0 || r.Span > longestSpan:
		return fmt.Errorf("a reading over %v, must be 0 to %v", r.Span, longestSpan)
	case math.IsNaN(r.Share) || r.Share < 0 || r.Share > 1:
		return fmt.Errorf("use is %v of capacity, must be 0 to 1", r.Share)
	case math.IsNaN(r.Cores) || r.Cores <= 0 || r.Cores > 1e6:
		return fmt.Errorf("capacity %v cores, must be above 0 and at most 1000000", r.Cores)
	}
	return nil
}

// order refuses rows that are not later than the one before of the same entity, in the same part of the trace.
type order map[[2]string]time.Time

func (o order) check(r Row) error {
	key := [2]string{r.Entity, r.part}
	if before, ok := o[key]; ok && !r.Start.After(before) {
		return fmt.Errorf("%s at %d s repeats or is before the row at %d s", r.Entity, r.Start.Unix(), before.Unix())
	}
	o[key] = r.Start
	return nil
}
