package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/plimsoll/plimsoll/examples/loadgen/openloop"
)

const (
	// warmup lets the caches, the connections and the kernel's load tracking settle before measuring.
	warmup = 1500 * time.Millisecond
	// samplingPeriod is how often the timeline is read: a few small files, so it costs next to nothing.
	samplingPeriod = 250 * time.Millisecond
	// answerTimeout bounds the wait for an answer of a pod that gets little CPU.
	answerTimeout = 20 * time.Second
)

// probe is what one window is measured with.
type probe struct {
	meter *meter
	// loadgen and batch are the addresses of the pods; empty where there is none in this window.
	loadgen, batch string
	// target is what the load generator asks, rate times a second.
	target   string
	rate     float64
	duration time.Duration
	seed     uint64
}

// batchStatus is what batch answers about itself.
type batchStatus struct {
	AtUnixNano int64 `json:"at_unix_nano"`
	Units      int64 `json:"units"`
}

// measure runs one window: the load's warm-up, then the load and every counter over the same time.
func (p probe) measure(ctx context.Context) (window, error) {
	loads := make(chan loadOutcome, 1)
	go func() {
		result, err := p.load(ctx)
		loads <- loadOutcome{result, err}
	}()
	if err := pause(ctx, warmup); err != nil {
		return window{}, err
	}
	measured, err := p.observe(ctx)
	outcome := <-loads
	if outcome.err != nil {
		return window{}, outcome.err
	}
	if err != nil {
		return window{}, err
	}
	measured.takeLoad(outcome.result)
	return measured, nil
}

type loadOutcome struct {
	result *openloop.Result
	err    error
}

// load has the load generator run once; without one it answers nothing.
func (p probe) load(ctx context.Context) (*openloop.Result, error) {
	if p.loadgen == "" {
		return nil, nil
	}
	query := url.Values{
		"duration": {p.duration.String()}, "warmup": {warmup.String()}, "seed": {fmt.Sprint(p.seed)},
		"target": {p.target}, "rate": {fmt.Sprint(p.rate)},
	}
	var result openloop.Result
	if err := call(ctx, http.MethodPost, "http://"+p.loadgen+"/run?"+query.Encode(), p.duration+warmup+answerTimeout, &result); err != nil {
		return nil, fmt.Errorf("measuring latency: %w", err)
	}
	if result.Errors > 0 {
		return nil, fmt.Errorf("measuring latency: %d of %d requests failed, the first with: %s", result.Errors, result.Due, result.FirstError)
	}
	return &result, nil
}

// observe reads the counters over the window.
func (p probe) observe(ctx context.Context) (window, error) {
	before, err := p.batchStatus(ctx)
	if err != nil {
		return window{}, err
	}
	stolenBefore, err := stolenSeconds(p.meter.host)
	if err != nil {
		return window{}, err
	}
	first, err := p.meter.read()
	if err != nil {
		return window{}, err
	}
	measured := window{StartedAt: first.at}
	last := first
	for at := samplingPeriod; at <= p.duration; at += samplingPeriod {
		if err := pause(ctx, time.Until(first.at.Add(at))); err != nil {
			return window{}, err
		}
		now, err := p.meter.read()
		if err != nil {
			return window{}, err
		}
		measured.Timeline = append(measured.Timeline, newPoint(first.at, last, now))
		last = now
	}
	stolen, err := stolenSeconds(p.meter.host)
	if err != nil {
		return window{}, err
	}
	after, err := p.batchStatus(ctx)
	if err != nil {
		return window{}, err
	}
	// Scaled from the time that was really observed to the window's, so that windows can be compared.
	measured.Seconds = p.duration.Seconds()
	measured.BatchCPUSeconds = cores(first, last, batchClass) * measured.Seconds
	measured.OnlineCPUSeconds = cores(first, last, onlineClass) * measured.Seconds
	measured.StolenPercent = stolenPercent(stolen-stolenBefore, last.at.Sub(first.at), onlineCPUs())
	measured.NodeCPUPercent = 100 * cores(first, last, "") / float64(onlineCPUs())
	if elapsed := after.AtUnixNano - before.AtUnixNano; elapsed > 0 {
		measured.BatchWork = float64(after.Units-before.Units) * float64(p.duration) / float64(elapsed)
	}
	measured.BatchGroup = p.meter.groups[batchClass]
	return measured, nil
}

func (p probe) batchStatus(ctx context.Context) (batchStatus, error) {
	var status batchStatus
	if p.batch == "" {
		return status, nil
	}
	if err := call(ctx, http.MethodGet, "http://"+p.batch+"/status", answerTimeout, &status); err != nil {
		return status, fmt.Errorf("asking batch for its count: %w", err)
	}
	return status, nil
}

const (
	// lateClientsMs is how late requests may leave, at p99, before a window is as much the load generator's as the service's.
	lateClientsMs = 2.0
	// mostStolenPercent is what the host of a virtual machine may take before a window is as much the host's.
	mostStolenPercent = 1.0
)

// above counts the windows in which a metric is above a limit.
func above(limit float64, windows []window, metric func(window) float64) (count int, worst float64) {
	for _, w := range windows {
		if metric(w) > limit {
			count++
		}
		worst = max(worst, metric(w))
	}
	return count, worst
}

func (w *window) takeLoad(result *openloop.Result) {
	if result == nil {
		return
	}
	w.P50Ms, w.P99Ms, w.P999Ms, w.MaxMs = result.P50Ms, result.P99Ms, result.P999Ms, result.MaxMs
	w.Requests, w.Timeouts, w.Errors = result.Requests, result.Timeouts, result.Errors
	w.SendLagP99Ms, w.AtServiceP99Ms = result.SendLagP99Ms, result.AtServiceP99Ms
	w.RealtimePriority, w.HistogramHDR = result.RealtimePriority, result.HistogramHDR
}

// call makes one request and decodes its JSON answer.
func call(ctx context.Context, method, address string, timeout time.Duration, into any) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, address, nil)
	if err != nil {
		return fmt.Errorf("making a request: %w", err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return fmt.Errorf("reading the answer of %s: %w", address, err)
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answered %s: %s", address, response.Status, strings.TrimSpace(string(body)))
	}
	if into == nil {
		return nil
	}
	if err := json.Unmarshal(body, into); err != nil {
		return fmt.Errorf("decoding the answer of %s: %w", address, err)
	}
	return nil
}

// awaitListening waits until something takes connections.
func awaitListening(ctx context.Context, address string) error {
	return await(ctx, "waiting for "+address+" to listen", func() error {
		conn, err := net.DialTimeout("tcp", address, time.Second)
		if err != nil {
			return err
		}
		return conn.Close()
	})
}

// awaitHealthy waits until a pod's server answers.
func awaitHealthy(ctx context.Context, address string) error {
	return await(ctx, "waiting for "+address+" to answer", func() error {
		return call(ctx, http.MethodGet, "http://"+address+"/healthz", answerTimeout, nil)
	})
}

// await tries until it works, for at most answerTimeout.
func await(ctx context.Context, what string, try func() error) error {
	deadline := time.Now().Add(answerTimeout)
	for {
		err := try()
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) || ctx.Err() != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		if err := pause(ctx, 50*time.Millisecond); err != nil {
			return err
		}
	}
}
