package openloop

import (
	"fmt"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Result is what one run measured. Only requests due after the warm-up are in it.
type Result struct {
	Target          string  `json:"target"`
	RatePerSecond   float64 `json:"rate_per_second"`
	DurationSeconds float64 `json:"duration_seconds"`
	WarmupSeconds   float64 `json:"warmup_seconds"`
	Seed            uint64  `json:"seed"`
	Connections     int     `json:"connections"`

	// Due is how many requests the schedule had; each is in exactly one of the next three.
	Due      int64 `json:"due"`
	Requests int64 `json:"requests"`
	// Timeouts were not answered within the time limit, counted from when they were due. The limit is
	// in the histogram as their latency, so giving up cannot improve a percentile.
	Timeouts int64 `json:"timeouts"`
	// Errors were refused, broken off or answered with a status of 400 or more. They are not in the
	// histogram: a service that fails fast is not fast.
	Errors int64 `json:"errors"`
	// FirstError is the first of them, for people.
	FirstError string `json:"first_error,omitempty"`

	MeanMs float64 `json:"mean_ms"`
	P50Ms  float64 `json:"p50_ms"`
	P90Ms  float64 `json:"p90_ms"`
	P99Ms  float64 `json:"p99_ms"`
	P999Ms float64 `json:"p999_ms"`
	MaxMs  float64 `json:"max_ms"`

	// AtServiceP50Ms to AtServiceP999Ms count from when a request was sent until the kernel had its answer: without the
	// generator's own wait for a CPU, before and after, which clients on other machines do not have. A request that may
	// have waited for a connection counts from when it was due.
	AtServiceP50Ms  float64 `json:"at_service_p50_ms"`
	AtServiceP99Ms  float64 `json:"at_service_p99_ms"`
	AtServiceP999Ms float64 `json:"at_service_p999_ms"`

	// SendLagP99Ms is how late the generator itself was: from when a request was due until it was
	// handed to the connections.
	SendLagP99Ms float64 `json:"send_lag_p99_ms"`
	// RealtimePriority is the SCHED_FIFO priority that the generator ran with, 0 for none.
	RealtimePriority int `json:"realtime_priority"`
	// RealtimeError says why it has none although one was asked for.
	RealtimeError string `json:"realtime_error,omitempty"`

	// HistogramHDR is the whole distribution, in microseconds: HdrHistogram V2, compressed, base64.
	HistogramHDR string `json:"histogram_hdr"`
}

// The histogram's range: from the clock's useful resolution to far more than any time limit, with
// three significant digits, which is 0.1 %.
const (
	lowestMicroseconds  = 1
	highestMicroseconds = int64(time.Hour / time.Microsecond)
	significantDigits   = 3
)

func newHistogram() *hdrhistogram.Histogram {
	return hdrhistogram.New(lowestMicroseconds, highestMicroseconds, significantDigits)
}

// summarize fills in the latencies of the result.
func (r *Result) summarize(latency, atService, sendLag *hdrhistogram.Histogram) error {
	encoded, err := latency.Encode(hdrhistogram.V2CompressedEncodingCookieBase)
	if err != nil {
		return fmt.Errorf("encoding the histogram: %w", err)
	}
	r.HistogramHDR = string(encoded)
	milliseconds := func(h *hdrhistogram.Histogram, percentile float64) float64 {
		return float64(h.ValueAtPercentile(percentile)) / 1000
	}
	r.MeanMs = latency.Mean() / 1000
	r.P50Ms = milliseconds(latency, 50)
	r.P90Ms = milliseconds(latency, 90)
	r.P99Ms = milliseconds(latency, 99)
	r.P999Ms = milliseconds(latency, 99.9)
	r.MaxMs = float64(latency.Max()) / 1000
	r.AtServiceP50Ms, r.AtServiceP99Ms, r.AtServiceP999Ms = milliseconds(atService, 50), milliseconds(atService, 99), milliseconds(atService, 99.9)
	r.SendLagP99Ms = milliseconds(sendLag, 99)
	return nil
}
