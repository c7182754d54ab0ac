package history

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
)

// Point is a sample to be kept.
type Point struct {
	// Labels include __name__.
	Labels map[string]string
	Value  float64
}

// Recorder fills a TSDB in a folder. There may be one at a time: the TSDB locks the folder.
type Recorder struct{ db *tsdb.DB }

// OpenRecorder opens the TSDB in a folder, or makes it. What is older than retention is removed.
func OpenRecorder(dir string, retention time.Duration) (*Recorder, error) {
	o := tsdb.DefaultOptions()
	o.RetentionDuration = retention.Milliseconds()
	db, err := tsdb.Open(dir, slog.New(slog.DiscardHandler), nil, o, nil)
	if err != nil {
		return nil, fmt.Errorf("opening the history %s: %w: does another recorder fill it?", dir, err)
	}
	return &Recorder{db}, nil
}

// Append keeps points of one time, all or none. A time before one that was kept already is refused.
func (r *Recorder) Append(ctx context.Context, at time.Time, points []Point) error {
	a := r.db.Appender(ctx)
	for _, p := range points {
		if _, err := a.Append(0, labels.FromMap(p.Labels), at.UnixMilli(), p.Value); err != nil {
			remedy := ""
			if errors.Is(err, storage.ErrOutOfOrderSample) || errors.Is(err, storage.ErrTooOldSample) || errors.Is(err, storage.ErrDuplicateSampleForTimestamp) {
				remedy = ": this machine's clock is behind what the history has"
			}
			return errors.Join(fmt.Errorf("recording %v at %s: %w%s", p.Labels, at.UTC().Format(time.RFC3339), err, remedy), a.Rollback())
		}
	}
	if err := a.Commit(); err != nil {
		return fmt.Errorf("recording at %s: %w", at.UTC().Format(time.RFC3339), err)
	}
	return nil
}

// Close brings everything to the disk.
func (r *Recorder) Close() error { return r.db.Close() }
