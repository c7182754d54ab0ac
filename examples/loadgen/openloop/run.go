package openloop

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Connection carries one request at a time. Exchange sends it and waits for the whole answer; an error
// that is os.ErrDeadlineExceeded is a time-out. After an error the connection must be usable again.
type Connection interface {
	Exchange(deadline time.Time) (Exchanged, error)
	Close() error
}

// Exchanged is when a request was sent, and when the last of its answer was there to be read.
type Exchanged struct{ Sent, Answered time.Time }

// Config says what to run. All fields are needed.
type Config struct {
	RatePerSecond float64
	// Warmup comes before Duration and is not measured.
	Warmup   time.Duration
	Duration time.Duration
	Seed     uint64
	// Timeout is counted from when a request is due.
	Timeout     time.Duration
	Connections int
	Connect     func(context.Context) (Connection, error)
	// SleepUntil returns at the given time or, when that is past, at once.
	SleepUntil func(time.Time)
}

// maxArrivals bounds the memory that a schedule may take, at 8 bytes each.
const maxArrivals = 50e6

func (c *Config) validate() error {
	switch {
	case c.RatePerSecond <= 0:
		return fmt.Errorf("rate %g: must be above 0", c.RatePerSecond)
	case c.Duration <= 0:
		return fmt.Errorf("duration %s: must be above 0", c.Duration)
	case c.Warmup < 0:
		return fmt.Errorf("warm-up %s: must not be negative", c.Warmup)
	case c.Timeout <= 0 || c.Timeout > time.Hour:
		return fmt.Errorf("time-out %s: must be above 0 and at most an hour", c.Timeout)
	case c.Connections < 1:
		return fmt.Errorf("%d connections: need at least 1", c.Connections)
	case c.RatePerSecond*(c.Warmup+c.Duration).Seconds() > maxArrivals:
		return fmt.Errorf("rate %g over %s: more than %g requests", c.RatePerSecond, c.Warmup+c.Duration, maxArrivals)
	}
	return nil
}

// request is one entry of the schedule.
type request struct {
	due      time.Time
	measured bool
}

// recorder collects what the connections measured.
type recorder struct {
	mu sync.Mutex
	// latency is by the clients, atService without the clients' own wait for a CPU.
	latency, atService *hdrhistogram.Histogram
	result             *Result
}

// Run runs the schedule to its end and until each request is answered, failed or timed out. It stops
// early only when the context ends, which is an error.
func Run(ctx context.Context, config Config) (*Result, error) {
	if err := config.validate(); err != nil {
		return nil, err
	}
	connections, err := connectAll(ctx, config)
	if err != nil {
		return nil, err
	}
	defer closeAll(connections)

	arrivals := Arrivals(config.RatePerSecond, config.Warmup+config.Duration, config.Seed)
	result := &Result{
		RatePerSecond:   config.RatePerSecond,
		DurationSeconds: config.Duration.Seconds(),
		WarmupSeconds:   config.Warmup.Seconds(),
		Seed:            config.Seed,
		Connections:     config.Connections,
	}
	records := &recorder{latency: newHistogram(), atService: newHistogram(), result: result}
	// Room for the whole schedule: handing over a request never blocks.
	queue := make(chan request, len(arrivals))
	var workers sync.WaitGroup
	for _, connection := range connections {
		workers.Go(func() {
			free := time.Now()
			for request := range queue {
				exchanged, err := exchange(ctx, connection, request.due.Add(config.Timeout))
				read := time.Now()
				if free.After(request.due) {
					exchanged.Sent = request.due // it may have waited for a connection, which is the service's doing
				}
				free = read
				records.record(request, config.Timeout, exchanged, read, err)
			}
		})
	}
	sendLag := dispatch(ctx, config, arrivals, queue)
	close(queue)
	workers.Wait()
	if err := context.Cause(ctx); err != nil {
		return nil, fmt.Errorf("running the schedule: %w", err)
	}
	result.Due = result.Requests + result.Timeouts + result.Errors
	return result, result.summarize(records.latency, records.atService, sendLag)
}

// dispatch queues each request when it is due and returns how late it was itself.
func dispatch(ctx context.Context, config Config, arrivals []time.Duration, queue chan<- request) *hdrhistogram.Histogram {
	sendLag := newHistogram()
	start := time.Now()
	for _, arrival := range arrivals {
		if ctx.Err() != nil {
			break
		}
		due := start.Add(arrival)
		config.SleepUntil(due)
		measured := arrival >= config.Warmup
		queue <- request{due: due, measured: measured}
		if measured {
			recordMicroseconds(sendLag, time.Since(due))
		}
		// Let a connection send it before this thread sleeps again.
		runtime.Gosched()
	}
	return sendLag
}

// exchange does one request, unless its time is already up.
func exchange(ctx context.Context, connection Connection, deadline time.Time) (Exchanged, error) {
	if err := ctx.Err(); err != nil {
		return Exchanged{}, err
	}
	if !time.Now().Before(deadline) {
		return Exchanged{}, os.ErrDeadlineExceeded
	}
	return connection.Exchange(deadline)
}

// record counts one request, whose answer was read, or given up, at a time.
func (r *recorder) record(request request, timeout time.Duration, exchanged Exchanged, read time.Time, err error) {
	elapsed, atService := read.Sub(request.due), exchanged.Answered.Sub(exchanged.Sent)
	if !request.measured {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case err == nil:
		r.result.Requests++
	case errors.Is(err, os.ErrDeadlineExceeded):
		r.result.Timeouts++
		elapsed = max(elapsed, timeout)
		atService = elapsed
	default:
		r.result.Errors++
		if r.result.FirstError == "" {
			r.result.FirstError = err.Error()
		}
		return
	}
	recordMicroseconds(r.latency, elapsed)
	recordMicroseconds(r.atService, atService)
}

// recordMicroseconds rounds up, so that nothing is recorded as zero, and clamps to the histogram's range.
func recordMicroseconds(histogram *hdrhistogram.Histogram, elapsed time.Duration) {
	microseconds := int64((elapsed + time.Microsecond - 1) / time.Microsecond)
	// The range is checked here, so recording cannot fail.
	_ = histogram.RecordValue(min(max(microseconds, lowestMicroseconds), highestMicroseconds))
}

// connectAll opens every connection before the clock starts: a client's connection is long lived and
// its set-up is not what is measured.
func connectAll(ctx context.Context, config Config) ([]Connection, error) {
	connections := make([]Connection, 0, config.Connections)
	for range config.Connections {
		connection, err := config.Connect(ctx)
		if err != nil {
			closeAll(connections)
			return nil, fmt.Errorf("connecting to the target: %w", err)
		}
		connections = append(connections, connection)
	}
	return connections, nil
}

func closeAll(connections []Connection) {
	for _, connection := range connections {
		// Nothing is in flight any more and nothing is left to do about a failed close.
		_ = connection.Close()
	}
}
