package trace

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// format is one shape of a trace file. Files are told apart by their first line, since names differ from copy to copy.
type format struct {
	name      string
	separator rune
	header    bool
	memory    bool // whether it holds memory, too
	matches   func(file string, first []string) bool
	// open makes the parser of one file; it may look at files beside it.
	open func(file string, what Resource) (parser, error)
}

// parser turns the lines of one file into rows.
type parser interface {
	header(record []string) error
	// rows hands on each reading of a line, with the error where it is none. Its own error is about the whole line.
	rows(record []string, reading func(Row, error)) error
	readingsPerLine() int64
}

// formats are all of them; in a folder with files of several, the first one counts.
func formats() []format {
	return []format{
		{name: "alibaba-2018", memory: true, matches: matchesAlibaba, open: always(func(_ string, what Resource) parser { return alibaba{what: what} })},
		{name: "azure-2017-avg", header: true, matches: matchesAzure("avg"), open: always(newAzure)},
		{name: "azure-2017", header: true, matches: matchesAzure(""), open: always(newAzure)},
		{name: "bitbrains", header: true, matches: matchesHeader("vm_id", "unix_seconds", "duration_seconds", "cpu_count", "cpu_usage_mhz"), open: openBitbrains},
		{name: "planetlab", matches: matchesPlanetlab, open: openPlanetlab},
		{name: "google-2011-jobs", header: true, memory: true, matches: matchesHeader("job_id", "day", "sample", "cpu_percent"), open: always(func(_ string, what Resource) parser { return googleJobs{what: what} })},
		{name: "general", header: true, matches: matchesHeader("entity", "unix_seconds", "cpu_percent"), open: always(func(string, Resource) parser { return &general{} })},
		{name: "nab-cpu", header: true, matches: matchesNAB, open: always(func(file string, _ Resource) parser { return nab{baseName(file)} })},
		{name: "gwa-t-12", separator: ';', header: true, memory: true, matches: matchesGWA, open: always(func(file string, what Resource) parser { return gwa{baseName(file), what} })},
	}
}

func formatNames() []string {
	var names []string
	for _, f := range formats() {
		names = append(names, f.name)
	}
	return names
}

func always(p func(string, Resource) parser) func(string, Resource) (parser, error) {
	return func(file string, what Resource) (parser, error) { return p(file, what), nil }
}

// matchesHeader is for a header that begins with these columns.
func matchesHeader(columns ...string) func(string, []string) bool {
	return func(_ string, first []string) bool {
		return len(first) >= len(columns) && slices.Equal(first[:len(columns)], columns)
	}
}

// noHeader is for formats without one.
type noHeader struct{}

func (noHeader) header([]string) error { return nil }

// anyHeader is for formats whose header was looked at when the format was chosen.
type anyHeader struct{}

func (anyHeader) header([]string) error { return nil }

// perLine is for formats with one reading a line.
type perLine struct{}

func (perLine) readingsPerLine() int64 { return 1 }

func columns(record []string, want int) error {
	if len(record) != want {
		return fmt.Errorf("%d columns, must be %d", len(record), want)
	}
	return nil
}

// number reads a finite number.
func number(column, s string) (float64, error) {
	v, err := strconv.ParseFloat(strings.TrimSpace(s), 64)
	if err != nil || math.IsNaN(v) || math.IsInf(v, 0) {
		return 0, fmt.Errorf("%s %q, must be a finite number", column, s)
	}
	return v, nil
}

// whole reads a whole number within bounds.
func whole(column, s string, low, high int64) (int64, error) {
	v, err := strconv.ParseInt(strings.TrimSpace(s), 10, 64)
	if err != nil || v < low || v > high {
		return 0, fmt.Errorf("%s %q, must be a whole number from %d to %d", column, s, low, high)
	}
	return v, nil
}

// percent reads 0 to 100 as a share.
func percent(column, s string) (float64, error) {
	v, err := number(column, s)
	if err != nil {
		return 0, err
	}
	if v < 0 || v > 100 {
		return 0, fmt.Errorf("%s %v, must be 0 to 100", column, v)
	}
	return v / 100, nil
}

// mostSeconds is more than any time of a trace.
const mostSeconds = 1 << 40

// unixSeconds reads seconds since the Unix epoch, or since the trace began, which is then taken for the epoch.
func unixSeconds(column, s string) (time.Time, error) {
	v, err := whole(column, s, 0, mostSeconds)
	return time.Unix(v, 0).UTC(), err
}
