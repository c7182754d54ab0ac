package openloop

import (
	"context"
	"errors"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/google/go-cmp/cmp"
)

// service is a stand-in that answers one request at a time, each in a millisecond, and stalls once. It
// runs in the virtual time of synctest.
type service struct {
	// turn is a mutex that virtual time can pass while it is waited for, which sync.Mutex is not.
	turn     chan struct{}
	served   int
	stallAt  int
	stallFor time.Duration
	failAt   int
	// readAfter is how long the client takes to read an answer that is there.
	readAfter time.Duration
}

func (s *service) Exchange(deadline time.Time) (Exchanged, error) {
	sent := time.Now()
	err := s.exchange(deadline)
	answered := time.Now()
	time.Sleep(s.readAfter)
	return Exchanged{sent, answered}, err
}

func (s *service) exchange(deadline time.Time) error {
	s.turn <- struct{}{}
	defer func() { <-s.turn }()
	s.served++
	need := time.Millisecond
	if s.served == s.stallAt {
		need = s.stallFor
	}
	if left := time.Until(deadline); left < need {
		time.Sleep(max(0, left))
		return os.ErrDeadlineExceeded
	}
	time.Sleep(need)
	if s.served == s.failAt {
		return errors.New("service failed")
	}
	return nil
}

func (s *service) Close() error { return nil }

func config(s *service) Config {
	s.turn = make(chan struct{}, 1)
	return Config{
		RatePerSecond: 500, Duration: 2 * time.Second, Seed: 1, Timeout: 10 * time.Second, Connections: 4,
		Connect:    func(context.Context) (Connection, error) { return s, nil },
		SleepUntil: func(at time.Time) { time.Sleep(time.Until(at)) },
	}
}

func TestAStallOnceIsSeenByEveryRequestItDelayed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		run := config(&service{stallAt: 300, stallFor: 200 * time.Millisecond})
		got, err := Run(t.Context(), run)
		if err != nil {
			t.Fatal(err)
		}
		wantRequests := int64(len(Arrivals(run.RatePerSecond, run.Duration, run.Seed)))
		if got.Requests != wantRequests || got.Due != wantRequests || got.Errors != 0 || got.Timeouts != 0 {
			t.Errorf("requests %d, due %d, errors %d, timeouts %d, want %d, %d, 0, 0",
				got.Requests, got.Due, got.Errors, got.Timeouts, wantRequests, wantRequests)
		}
		// The stall of 200 ms meets some 100 of 1,000 requests and the backlog, drained at 1,000 per
		// second while 500 arrive, as many again: 10 % wait above 100 ms. A closed loop of 4
		// connections would have seen 4 slow requests, 0.4 %, and a p99 of a few milliseconds.
		if got.P90Ms < 60 || got.P99Ms < 150 || got.P50Ms > 20 {
			t.Errorf("p50 %.1f ms, p90 %.1f ms, p99 %.1f ms, want below 20, above 60, above 150", got.P50Ms, got.P90Ms, got.P99Ms)
		}
		if got.AtServiceP99Ms != got.P99Ms {
			t.Errorf("p99 %.1f ms at the service, want the %.1f ms that its clients saw", got.AtServiceP99Ms, got.P99Ms)
		}
		if got.SendLagP99Ms > 0.01 {
			t.Errorf("the generator was late by %.3f ms at p99; a stalled service must not delay the schedule", got.SendLagP99Ms)
		}
		decoded, err := hdrhistogram.Decode([]byte(got.HistogramHDR))
		if err != nil {
			t.Fatal(err)
		}
		if decoded.TotalCount() != wantRequests || float64(decoded.ValueAtPercentile(99))/1000 != got.P99Ms {
			t.Errorf("decoded histogram has %d values and p99 %d us, want %d and %g ms",
				decoded.TotalCount(), decoded.ValueAtPercentile(99), wantRequests, got.P99Ms)
		}
	})
}

