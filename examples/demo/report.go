package main

import (
	"fmt"
	"slices"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// window is one arm measured once.
type window struct {
	Arm       armName   `json:"arm"`
	Round     int       `json:"round"`
	StartedAt time.Time `json:"started_at"`
	Seconds   float64   `json:"seconds"`
	// Service is what clients asked, RatePerSecond how often, Batch what ran beside it.
	Service       string  `json:"service,omitempty"`
	RatePerSecond float64 `json:"rate_per_second,omitempty"`
	Batch         string  `json:"batch,omitempty"`

	P50Ms            float64 `json:"p50_ms"`
	P99Ms            float64 `json:"p99_ms"`
	P999Ms           float64 `json:"p999_ms"`
	MaxMs            float64 `json:"max_ms"`
	Requests         int64   `json:"requests"`
	Timeouts         int64   `json:"timeouts"`
	Errors           int64   `json:"errors"`
	SendLagP99Ms     float64 `json:"send_lag_p99_ms"`
	AtServiceP99Ms   float64 `json:"at_service_p99_ms"`
	RealtimePriority int     `json:"realtime_priority"`
	// HistogramHDR is the whole distribution, in microseconds: HdrHistogram V2, compressed, base64.
	HistogramHDR string `json:"histogram_hdr,omitempty"`

	// BatchCPUSeconds is by the kernel's account of the batch pod's cgroup, BatchWork by the job's own.
	BatchCPUSeconds float64 `json:"batch_cpu_seconds"`
	BatchWork       float64 `json:"batch_work"`
	// OnlineCPUSeconds is the service's.
	OnlineCPUSeconds float64 `json:"online_cpu_seconds,omitempty"`
	NodeCPUPercent   float64 `json:"node_cpu_percent"`
	// StolenPercent is what a virtual machine's host took of its CPUs' time.
	StolenPercent float64 `json:"stolen_percent"`
	// BatchGroup is the cgroup that batch ran in.
	BatchGroup string `json:"batch_group,omitempty"`
	// Timeline is who used the CPU.
	Timeline []point `json:"timeline"`
}

// point is the CPU that each class used up to an instant, since the point before.
type point struct {
	Seconds     float64 `json:"seconds"`
	OnlineCores float64 `json:"online_cores"`
	BatchCores  float64 `json:"batch_cores"`
	OtherCores  float64 `json:"other_cores"`
}

// armReport is one arm over all rounds.
type armReport struct {
	Name                        armName `json:"name"`
	P50Ms                       spread  `json:"p50_ms"`
	P99Ms                       spread  `json:"p99_ms"`
	P999Ms                      spread  `json:"p999_ms"`
	MaxMs                       spread  `json:"max_ms"`
	Requests                    spread  `json:"requests"`
	BatchCPUSeconds             spread  `json:"batch_cpu_seconds"`
	BatchWork                   spread  `json:"batch_work"`
	NodeCPUPercent              spread  `json:"node_cpu_percent"`
	EffectiveUtilizationPercent spread  `json:"effective_utilization_percent"`
	// HistogramHDR is the distribution of all rounds together.
	HistogramHDR string `json:"histogram_hdr,omitempty"`
}

// setup is what the numbers were measured on and with.
type setup struct {
	Date           time.Time `json:"date"`
	Kernel         string    `json:"kernel"`
	Cgroup         string    `json:"cgroup"`
	Kubernetes     string    `json:"kubernetes"`
	CPUModel       string    `json:"cpu_model"`
	Cores          int       `json:"cores"`
	Rounds         int       `json:"rounds"`
	RoundSeconds   float64   `json:"round_seconds"`
	RatePerSecond  float64   `json:"rate_per_second"`
	WorkIterations int64     `json:"work_iterations"`
	BatchThreads   int       `json:"batch_threads"`
	// Warnings say what weakens the measurement.
	Warnings []string `json:"warnings,omitempty"`
}

// target is one promise and whether the run kept it.
type target struct {
	Text     string  `json:"text"`
	Measured float64 `json:"measured"`
	Limit    float64 `json:"limit"`
	Met      bool    `json:"met"`
}

// report is the whole result.
type report struct {
	Arms []armReport `json:"arms"`
	setup
	// BatchAlone is batch without requests to the service.
	BatchAlone armReport `json:"batch_alone"`
	Targets    []target  `json:"targets"`
	Windows    []window  `json:"windows"`
}

// met says whether every target was.
func (r *report) met() bool {
	return !slices.ContainsFunc(r.Targets, func(t target) bool { return !t.Met })
}

func (r *report) arm(name armName) armReport {
	for _, arm := range r.Arms {
		if arm.Name == name {
			return arm
		}
	}
	return armReport{}
}

// newReport puts the windows together.
func newReport(setup setup, windows []window) (*report, error) {
	result := &report{setup: setup, Windows: windows}
	base := reference{
		requests:  spreadOf(collect(windows, alone, func(w window) float64 { return float64(w.Requests) })).Median,
		batchWork: spreadOf(collect(windows, batchAlone, func(w window) float64 { return w.BatchWork })).Median,
	}
	for _, name := range arms() {
		arm, err := newArmReport(name, windows, base)
		if err != nil {
			return nil, err
		}
		result.Arms = append(result.Arms, arm)
	}
	var err error
	if result.BatchAlone, err = newArmReport(batchAlone, windows, base); err != nil {
		return nil, err
	}
	result.Targets = targets(result)
	return result, nil
}

// reference is what each side does when it has the machine to itself.
type reference struct{ requests, batchWork float64 }

// effectivePercent is the throughput of both sides, each relative to running alone, added up. Above
// 100 the machine does more than a machine for each side half the time would.
func (r reference) effectivePercent(w window) float64 {
	var percent float64
	if r.requests > 0 {
		percent += 100 * float64(w.Requests) / r.requests
	}
	if r.batchWork > 0 {
		percent += 100 * w.BatchWork / r.batchWork
	}
	return percent
}

func newArmReport(name armName, windows []window, base reference) (armReport, error) {
	over := func(metric func(window) float64) spread { return spreadOf(collect(windows, name, metric)) }
	histogram, err := merged(name, windows)
	if err != nil {
		return armReport{}, err
	}
	return armReport{
		Name:                        name,
		P50Ms:                       over(func(w window) float64 { return w.P50Ms }),
		P99Ms:                       over(func(w window) float64 { return w.P99Ms }),
		P999Ms:                      over(func(w window) float64 { return w.P999Ms }),
		MaxMs:                       over(func(w window) float64 { return w.MaxMs }),
		Requests:                    over(func(w window) float64 { return float64(w.Requests) }),
		BatchCPUSeconds:             over(func(w window) float64 { return w.BatchCPUSeconds }),
		BatchWork:                   over(func(w window) float64 { return w.BatchWork }),
		NodeCPUPercent:              over(func(w window) float64 { return w.NodeCPUPercent }),
		EffectiveUtilizationPercent: over(base.effectivePercent),
		HistogramHDR:                histogram,
	}, nil
}

func collect(windows []window, arm armName, metric func(window) float64) []float64 {
	var values []float64
	for _, w := range windows {
		if w.Arm == arm {
			values = append(values, metric(w))
		}
	}
	return values
}

// merged adds up the distributions of an arm's rounds.
func merged(arm armName, windows []window) (string, error) {
	var sum *hdrhistogram.Histogram
	for _, w := range windows {
		if w.Arm != arm || w.HistogramHDR == "" {
			continue
		}
		one, err := hdrhistogram.Decode([]byte(w.HistogramHDR))
		if err != nil {
			return "", fmt.Errorf("decoding the histogram of %s in round %d: %w", arm, w.Round, err)
		}
		if sum == nil {
			sum = one
			continue
		}
		if dropped := sum.Merge(one); dropped > 0 {
			return "", fmt.Errorf("merging the histogram of %s in round %d: %d values do not fit", arm, w.Round, dropped)
		}
	}
	if sum == nil {
		return "", nil
	}
	encoded, err := sum.Encode(hdrhistogram.V2CompressedEncodingCookieBase)
	if err != nil {
		return "", fmt.Errorf("encoding the histogram of %s: %w", arm, err)
	}
	return string(encoded), nil
}

// The promises: what the service may lose to batch, and what batch may lose to the protection.
const (
	mostOfAlone      = 1.4
	mostOfBestEffort = 1.0
	mostOfOrdinary   = 0.6
	leastBatchCPU    = 0.9
)

func targets(r *report) []target {
	p99 := r.arm(plimsoll).P99Ms.Median
	atMost := func(text string, measured, limit float64, strict bool) target {
		return target{Text: text, Measured: measured, Limit: limit, Met: measured > 0 && (measured < limit || !strict && measured == limit)}
	}
	batchCPU := ratio(r.arm(plimsoll).BatchCPUSeconds.Median, r.arm(bestEffort).BatchCPUSeconds.Median)
	return []target{
		atMost(fmt.Sprintf("p99 at most %.1f of alone", mostOfAlone), ratio(p99, r.arm(alone).P99Ms.Median), mostOfAlone, false),
		atMost("p99 below that beside BestEffort pods", ratio(p99, r.arm(bestEffort).P99Ms.Median), mostOfBestEffort, true),
		atMost(fmt.Sprintf("p99 at most %.1f of that beside ordinary pods", mostOfOrdinary), ratio(p99, r.arm(ordinary).P99Ms.Median), mostOfOrdinary, false),
		{
			Text:     fmt.Sprintf("batch CPU at least %.1f of what it gets as BestEffort", leastBatchCPU),
			Measured: batchCPU, Limit: leastBatchCPU, Met: batchCPU >= leastBatchCPU,
		},
	}
}

// ratio is a/b, and 0 where there is no b to compare with: then no target counts as met.
func ratio(a, b float64) float64 {
	if b == 0 {
		return 0
	}
	return a / b
}
