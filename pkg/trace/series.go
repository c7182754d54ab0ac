package trace

import (
	"fmt"
	"path/filepath"
	"sort"
	"time"
)

// Series is the use of one entity in intervals of five minutes.
type Series struct {
	Entity string
	Cores  float64
	// Start is when the first interval begins: a multiple of five minutes since the Unix epoch.
	Start time.Time
	// Shares is the highest reading of each interval as a share of capacity, 0 to 1; negative where there is none.
	Shares []float32
}

// Absent is the share of an interval without a reading.
const Absent = -1

// Set is a whole trace.
type Set struct {
	Name   string
	Series []Series
	Report Report
}

// longestGap is how long an entity may be away and still be the same: longer than a forecast remembers. What comes
// after is another Series.
const longestGap = 8 * 24 * time.Hour

// Load reads a trace into series, in the order of the entities' names.
func Load(path string, o Options) (Set, error) {
	set := Set{Name: baseName(filepath.Clean(path))}
	open := map[string]*Series{}
	var all []*Series
	report, err := Read(path, o, func(r Row) {
		s := open[r.Entity]
		if s == nil || r.Start.Before(s.Start) || r.Start.Sub(s.end()) > longestGap || s.Cores != r.Cores {
			s = &Series{Entity: r.Entity, Cores: r.Cores, Start: intervalOf(r)}
			open[r.Entity] = s
			all = append(all, s)
		}
		s.add(r)
	})
	set.Report = report
	if err != nil {
		return set, fmt.Errorf("loading a trace: %w", err)
	}
	sort.SliceStable(all, func(i, j int) bool {
		return all[i].Entity < all[j].Entity || (all[i].Entity == all[j].Entity && all[i].Start.Before(all[j].Start))
	})
	for _, s := range all {
		if len(s.Shares) == 0 {
			continue
		}
		if n := len(set.Series); n == 0 || !set.Series[n-1].join(s) {
			set.Series = append(set.Series, *s)
		}
	}
	return set, nil
}

// join adds a later series of the same entity; it does not where they overlap or are too far apart.
func (s *Series) join(later *Series) bool {
	gap := later.Start.Sub(s.end())
	if later.Entity != s.Entity || later.Cores != s.Cores || gap < 0 || gap > longestGap {
		return false
	}
	for range int(gap / interval) {
		s.Shares = append(s.Shares, Absent)
	}
	s.Shares = append(s.Shares, later.Shares...)
	return true
}

// intervalOf is the first interval that a row tells about: the one it lies in, or, for a span, the
// first whose middle it covers.
func intervalOf(r Row) time.Time {
	if r.Span == 0 {
		return floor(r.Start)
	}
	return floor(r.Start.Add(interval/2 - 1))
}

// floor goes down to a multiple of the interval since the Unix epoch; Truncate counts from the year 1, which
// is a multiple too.
func floor(t time.Time) time.Time { return t.Truncate(interval) }

func (s *Series) end() time.Time { return s.Start.Add(time.Duration(len(s.Shares)) * interval) }

// add puts a row into the intervals whose middle it covers, or into the one that it lies in.
func (s *Series) add(r Row) {
	first, n := intervalOf(r), 1
	if r.Span > 0 {
		last := floor(r.Start.Add(r.Span - interval/2 - 1))
		n = int(last.Sub(first)/interval) + 1
	}
	for i := range max(0, n) {
		at := int(first.Sub(s.Start)/interval) + i
		if at < 0 {
			continue
		}
		for len(s.Shares) <= at {
			s.Shares = append(s.Shares, Absent)
		}
		s.Shares[at] = max(s.Shares[at], float32(r.Share))
	}
}
