package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/google/go-cmp/cmp"

	"github.com/plimsoll/plimsoll/test/golden"
)

// sampleReport is two rounds of made-up windows.
func sampleReport(t *testing.T) *report {
	t.Helper()
	start := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	made := func(arm armName, round int, p99Ms, batchCPUSeconds, batchWork float64) window {
		w := window{
			Arm: arm, Round: round, StartedAt: start, Seconds: 6, BatchCPUSeconds: batchCPUSeconds, BatchWork: batchWork,
			NodeCPUPercent: 45 + batchCPUSeconds*8,
			Timeline: []point{
				{Seconds: 3, OnlineCores: 0.8, BatchCores: batchCPUSeconds / 6, OtherCores: 0.1},
				{Seconds: 6, OnlineCores: 0.9, BatchCores: batchCPUSeconds / 6, OtherCores: 0.1},
			},
		}
		if arm != batchAlone {
			w.P50Ms, w.P99Ms, w.P999Ms, w.MaxMs, w.Requests = 1.4, p99Ms, 2*p99Ms, 3*p99Ms, 4800
			w.HistogramHDR = encoded(t, 1400, 1500, int64(p99Ms*1000))
		}
		return w
	}
	r, err := newReport(setup{
		Date: start, Kernel: "6.18.5", Cgroup: "hybrid", Kubernetes: "v1.37.2", CPUModel: "Some CPU", Cores: 2,
		Rounds: 2, RoundSeconds: 6, RatePerSecond: 800, WorkIterations: 560000, BatchThreads: 4,
		Warnings: []string{"the load generator ran without real-time priority"},
	}, []window{
		made(batchAlone, 0, 0, 12, 12000),
		made(alone, 1, 6, 0, 0), made(ordinary, 1, 17, 6.8, 6800), made(bestEffort, 1, 9, 6.8, 6700), made(idleOnly, 1, 8.5, 6.6, 6500), made(plimsoll, 1, 8, 6.7, 6600),
		made(idleOnly, 2, 8.7, 6.6, 6500), made(plimsoll, 2, 7.6, 6.5, 6400), made(bestEffort, 2, 10, 6.6, 6600), made(ordinary, 2, 19, 6.6, 6600), made(alone, 2, 7, 0, 0),
		made(batchAlone, 3, 0, 12, 12400),
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func encoded(t *testing.T, microseconds ...int64) string {
	t.Helper()
	histogram := hdrhistogram.New(1, 3_600_000_000, 3)
	for _, value := range microseconds {
		if err := histogram.RecordValue(value); err != nil {
			t.Fatal(err)
		}
	}
	text, err := histogram.Encode(hdrhistogram.V2CompressedEncodingCookieBase)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestJSONReportKeepsItsShape(t *testing.T) {
	r := sampleReport(t)
	// The encoded histograms are compressed, and their bytes are the library's business.
	for i := range r.Windows {
		r.Windows[i].HistogramHDR = ""
	}
	for i := range r.Arms {
		r.Arms[i].HistogramHDR = ""
	}
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	golden.Check(t, "testdata/report.json", string(text)+"\n")
}

func TestTableIsAligned(t *testing.T) {
	var out bytes.Buffer
	printReport(&out, sampleReport(t), style{})
	golden.Check(t, "testdata/table.txt", out.String())
}

func TestArmsAreMergedOverRounds(t *testing.T) {
	got := sampleReport(t).arm(plimsoll)
	// Rounds of 8 and 7.6 ms: the median of two is their mean.
	if diff := cmp.Diff(spread{Median: 7.8, Min: 7.6, Max: 8}, got.P99Ms); diff != "" {
		t.Errorf("p99 (-want,+got):\n%s", diff)
	}
	// Requests as alone, 100 %, and 6,600 or 6,400 of 12,200 units of batch alone: 54.1 % and 52.5 %.
	if diff := cmp.Diff(154, int(got.EffectiveUtilizationPercent.Max)); diff != "" {
		t.Errorf("effective utilization (-want,+got):\n%s", diff)
	}
	histogram, err := hdrhistogram.Decode([]byte(got.HistogramHDR))
	if err != nil {
		t.Fatal(err)
	}
	if histogram.TotalCount() != 6 {
		t.Errorf("merged histogram has %d values, want 6 of two rounds", histogram.TotalCount())
	}
}

func TestTargetsAreJudged(t *testing.T) {
	f := func(name string, p99 map[armName]float64, batchCPU map[armName]float64, want []bool) {
		t.Helper()
		r := &report{}
		for _, arm := range arms() {
			r.Arms = append(r.Arms, armReport{
				Name: arm, P99Ms: spread{Median: p99[arm]}, BatchCPUSeconds: spread{Median: batchCPU[arm]},
			})
		}
		var got []bool
		for _, target := range targets(r) {
			got = append(got, target.Met)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want,+got):\n%s", name, diff)
		}
	}
	cpu := map[armName]float64{bestEffort: 10, plimsoll: 9}
	f("all at or inside their limits", map[armName]float64{alone: 5, ordinary: 20, bestEffort: 8, plimsoll: 7}, cpu, []bool{true, true, true, true})
	f("equal to BestEffort is not below it", map[armName]float64{alone: 5, ordinary: 20, bestEffort: 7, plimsoll: 7}, cpu, []bool{true, false, true, true})
	f("1.42 of alone, 0.71 of ordinary", map[armName]float64{alone: 5, ordinary: 10, bestEffort: 8, plimsoll: 7.1}, cpu, []bool{false, true, false, true})
	f("batch loses a fifth", map[armName]float64{alone: 5, ordinary: 20, bestEffort: 8, plimsoll: 6},
		map[armName]float64{bestEffort: 10, plimsoll: 8}, []bool{true, true, true, false})
	f("nothing was measured", nil, nil, []bool{false, false, false, false})
}

func TestPageHoldsEverythingItNeeds(t *testing.T) {
	var out bytes.Buffer
	if err := writeHTML(&out, sampleReport(t)); err != nil {
		t.Fatal(err)
	}
	page := out.String()
	for _, want := range []string{
		"BestEffort pods", "p99 at most 1.4 of alone", "without real-time priority", "prefers-color-scheme: dark", "uPlot=function", `"one_in":[1,`,
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	for _, external := range []string{"src=\"", "href=\"", "@import", "url("} {
		if strings.Contains(page, external) {
			t.Errorf("the page loads something: it has %q", external)
		}
	}
}

func TestCurveEndsWhereEachQuantileHasARequest(t *testing.T) {
	got, err := newCurve(armReport{Name: alone, HistogramHDR: encoded(t, 1000, 2000, 3000, 4000)})
	if err != nil {
		t.Fatal(err)
	}
	// Four requests: up to the slowest one in four.
	last := len(got.OneIn) - 1
	if got.OneIn[0] != 1 || got.OneIn[last] < 3.7 || got.OneIn[last] > 4.001 {
		t.Errorf("from one in %g to one in %g, want from 1 to 4", got.OneIn[0], got.OneIn[last])
	}
	if got.LatencyMs[0] < 0.99 || got.LatencyMs[0] > 1.01 || got.LatencyMs[last] < 2.9 {
		t.Errorf("from %g to %g ms, want from 1 to at least 3", got.LatencyMs[0], got.LatencyMs[last])
	}
	if none, err := newCurve(armReport{Name: alone}); err != nil || len(none.OneIn) != 0 {
		t.Errorf("an arm without requests: %v, %v, want no points", none, err)
	}
}

func TestTimelineJoinsTheRounds(t *testing.T) {
	got := newBand(ordinary, sampleReport(t).Windows)
	if diff := cmp.Diff([]float64{3, 6, 9, 12}, got.Seconds); diff != "" {
		t.Errorf("seconds (-want,+got):\n%s", diff)
	}
	if diff := cmp.Diff([]float64{6}, got.Rounds); diff != "" {
		t.Errorf("round borders (-want,+got):\n%s", diff)
	}
}
