package main

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestHandlerCountsEachRequestInTheHistogram(t *testing.T) {
	server := httptest.NewServer(newHandler(1000))
	defer server.Close()
	for range 3 {
		get(t, server.URL+"/pay", http.StatusNoContent)
	}
	metrics := get(t, server.URL+"/metrics", http.StatusOK)
	for _, want := range []string{
		"payments_request_duration_seconds_count 3",
		`payments_request_duration_seconds_bucket{le="+Inf"} 3`,
		`payments_request_duration_seconds_bucket{le="0.0005"}`,
	} {
		if !strings.Contains(metrics, want) {
			t.Errorf("/metrics lacks %q:\n%s", want, metrics)
		}
	}
	get(t, server.URL+"/healthz", http.StatusOK)
	get(t, server.URL+"/unknown", http.StatusNotFound)
}

func TestMoreIterationsTakeLonger(t *testing.T) {
	elapsed := func(iterations int64) time.Duration {
		handler := newHandler(iterations)
		fastest := time.Hour
		for range 5 {
			start := time.Now()
			handler.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/pay", nil))
			fastest = min(fastest, time.Since(start))
		}
		return fastest
	}
	// 100 times the work; 10 times the time leaves room for the handler's own cost and a busy machine.
	if short, long := elapsed(100_000), elapsed(10_000_000); long < 10*short {
		t.Errorf("100,000 iterations took %s and 10,000,000 took %s", short, long)
	}
}

func TestServeFinishesARequestUnderWayBeforeItStops(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	started, release := make(chan struct{}), make(chan struct{})
	handler := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(started)
		<-release
		w.WriteHeader(http.StatusNoContent)
	})
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- serve(ctx, listener, handler) }()
	answered := make(chan int, 1)
	go func() {
		response, err := http.Get("http://" + listener.Addr().String())
		if err != nil {
			answered <- 0
			return
		}
		_ = response.Body.Close()
		answered <- response.StatusCode
	}()
	<-started
	cancel()
	close(release)
	if got := <-answered; got != http.StatusNoContent {
		t.Errorf("the request under way got status %d, want %d", got, http.StatusNoContent)
	}
	if err := <-served; err != nil {
		t.Errorf("serve() = %v, want nil", err)
	}
}

func TestRunRefusesBadArguments(t *testing.T) {
	for name, args := range map[string][]string{
		"unknown flag":         {"--no-such-flag"},
		"left-over argument":   {"extra"},
		"negative work":        {"--work-iterations", "-1"},
		"address out of range": {"--listen", "127.0.0.1:99999", "--work-iterations", "1"},
	} {
		t.Run(name, func(t *testing.T) {
			if err := run(t.Context(), args, io.Discard); err == nil {
				t.Errorf("run(%q) = nil, want an error", args)
			}
		})
	}
}

func TestCalibratePrintsANumber(t *testing.T) {
	var stdout bytes.Buffer
	if err := run(t.Context(), []string{"calibrate"}, &stdout); err != nil {
		t.Fatal(err)
	}
	if got, err := strconv.Atoi(strings.TrimSpace(stdout.String())); err != nil || got < 1 {
		t.Errorf("calibrate printed %q, want a positive number", stdout.String())
	}
}

func get(t *testing.T, url string, wantStatus int) string {
	t.Helper()
	response, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	if response.StatusCode != wantStatus {
		t.Errorf("GET %s: status %d, want %d", url, response.StatusCode, wantStatus)
	}
	return string(body)
}