func TestWhatTheGeneratorWaitsForItselfIsNotAtTheService(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const late, readAfter = 3 * time.Millisecond, 5 * time.Millisecond
		run := config(&service{readAfter: readAfter})
		run.RatePerSecond, run.Connections = 20, 64
		run.SleepUntil = func(at time.Time) { time.Sleep(time.Until(at.Add(late))) }
		got, err := Run(t.Context(), run)
		if err != nil {
			t.Fatal(err)
		}
		if min := (late + readAfter + time.Millisecond).Seconds() * 1000; got.P50Ms < min {
			t.Errorf("p50 %.1f ms by the clients, want at least %.1f", got.P50Ms, min)
		}
		if got.AtServiceP50Ms != 1 {
			t.Errorf("p50 %.1f ms at the service, want 1", got.AtServiceP50Ms)
		}
	})
}

func TestASlowServiceDoesNotDelayTheSchedule(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// At 2,000 requests per second a service that can do 1,000 falls behind by a second per second.
		run := config(&service{})
		run.RatePerSecond = 2000
		run.Duration = time.Second
		got, err := Run(t.Context(), run)
		if err != nil {
			t.Fatal(err)
		}
		if got.SendLagP99Ms > 0.01 {
			t.Errorf("send lag %.3f ms at p99, want none", got.SendLagP99Ms)
		}
		// The last request is due after 1 s and answered after 2 s.
		if got.MaxMs < 900 || got.MaxMs > 1100 {
			t.Errorf("slowest request took %.0f ms, want about 1,000", got.MaxMs)
		}
	})
}

func TestWarmUpIsNotMeasured(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		run := config(&service{stallAt: 50, stallFor: 200 * time.Millisecond})
		run.Warmup = time.Second
		got, err := Run(t.Context(), run)
		if err != nil {
			t.Fatal(err)
		}
		var want int64
		for _, at := range Arrivals(500, 3*time.Second, 1) {
			if at >= run.Warmup {
				want++
			}
		}
		if got.Requests != want || got.MaxMs > 50 {
			t.Errorf("requests %d, max %.0f ms, want %d and the stall not seen", got.Requests, got.MaxMs, want)
		}
	})
}

func TestFailedRequestsAreCountedApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		run := config(&service{failAt: 10, stallAt: 20, stallFor: time.Minute})
		run.Connections = 1
		run.Timeout = 100 * time.Millisecond
		got, err := Run(t.Context(), run)
		if err != nil {
			t.Fatal(err)
		}
		if got.Errors != 1 || got.FirstError != "service failed" {
			t.Errorf("errors %d (%q), want 1 (service failed)", got.Errors, got.FirstError)
		}
		if got.Timeouts != 1 || got.MaxMs < 100 {
			t.Errorf("timeouts %d, max %.0f ms, want 1 and the time limit in the histogram", got.Timeouts, got.MaxMs)
		}
		if got.Due != got.Requests+got.Timeouts+got.Errors {
			t.Errorf("due %d is not the sum of the outcomes", got.Due)
		}
	})
}

func TestAnEndedContextEndsTheRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		defer cancel()
		if _, err := Run(ctx, config(&service{})); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Run() = %v, want the context's error", err)
		}
	})
}

func TestRunRefusesBadConfigs(t *testing.T) {
	for want, change := range map[string]func(*Config){
		"rate 0: must be above 0":                                     func(c *Config) { c.RatePerSecond = 0 },
		"duration 0s: must be above 0":                                func(c *Config) { c.Duration = 0 },
		"warm-up -1s: must not be negative":                           func(c *Config) { c.Warmup = -time.Second },
		"time-out 0s: must be above 0 and at most an hour":            func(c *Config) { c.Timeout = 0 },
		"0 connections: need at least 1":                              func(c *Config) { c.Connections = 0 },
		"rate 1e+09 over 2s: more than 5e+07 requests":                func(c *Config) { c.RatePerSecond = 1e9 },
		"connecting to the target: connection refused by the service": func(c *Config) { c.Connect = refuse },
	} {
		t.Run(want, func(t *testing.T) {
			run := config(&service{})
			change(&run)
			_, err := Run(t.Context(), run)
			if err == nil {
				t.Fatal("Run() = nil, want an error")
			}
			if diff := cmp.Diff(want, err.Error()); diff != "" {
				t.Errorf("error (-want,+got):\n%s", diff)
			}
		})
	}
}

func refuse(context.Context) (Connection, error) {
	return nil, errors.New("connection refused by the service")
}
