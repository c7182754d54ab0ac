package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/plimsoll/plimsoll/examples/loadgen/openloop"
)

func TestOneRunPrintsItsResult(t *testing.T) {
	target := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer target.Close()
	args := []string{"--target", target.URL, "--rate", "200", "--duration", "200ms", "--warmup", "50ms", "--connections", "4"}

	var asJSON bytes.Buffer
	if err := run(t.Context(), append(args, "--output", "json"), &asJSON); err != nil {
		t.Fatal(err)
	}
	var result openloop.Result
	if err := json.Unmarshal(asJSON.Bytes(), &result); err != nil {
		t.Fatal(err)
	}
	want := measuredArrivals(200, 50*time.Millisecond, 200*time.Millisecond, 1)
	if result.Requests != want || result.Target != target.URL || result.P99Ms <= 0 || result.HistogramHDR == "" {
		t.Errorf("result %+v, want %d requests to %s and latencies", result, want, target.URL)
	}

	var asText bytes.Buffer
	if err := run(t.Context(), args, &asText); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(asText.String(), "p99.9 ms") {
		t.Errorf("text output lacks its heading:\n%s", asText.String())
	}
}

func TestRunRefusesBadArguments(t *testing.T) {
	for name, args := range map[string][]string{
		"no target":             nil,
		"unknown flag":          {"--no-such-flag"},
		"left-over argument":    {"--target", "http://127.0.0.1:1/", "extra"},
		"unknown output":        {"--target", "http://127.0.0.1:1/", "--output", "yaml"},
		"target that is closed": {"--target", "http://127.0.0.1:1/"},
	} {
		t.Run(name, func(t *testing.T) {
			if err := run(t.Context(), args, io.Discard); err == nil {
				t.Errorf("run(%q) = nil, want an error", args)
			}
		})
	}
}

func TestServeRunsOneAtATime(t *testing.T) {
	arrived, release := make(chan struct{}, 1000), make(chan struct{})
	target := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		arrived <- struct{}{}
		<-release
	}))
	defer target.Close()
	server := httptest.NewServer(newHandler(options{rate: 100, duration: 100 * time.Millisecond, timeout: time.Minute, connections: 2}))
	defer server.Close()
	post := func(query string) (int, string) {
		response, err := http.Post(server.URL+"/run?"+query, "", nil)
		if err != nil {
			t.Error(err)
			return 0, ""
		}
		defer func() { _ = response.Body.Close() }()
		body, err := io.ReadAll(response.Body)
		if err != nil {
			t.Error(err)
		}
		return response.StatusCode, string(body)
	}
	query := "seed=3&target=" + url.QueryEscape(target.URL)
	type answer struct {
		status int
		body   string
	}
	first := make(chan answer, 1)
	go func() {
		status, body := post(query)
		first <- answer{status, body}
	}()
	<-arrived
	if status, body := post(query); status != http.StatusConflict {
		t.Errorf("second run: status %d (%s), want %d", status, body, http.StatusConflict)
	}
	close(release)
	got := <-first
	var result openloop.Result
	if err := json.Unmarshal([]byte(got.body), &result); err != nil || got.status != http.StatusOK {
		t.Fatalf("first run: status %d, body %q: %v", got.status, got.body, err)
	}
	if want := measuredArrivals(100, 0, 100*time.Millisecond, 3); result.Requests != want || result.Seed != 3 {
		t.Errorf("first run: %d requests with seed %d, want %d with 3", result.Requests, result.Seed, want)
	}
	for query, wantBody := range map[string]string{
		"rate=fast":  `parameter rate="fast"`,
		"speed=1":    `unknown parameter "speed"`,
		"duration=6": `parameter duration="6"`,
	} {
		if status, body := post(query); status != http.StatusBadRequest || !strings.Contains(body, wantBody) {
			t.Errorf("%s: status %d, body %q, want 400 and %q", query, status, body, wantBody)
		}
	}
}

func TestQueryOverridesTheDefaults(t *testing.T) {
	defaults := options{target: "http://127.0.0.1:8081/pay", rate: 800, duration: time.Second}
	query, err := url.ParseQuery("rate=10&duration=2s&warmup=1s&timeout=3s&seed=5&connections=7&realtime=true")
	if err != nil {
		t.Fatal(err)
	}
	got, err := fromQuery(defaults, query)
	if err != nil {
		t.Fatal(err)
	}
	want := options{
		target: "http://127.0.0.1:8081/pay", rate: 10, duration: 2 * time.Second, warmup: time.Second,
		timeout: 3 * time.Second, seed: 5, connections: 7, realtime: true,
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(options{})); diff != "" {
		t.Errorf("fromQuery() (-want,+got):\n%s", diff)
	}
}

func TestARefusedRealtimePriorityNamesTheRemedy(t *testing.T) {
	err := explainRealtime(unix.EPERM)
	if !errors.Is(err, unix.EPERM) || !strings.Contains(err.Error(), "CAP_SYS_NICE") || !strings.Contains(err.Error(), "cpu.rt_runtime_us") {
		t.Errorf("explainRealtime(EPERM) = %v, want both causes named", err)
	}
	if err := setRealtime("/no/such/folder"); err == nil {
		t.Error("setRealtime of a folder that is missing = nil, want an error")
	}
}

// measuredArrivals is how many requests of a schedule are due after the warm-up.
func measuredArrivals(rate float64, warmup, duration time.Duration, seed uint64) int64 {
	var count int64
	for _, at := range openloop.Arrivals(rate, warmup+duration, seed) {
		if at >= warmup {
			count++
		}
	}
	return count
}
