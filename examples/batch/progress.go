package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/sys/unix"
)

// progress counts while the job runs.
type progress struct {
	job   job
	start time.Time
	units atomic.Int64
}

// status is progress at one instant. A reader takes the difference of two.
type status struct {
	// AtUnixNano is when it was taken: an answer of a job that gets little CPU may be old on arrival.
	AtUnixNano     int64   `json:"at_unix_nano"`
	UptimeSeconds  float64 `json:"uptime_seconds"`
	Threads        int     `json:"threads"`
	UnitIterations int64   `json:"unit_iterations"`
	// Units is the work finished.
	Units int64 `json:"units"`
	// CPUSeconds is what the process and the children it waited for have used.
	CPUSeconds float64 `json:"cpu_seconds"`
}

func newProgress(job job) *progress { return &progress{job: job, start: time.Now()} }

func (p *progress) status() (status, error) {
	cpuSeconds, err := processCPUSeconds()
	if err != nil {
		return status{}, err
	}
	now := time.Now()
	return status{
		AtUnixNano:     now.UnixNano(),
		UptimeSeconds:  now.Sub(p.start).Seconds(),
		Threads:        p.job.threads,
		UnitIterations: p.job.unitIterations,
		Units:          p.units.Load(),
		CPUSeconds:     cpuSeconds,
	}, nil
}

func processCPUSeconds() (float64, error) {
	var total float64
	for _, who := range []int{unix.RUSAGE_SELF, unix.RUSAGE_CHILDREN} {
		var used unix.Rusage
		if err := unix.Getrusage(who, &used); err != nil {
			return 0, fmt.Errorf("reading own CPU time: %w", err)
		}
		for _, part := range []unix.Timeval{used.Utime, used.Stime} {
			total += float64(part.Nano()) / 1e9
		}
	}
	return total, nil
}

// newHandler serves the counters to people and programs (/status) and to Prometheus (/metrics).
func newHandler(progress *progress) http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(
		prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "batch_work_units_total", Help: "Units of work finished.",
		}, func() float64 { return float64(progress.units.Load()) }),
		prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "batch_cpu_seconds_total", Help: "CPU time of the process and of the children it waited for.",
		}, func() float64 {
			// getrusage of oneself into valid memory cannot fail; a scrape has no way to say so if it did.
			cpuSeconds, _ := processCPUSeconds()
			return cpuSeconds
		}),
	)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, _ *http.Request) {
		status, err := progress.status()
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(status)
	})
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte("ok\n"))
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	return mux
}
