package history

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math"
	"os"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
)

// Embedded reads a TSDB in a folder, which a recorder may be writing meanwhile.
type Embedded struct {
	db      *tsdb.DBReadOnly
	querier storage.Querier
	engine  *promql.Engine
	sandbox string
}

// OpenEmbedded opens the TSDB in a folder for reading.
func OpenEmbedded(dir string) (*Embedded, error) {
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("opening the history: %w: record one with plimsoll record --history %s", err, dir)
	}
	sandbox, err := os.MkdirTemp("", "plimsoll-history-")
	if err != nil {
		return nil, fmt.Errorf("opening the history: %w", err)
	}
	db, err := tsdb.OpenDBReadOnly(dir, sandbox, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("opening the history %s: %w", dir, err), os.RemoveAll(sandbox))
	}
	// Each querier of this DB closes the blocks of the one before it, so there is a single one, over all time.
	querier, err := db.Querier(math.MinInt64, math.MaxInt64)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("opening the history %s: %w", dir, err), db.Close(), os.RemoveAll(sandbox))
	}
	e := &Embedded{db: db, sandbox: sandbox, querier: querier}
	e.engine = promql.NewEngine(promql.EngineOpts{
		MaxSamples: 200_000_000, Timeout: 10 * time.Minute, LookbackDelta: 5 * time.Minute, EnableAtModifier: true, EnableNegativeOffset: true,
	})
	return e, nil
}

// Close ends reading.
func (e *Embedded) Close() error {
	return errors.Join(e.engine.Close(), e.querier.Close(), e.db.Close(), os.RemoveAll(e.sandbox))
}

// reader is a name under which a querier can be embedded beside a method Querier.
type reader storage.Querier

// shared is a querier that outlives the queries that use it.
type shared struct{ reader }

// Querier is storage.Queryable's. Hints of a query bound what is read.
func (s shared) Querier(int64, int64) (storage.Querier, error) { return s, nil }

// Close is the querier's owner's.
func (shared) Close() error { return nil }

// Query evaluates PromQL at a time and gives the samples of the series that it results in.
func (e *Embedded) Query(ctx context.Context, query string, at time.Time) ([]Series, error) {
	q, err := e.engine.NewInstantQuery(ctx, shared{e.querier}, nil, query, at)
	if err != nil {
		return nil, fmt.Errorf("the query %s: %w", query, err)
	}
	defer q.Close()
	result := q.Exec(ctx)
	if result.Err != nil {
		return nil, fmt.Errorf("the query %s: %w", query, result.Err)
	}
	var all []Series
	switch v := result.Value.(type) {
	case promql.Matrix:
		for _, s := range v {
			one := Series{Labels: labelMap(s.Metric), Times: make([]int64, len(s.Floats)), Values: make([]float64, len(s.Floats))}
			for i, p := range s.Floats {
				one.Times[i], one.Values[i] = p.T, p.F
			}
			all = append(all, one)
		}
	case promql.Vector:
		for _, s := range v {
			all = append(all, Series{Labels: labelMap(s.Metric), Times: []int64{s.T}, Values: []float64{s.F}})
		}
	default:
		return nil, fmt.Errorf("the query %s gives a %s, want series", query, result.Value.Type())
	}
	return all, nil
}

func labelMap(l labels.Labels) map[string]string {
	m := make(map[string]string, l.Len())
	l.Range(func(one labels.Label) { m[one.Name] = one.Value })
	return m
}
