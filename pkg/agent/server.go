package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// health is what the probes ask for.
type health struct {
	// lastTick is when it last went round, in Unix nanoseconds.
	lastTick atomic.Int64
	sensed   atomic.Bool
	// patience is how long the loop may take to go round.
	patience time.Duration
}

// live is nil while the loop goes round.
func (h *health) live(now time.Time) error {
	if since := now.Sub(time.Unix(0, h.lastTick.Load())); since > h.patience {
		return fmt.Errorf("the loop has not gone round for %s", since.Round(time.Millisecond))
	}
	return nil
}

// serve answers /metrics, /healthz and /readyz until ctx ends.
func serve(ctx context.Context, address string, m *metrics, live, ready func() error) error {
	probe := func(check func() error) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			if err := check(); err != nil {
				http.Error(w, err.Error(), http.StatusServiceUnavailable)
				return
			}
			_, _ = fmt.Fprintln(w, "ok") // the prober has gone if this fails
		}
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(m, promhttp.HandlerOpts{}))
	mux.Handle("GET /healthz", probe(live))
	mux.Handle("GET /readyz", probe(ready))
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}

	listener, err := net.Listen("tcp", address)
	if err != nil {
		return fmt.Errorf("serving metrics and probes: %w", err)
	}
	stop := context.AfterFunc(ctx, func() {
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = server.Shutdown(grace) // what is not done in a second is cut off
	})
	defer stop()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serving metrics and probes: %w", err)
	}
	return nil
}
