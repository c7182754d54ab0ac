package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// serve answers POST /run until the context ends.
func serve(ctx context.Context, listen string, defaults options) error {
	listener, err := net.Listen("tcp", listen)
	if err != nil {
		return fmt.Errorf("listening on %s: %w", listen, err)
	}
	slog.InfoContext(ctx, "serving", "address", listener.Addr().String())
	server := &http.Server{
		Handler:           newHandler(defaults),
		ReadHeaderTimeout: 10 * time.Second,
		// A run under way ends with the process.
		BaseContext: func(net.Listener) context.Context { return ctx },
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	select {
	case err := <-served:
		return fmt.Errorf("serving: %w", err)
	case <-ctx.Done():
	}
	graceCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	if err := server.Shutdown(graceCtx); err != nil {
		return fmt.Errorf("shutting down: %w", err)
	}
	return nil
}

// newHandler serves /run, one run at a time: two would measure each other.
func newHandler(defaults options) http.Handler {
	idle := make(chan struct{}, 1)
	idle <- struct{}{}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte("ok\n"))
	})
	mux.HandleFunc("POST /run", func(w http.ResponseWriter, r *http.Request) {
		settings, err := fromQuery(defaults, r.URL.Query())
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		select {
		case <-idle:
			defer func() { idle <- struct{}{} }()
		default:
			http.Error(w, "a run is under way", http.StatusConflict)
			return
		}
		var realtimeErr error
		if settings.realtime {
			realtimeErr = setRealtime(ownThreads())
		}
		result, err := settings.measure(r.Context())
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		switch {
		case realtimeErr != nil:
			// The caller decides whether such a measurement is of use.
			result.RealtimeError = realtimeErr.Error()
		case settings.realtime:
			result.RealtimePriority = realtimePriority
		}
		w.Header().Set("Content-Type", "application/json")
		if err := json.NewEncoder(w).Encode(result); err != nil {
			slog.WarnContext(r.Context(), "the caller went away before the result was sent", "error", err)
		}
	})
	return mux
}

// fromQuery overrides the defaults by what the request's query names.
func fromQuery(settings options, query url.Values) (options, error) {
	for name, values := range query {
		value := values[len(values)-1]
		var err error
		switch name {
		case "target":
			settings.target = value
		case "rate":
			settings.rate, err = strconv.ParseFloat(value, 64)
		case "duration":
			settings.duration, err = time.ParseDuration(value)
		case "warmup":
			settings.warmup, err = time.ParseDuration(value)
		case "timeout":
			settings.timeout, err = time.ParseDuration(value)
		case "seed":
			settings.seed, err = strconv.ParseUint(value, 10, 64)
		case "connections":
			settings.connections, err = strconv.Atoi(value)
		case "realtime":
			settings.realtime, err = strconv.ParseBool(value)
		default:
			return settings, fmt.Errorf("unknown parameter %q: want target, rate, duration, warmup, timeout, seed, connections or realtime", name)
		}
		if err != nil {
			return settings, fmt.Errorf("parameter %s=%q: %w", name, value, err)
		}
	}
	return settings, nil
}
