package main

import (
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/plimsoll/plimsoll/examples/internal/spin"
)

// newHandler returns the service: /pay burns workIterations, /metrics and /healthz are what their
// names say.
func newHandler(workIterations int64) http.Handler {
	registry := prometheus.NewRegistry()
	latency := prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "payments_request_duration_seconds",
		Help: "Time from the start of a request's handler to its end.",
		// From half a millisecond, below the usual work of one request, in steps of 1.5 to 1.5 s.
		Buckets: prometheus.ExponentialBuckets(0.0005, 1.5, 20),
		// A factor of 1.1 keeps any quantile within 5 % for scrapers that read native histograms.
		NativeHistogramBucketFactor:    1.1,
		NativeHistogramMaxBucketNumber: 160,
	})
	registry.MustRegister(latency,
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), collectors.NewGoCollector())

	mux := http.NewServeMux()
	mux.HandleFunc("GET /pay", func(w http.ResponseWriter, _ *http.Request) {
		start := time.Now()
		spin.Work(workIterations)
		w.WriteHeader(http.StatusNoContent)
		latency.Observe(time.Since(start).Seconds())
	})
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte("ok\n"))
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	return mux
}
