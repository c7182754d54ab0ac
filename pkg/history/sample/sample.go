// Package sample makes up the history of a fleet, for demonstrations, benchmarks and tests: services that follow the
// hours of the day, batch work at night, a few nodes under pressure. Nothing in it was measured.
//
// Units: those of package history.
//
// The trap: it writes whole days as blocks of a TSDB, and not through a recorder, which would take hours.
package sample

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
	"golang.org/x/sync/errgroup"

	"github.com/plimsoll/plimsoll/pkg/history"
)

// Options are how much to make up.
type Options struct {
	Start                  time.Time
	Nodes, Workloads, Days int
	Step                   time.Duration
}

const gib = 1 << 30

// Write makes the blocks of a TSDB in a folder. The same options give the same samples.
func Write(ctx context.Context, dir string, o Options) error {
	// A reader looks for the log of what is in no block yet.
	if err := os.MkdirAll(filepath.Join(dir, "wal"), 0o755); err != nil {
		return fmt.Errorf("making up a history: %w", err)
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(2)
	for day := range o.Days {
		group.Go(func() error { return o.day(ctx, dir, day) })
	}
	return group.Wait()
}

func (o Options) day(ctx context.Context, dir string, day int) (err error) {
	w, err := tsdb.NewBlockWriter(slog.New(slog.DiscardHandler), dir, (24 * time.Hour).Milliseconds())
	if err != nil {
		return fmt.Errorf("making up day %d: %w", day, err)
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	start := o.Start.Add(time.Duration(day) * 24 * time.Hour)
	refs := make([]storage.SeriesRef, 0, 19*o.Nodes)
	names := make([]labels.Labels, 0, 19*o.Nodes)
	for at := start; at.Before(start.Add(24 * time.Hour)); at = at.Add(o.Step) {
		a := w.Appender(ctx)
		i := 0
		add := func(of func() labels.Labels, v float64) {
			if i == len(refs) {
				refs, names = append(refs, 0), append(names, of())
			}
			ref, appending := a.Append(refs[i], names[i], at.UnixMilli(), v)
			refs[i] = ref
			err = errors.Join(err, appending)
			i++
		}
		for n := range o.Nodes {
			o.node(n, at, add)
		}
		for l := range o.Workloads {
			o.workload(l, at, add)
		}
		if err = errors.Join(err, a.Commit()); err != nil {
			return fmt.Errorf("making up day %d: %w", day, err)
		}
	}
	if _, err := w.Flush(ctx); err != nil {
		return fmt.Errorf("making up day %d: %w", day, err)
	}
	return nil
}

// noise is a number from 0 to 1 that only its arguments decide.
func noise(of int, at time.Time) float64 {
	return rand.New(rand.NewPCG(uint64(of), uint64(at.Unix()))).Float64() //nolint:gosec // nothing secret
}

// daylight is 0 at 4:00 and 1 at 16:00 UTC.
func daylight(at time.Time) float64 {
	return 0.5 - 0.5*math.Cos(2*math.Pi*(float64(at.Unix()%86400)/86400-4.0/24))
}

// daylit is the hours that daylight adds up to from start to at: its integral, so that counters only grow.
func daylit(start, at time.Time) float64 {
	until := func(t time.Time) float64 {
		hours := float64(t.Unix()) / 3600
		return hours/2 - 24/(4*math.Pi)*math.Sin(2*math.Pi*(hours-4)/24)
	}
	return until(at) - until(start)
}

// thousandths keeps numbers as short as measured ones are.
func thousandths(v float64) float64 { return math.Round(1000*v) / 1000 }

func (o Options) node(n int, at time.Time, add func(func() labels.Labels, float64)) {
	name, pool := fmt.Sprintf("node-%04d", n), []string{"general", "trading", "general", "risk"}[n%4]
	capacity := []float64{16, 32, 16, 64}[n%4]
	x := noise(n, at)
	online := capacity * (0.06 + 0.02*float64(n%5) + 0.30*daylight(at)*float64(1+n%3)/3 + 0.04*x)
	system := capacity * 0.02
	lendable := math.Max(0, 0.8*capacity-system-1.15*online)
	lent := math.Min(lendable, capacity*0.35*(1-daylight(at)*0.6))
	batch := lent * (0.7 + 0.3*noise(n+1<<20, at))
	pressure := 0.004 + 0.02*x
	if n%17 == 3 && daylight(at) > 0.95 && x > 0.9 {
		pressure = 0.1 + 0.3*x
	}
	memory, used := capacity*4*gib, capacity*4*gib
	series := func(metric, resource string, rest ...string) func() labels.Labels {
		return func() labels.Labels {
			return labels.FromStrings(append([]string{"__name__", metric, "node", name, "resource", resource}, rest...)...)
		}
	}
	counter := func(metric string, rest ...string) func() labels.Labels {
		return func() labels.Labels {
			return labels.FromStrings(append([]string{"__name__", metric, "node", name}, rest...)...)
		}
	}
	add(series(history.NodeCapacity, "cpu", "pool", pool), capacity)
	add(series(history.NodeRequested, "cpu"), capacity*(0.55+0.03*float64(n%6)))
	add(series(history.NodeUsed, "cpu", "class", "All"), thousandths(online+system+batch))
	add(series(history.NodeUsed, "cpu", "class", "LatencySensitive"), thousandths(online))
	add(series(history.NodeUsed, "cpu", "class", "Batch"), thousandths(batch))
	add(series(history.NodeLendable, "cpu", "kind", "computed"), thousandths(lendable))
	add(series(history.NodeLendable, "cpu", "kind", "published"), thousandths(0.95*lendable))
	add(series(history.NodeLendable, "cpu", "kind", "lent"), thousandths(0.95*lent))
	add(series(history.NodePressure, "cpu"), thousandths(pressure))
	hours := at.Sub(o.Start).Hours()
	add(counter(history.NodeThrottled, "class", "LatencySensitive"), thousandths(90*float64(n%3)*daylit(o.Start, at)))
	add(counter(history.NodeThrottled, "class", "Batch"), thousandths(40*daylit(o.Start, at)))
	add(counter(history.NodeEvictions), math.Floor(hours*float64(n%4)/20))
	add(series(history.NodeCapacity, "memory", "pool", pool), memory)
	add(series(history.NodeRequested, "memory"), 0.6*used)
	add(series(history.NodeUsed, "memory", "class", "All"), math.Round(used*(0.35+0.2*daylight(at)))) //nolint:mnd // made up
	add(series(history.NodeUsed, "memory", "class", "LatencySensitive"), math.Round(used*0.3))
	add(series(history.NodeUsed, "memory", "class", "Batch"), math.Round(used*0.05))
	add(series(history.NodeLendable, "memory", "kind", "published"), math.Round(used*0.25))
	add(series(history.NodeLendable, "memory", "kind", "lent"), math.Round(used*0.1))
}

func (o Options) workload(l int, at time.Time, add func(func() labels.Labels, float64)) {
	namespace := []string{"payments", "pricing", "risk", "market-data", "settlement"}[l%5]
	class, requested := "LatencySensitive", float64(2+l%9)
	if l%4 == 3 {
		class = "Batch"
	}
	used := requested * (0.1 + 0.05*float64(l%12) + 0.25*daylight(at) + 0.05*noise(l+1<<24, at))
	series := func(metric, resource string) func() labels.Labels {
		return func() labels.Labels {
			return labels.FromStrings("__name__", metric, "namespace", namespace, "workload", fmt.Sprintf("Deployment/service-%03d", l), "class", class, "resource", resource)
		}
	}
	add(series(history.WorkloadRequested, "cpu"), requested)
	add(series(history.WorkloadUsed, "cpu"), thousandths(used))
	add(series(history.WorkloadRequested, "memory"), requested*4*gib)
	add(series(history.WorkloadUsed, "memory"), math.Round(used*2*gib))
}
