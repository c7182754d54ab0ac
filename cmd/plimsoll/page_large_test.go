package main

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/plimsoll/plimsoll/pkg/planner"
)

// A fleet that a page must be quick for.
const (
	largeNodes, largeWorkloads = 1000, 300
	largeSteps, largeStep      = 30 * 24 * 12, 300 // 30 days at 5 minutes
	mostPageBytes              = 5 << 20
	mostElements               = 30_000 // what a browser takes to lay a page out grows with these
)

// largeReport is of a fleet in which nodes and workloads differ and change with the time of day.
func largeReport() planner.Report {
	b := planner.NewReportBuilder(planner.ReportOptions{
		Start: time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC), Steps: largeSteps, StepSeconds: largeStep, SafeLine: 0.8, Risk: 0.001, PressureRatio: 0.1, Headroom: 0.2,
	})
	day := make([]float64, largeSteps)
	for i := range day {
		day[i] = 0.5 - 0.5*math.Cos(2*math.Pi*float64(i)/288)
	}
	series := func(of func(i int) float64) []float64 {
		s := make([]float64, largeSteps)
		for i := range s {
			s[i] = of(i)
		}
		return s
	}
	of := func(v float64) []float64 { return series(func(int) float64 { return v }) }
	for n := range largeNodes {
		x := float64(n%97) / 97
		amounts := func(unit float64) planner.Amounts {
			return planner.Amounts{
				Capacity: of(64 * unit), Requested: of((30 + 20*x) * unit), Used: series(func(i int) float64 { return (10 + 30*x*day[i] + float64((i*7+n)%13)/5) * unit }),
				Batch: series(func(i int) float64 { return (4 + 3*day[i]) * unit }), Lent: of(8 * unit), Lendable: of((20 + 10*x) * unit),
			}
		}
		counter := func(each float64) []float64 {
			return series(func(i int) float64 { return math.Floor(each * x * float64(i)) })
		}
		b.AddNode(planner.NodeHistory{
			Name: fmt.Sprintf("node-%04d.eu-central-1.internal", n), Pool: fmt.Sprint("pool-", n%7), CPU: amounts(1), Memory: amounts(4 << 30),
			Pressure: series(func(i int) float64 { return 0.12 * x * day[i] }), ThrottledSeconds: counter(3), BatchThrottledSeconds: counter(2), Evictions: counter(0.01),
		})
	}
	for w := range largeWorkloads {
		b.AddWorkload(planner.WorkloadHistory{
			Namespace: fmt.Sprint("namespace-", w%20), Workload: fmt.Sprintf("Deployment/service-%03d", w), Class: "LatencySensitive",
			Requested: of(float64(2 + w%9)), Used: series(func(i int) float64 { return (1 + float64(w%5)/5) * day[i] }), MemoryRequested: of(8 << 30), MemoryUsed: of(4 << 30),
		})
	}
	return b.Report()
}

// The page of 1,000 nodes over 30 days in a real Chromium. The fastest of five openings counts.
func TestThePageOfALargeFleetIsSmallAndQuick(t *testing.T) {
	page := filepath.Join(t.TempDir(), "large.html")
	if err := writeReportPage(page, largeReport()); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(page)
	if err != nil {
		t.Fatal(err)
	}
	if info.Size() > mostPageBytes {
		t.Errorf("the page has %d bytes, more than %d", info.Size(), mostPageBytes)
	}
	ctx := browser(t, page)
	var opened []time.Duration
	for range 5 {
		if err := chromedp.Do(ctx, chromedp.Navigate("file://"+page), chromedp.WaitVisible("#fleet .uplot")); err != nil {
			t.Fatal(err)
		}
		if rows := inPage[int](t, ctx, `document.querySelectorAll("#nodes tbody tr").length`); rows != largeNodes {
			t.Fatalf("%d rows, want %d", rows, largeNodes)
		}
		opened = append(opened, interactiveAfter(t, ctx))
	}
	if elements := inPage[int](t, ctx, `document.querySelectorAll("*").length`); elements > mostElements {
		t.Errorf("the page has %d elements to lay out, more than %d", elements, mostElements)
	}
	const laidOut = `document.querySelector("#nodes tbody tr").checkVisibility({ contentVisibilityAuto: true })`
	if inPage[bool](t, ctx, laidOut) {
		t.Error("the table of the nodes is laid out before it is in sight")
	}
	// A person who filters has it in sight.
	if !inPage[bool](t, ctx, `(async () => { document.getElementById("nodes-filter").scrollIntoView();
		for (let frame = 0; frame < 3; frame++) await new Promise(requestAnimationFrame);
		return `+laidOut+`; })()`) {
		t.Error("the table of the nodes is in sight and not laid out")
	}
	// What a filter takes until it is laid out.
	filtered := time.Duration(inPage[float64](t, ctx, `(() => { const f = document.getElementById("nodes-filter"), begin = performance.now(); f.value = "node-0003"; f.dispatchEvent(new Event("input"));
		document.body.getBoundingClientRect(); return performance.now() - begin; })()`) * float64(time.Millisecond))
	t.Logf("%d nodes, %d workloads, %d steps: %.2f MB, interactive after %v, filtered in %v", largeNodes, largeWorkloads, largeSteps, float64(info.Size())/1e6, opened, filtered)
	interactiveInTime(t, slices.Min(opened))
}
