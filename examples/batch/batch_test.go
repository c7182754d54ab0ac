package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"
)

// TestMain lets the test binary play the process that --mode fork starts.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == childArgument {
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func TestEachModeFinishesWorkAndReportsIt(t *testing.T) {
	for name, args := range map[string][]string{
		"spin":             {"--mode", "spin"},
		"fork":             {"--mode", "fork"},
		"mmap":             {"--mode", "mmap"},
		"cache":            {"--mode", "cache", "--scratch", t.TempDir()},
		"spin with memory": {"--churn-mib", "4"},
	} {
		t.Run(name, func(t *testing.T) {
			var stdout bytes.Buffer
			args := append(args, "--threads", "2", "--unit-iterations", "1000", "--duration", "300ms")
			if err := run(t.Context(), args, &stdout); err != nil {
				t.Fatal(err)
			}
			var got status
			if err := json.Unmarshal(stdout.Bytes(), &got); err != nil {
				t.Fatalf("stdout %q: %v", stdout.String(), err)
			}
			if got.Units < 1 || got.CPUSeconds <= 0 || got.UptimeSeconds < 0.3 || got.Threads != 2 || got.UnitIterations != 1000 {
				t.Errorf("status %+v, want work, CPU time, 0.3 s, 2 threads, units of 1000", got)
			}
		})
	}
}

func TestStatusGrowsWhileTheJobRuns(t *testing.T) {
	settings := job{threads: 1, unitIterations: 1000, mode: spinMode}
	progress := newProgress(settings)
	server := httptest.NewServer(newHandler(progress))
	defer server.Close()
	ctx, cancel := context.WithCancel(t.Context())
	worked := make(chan error, 1)
	go func() { worked <- settings.work(ctx, progress) }()

	first := getStatus(t, server.URL)
	deadline := time.Now().Add(10 * time.Second)
	for second := first; second.Units <= first.Units || second.CPUSeconds <= first.CPUSeconds; second = getStatus(t, server.URL) {
		if time.Now().After(deadline) {
			t.Fatalf("status stayed %+v", second)
		}
	}
	metrics := get(t, server.URL+"/metrics")
	for _, want := range []string{"batch_work_units_total ", "batch_cpu_seconds_total "} {
		if !strings.Contains(metrics, want) {
			t.Errorf("/metrics lacks %q:\n%s", want, metrics)
		}
	}
	cancel()
	if err := <-worked; err != nil {
		t.Errorf("work() = %v, want nil when told to stop", err)
	}
}

func TestChurnWalksThroughTheWholeBuffer(t *testing.T) {
	buffer := make([]byte, 5*mib/2)
	position := 0
	// 1 MiB, 1 MiB and the last half, then from the start.
	for step, want := range []int{1 * mib, 2 * mib, 0, 1 * mib} {
		if position = churn(buffer, position); position != want {
			t.Errorf("step %d ends at %d, want %d", step, position, want)
		}
	}
	if buffer[0] != 2 || buffer[2*mib] != 1 {
		t.Errorf("first page written %d times and the page at 2 MiB %d, want 2 and 1", buffer[0], buffer[2*mib])
	}
	if got := churn(nil, 0); got != 0 {
		t.Errorf("churn of nothing ends at %d, want 0", got)
	}
}

func TestRunRefusesBadArguments(t *testing.T) {
	for want, args := range map[string][]string{
		"--threads 0":          {"--threads", "0"},
		"--unit-iterations 0":  {"--unit-iterations", "0"},
		"--churn-mib -1":       {"--churn-mib", "-1"},
		`--mode "sleep"`:       {"--mode", "sleep"},
		"page cache":           {"--mode", "cache", "--scratch", "/nonexistent"},
		"unknown argument":     {"extra"},
		"listening on":         {"--listen", "127.0.0.1:99999"},
		"flag provided but no": {"--no-such-flag"},
	} {
		t.Run(want, func(t *testing.T) {
			err := run(t.Context(), args, io.Discard)
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("run(%q) = %v, want %q", args, err, want)
			}
		})
	}
}

func getStatus(t *testing.T, url string) status {
	t.Helper()
	var got status
	if err := json.Unmarshal([]byte(get(t, url+"/status")), &got); err != nil {
		t.Fatal(err)
	}
	return got
}

func get(t *testing.T, url string) string {
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
	return string(body)
}

func TestACacheFileGoesRoundAndHasNoName(t *testing.T) {
	dir := t.TempDir()
	file, err := newCacheFile(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("left in the folder: %v, %v, want nothing", left, err)
	}
	file.position = cacheFileBytes - mib
	for range 3 { // the last piece, and round to the first
		if err := file.step(); err != nil {
			t.Fatal(err)
		}
	}
	info, err := file.Stat()
	if err != nil || info.Size() != cacheFileBytes || file.position != 2*mib {
		t.Errorf("size %d, position %d, %v, want %d and %d", info.Size(), file.position, err, cacheFileBytes, 2*mib)
	}
}
