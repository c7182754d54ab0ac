package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/plimsoll/plimsoll/pkg/planner"
)

// browser opens a page in a real Chromium, and fails the test for what the page writes to the console.
func browser(t *testing.T, page string) context.Context {
	t.Helper()
	program, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip("there is no chromium: hack/install-deps.sh installs it")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(program), chromedp.NoSandbox, chromedp.WindowSize(1280, 1000))
	allocator, cancel := chromedp.NewExecAllocator(t.Context(), options...)
	t.Cleanup(cancel)
	ctx, cancel := chromedp.NewContext(allocator)
	t.Cleanup(cancel)
	ctx, cancel = context.WithTimeout(ctx, 2*time.Minute)
	t.Cleanup(cancel)
	var mutex sync.Mutex
	var said []string
	messages := chromedp.Console(ctx) // listens from here on
	var reading sync.WaitGroup
	reading.Go(func() {
		for message, err := range messages {
			if err != nil {
				return // the browser has ended
			}
			mutex.Lock()
			said = append(said, fmt.Sprintf("%+v", message))
			mutex.Unlock()
		}
	})
	t.Cleanup(func() {
		mutex.Lock()
		defer mutex.Unlock()
		if len(said) > 0 {
			t.Errorf("the page says on the console: %q", said)
		}
	})
	if err := chromedp.Do(ctx, chromedp.Navigate("file://"+page), chromedp.WaitVisible("#fleet .uplot")); err != nil {
		t.Fatal(err)
	}
	return ctx
}

// inPage evaluates JavaScript.
func inPage[V any](t *testing.T, ctx context.Context, script string) V { //nolint:revive // t first, as everywhere
	t.Helper()
	v, err := chromedp.Run(ctx, chromedp.Evaluate[V](script, chromedp.EvalAwaitPromise))
	if err != nil {
		t.Fatalf("%s: %v", script, err)
	}
	return v
}

// mostInteractive is when a person can use the page at the latest.
const mostInteractive = time.Second

// interactiveAfter is what the page that is open took until a person could use it: its scripts are at its end,
// so the charts are drawn and the filters listen by then.
func interactiveAfter(t *testing.T, ctx context.Context) time.Duration { //nolint:revive // t first, as everywhere
	t.Helper()
	milliseconds := inPage[float64](t, ctx, `performance.getEntriesByType("navigation")[0].domInteractive`)
	return time.Duration(milliseconds * float64(time.Millisecond)).Round(time.Millisecond)
}

// interactiveInTime holds a page to mostInteractive where somebody measures, and says elsewhere what it took.
func interactiveInTime(t *testing.T, took time.Duration) {
	t.Helper()
	t.Logf("interactive after %v", took)
	if took > mostInteractive && os.Getenv("PLIMSOLL_MEASURE") != "" {
		t.Errorf("interactive after %v, more than %v", took, mostInteractive)
	}
}

func TestThePageWorksInChromium(t *testing.T) {
	dir := sampleHistory(t)
	page := filepath.Join(t.TempDir(), "report.html")
	code, out, problems := plimsoll(t, sampleArgs(dir, "-o", "json", "--html", page)...)
	if code != exitOK {
		t.Fatal(problems)
	}
	var r planner.Report
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatal(err)
	}
	ctx := browser(t, page)

	t.Run("the tables hold what the JSON holds", func(t *testing.T) {
		for id, lines := range map[string][]planner.Line{"nodes": r.Nodes, "pools": r.Pools, "namespaces": r.Namespaces, "workloads": r.Workloads} {
			rows := inPage[[][]string](t, ctx, `[...document.querySelectorAll("#`+id+` tbody tr")].map(r => [...r.cells].map(c => c.textContent))`)
			if len(rows) != len(lines) {
				t.Fatalf("%s has %d rows, want %d", id, len(rows), len(lines))
			}
			for i, l := range lines {
				c := l.CPUHours
				want := []string{l.Name, percent(l.Coverage), ofNode(c, c.Capacity), amount(c.Requested), amount(c.Used), ofNode(c, c.Batch), ofNode(c, c.Lent), ofNode(c, c.CouldBeLent)}
				switch id {
				case "nodes":
					want = append(want, percent(l.UsedP50), percent(l.UsedP99), percent(l.UsedMax))
				case "workloads":
					want = append(want, fmt.Sprintf("%.2f", l.UsedP50), fmt.Sprintf("%.2f", l.UsedP99), fmt.Sprintf("%.2f", l.UsedMax))
				}
				want = append(want, amount(l.GiBHours.Used), amountOf(l.PressureMinutes), amountOf(l.ThrottledPodMinutes), amountOf(l.BatchThrottledMinutes), count(l.Evictions))
				if got := rows[i]; strings.Join(got, "|") != strings.Join(want, "|") {
					t.Errorf("%s row %d is %q, want %q", id, i, got, want)
				}
			}
		}
		tiles := inPage[map[string]string](t, ctx, `Object.fromEntries([...document.querySelectorAll(".tiles li")].map(l => [l.firstChild.textContent, l.querySelector("b").textContent]))`)
		for tile, want := range map[string]string{
			"CPU used": ratio(r.Fleet.CPUHours.Used, r.Fleet.CPUHours.Capacity), "Under pressure": amountOf(r.Fleet.PressureMinutes) + " min",
			"Services throttled": amountOf(r.Fleet.ThrottledPodMinutes) + " min", "Batch held back": amountOf(r.Fleet.BatchThrottledMinutes) + " min", "Evicted": count(r.Fleet.Evictions),
		} {
			if tiles[tile] != want {
				t.Errorf("tile %s says %q, want %q", tile, tiles[tile], want)
			}
		}
		if got, want := inPage[float64](t, ctx, `charts[0].data[3][10]`), *r.Series.Used[10]; got != want {
			t.Errorf("the chart draws %v, want %v", got, want)
		}
	})
	t.Run("a filter leaves the rows that match", func(t *testing.T) {
		if err := chromedp.Do(ctx, chromedp.SendKeys("#nodes-filter", "node-0003")); err != nil {
			t.Fatal(err)
		}
		if got := inPage[[]string](t, ctx, `[...document.querySelectorAll("#nodes tbody tr")].filter(r => r.checkVisibility()).map(r => r.cells[0].textContent)`); len(got) != 1 || got[0] != "node-0003" {
			t.Errorf("shown are %q", got)
		}
		if got := inPage[string](t, ctx, `document.getElementById("nodes-count").textContent`); got != "1 of 8" {
			t.Errorf("it says %q", got)
		}
	})
	t.Run("a heading sorts", func(t *testing.T) {
		if err := chromedp.Do(ctx, chromedp.Evaluate[chromedp.Void](`((f) => { f.value = ""; f.dispatchEvent(new Event("input")); })(document.getElementById("nodes-filter"))`),
			chromedp.Click("#nodes thead th:nth-child(5) button")); err != nil {
			t.Fatal(err)
		}
		used := inPage[[]float64](t, ctx, `[...document.querySelectorAll("#nodes tbody tr")].map(r => parseFloat(r.cells[4].textContent))`)
		for i := 1; i < len(used); i++ {
			if used[i] > used[i-1] {
				t.Errorf("not sorted downwards: %v", used)
			}
		}
	})
	t.Run("zooming by keyboard and by drag shows a part, and the whole again", func(t *testing.T) { testZoom(t, ctx) })
	t.Run("axe finds nothing in light and in dark", func(t *testing.T) { testAxe(t, ctx) })
	t.Run("it is interactive in time", func(t *testing.T) { interactiveInTime(t, interactiveAfter(t, ctx)) })
	keepScreenshot(t, ctx, "report")
}

func testZoom(t *testing.T, ctx context.Context) { //nolint:revive // t first, as everywhere
	length := func() float64 { return inPage[float64](t, ctx, `charts[0].scales.x.max - charts[0].scales.x.min`) }
	whole := length()
	if err := chromedp.Do(ctx, chromedp.Focus("#zoom-in"), chromedp.KeyEvent("\r")); err != nil {
		t.Fatal(err)
	}
	if got := length(); got != whole/2 {
		t.Errorf("zoomed in by keyboard: %v s of %v s", got, whole)
	}
	if err := chromedp.Do(ctx, chromedp.Click("#zoom-reset")); err != nil || length() != whole {
		t.Errorf("the whole period again: %v s, %v", length(), err)
	}
	box := inPage[[]float64](t, ctx, `((over) => { over.scrollIntoView({ block: "center", behavior: "instant" }); const b = over.getBoundingClientRect(); return [b.left, b.top, b.width]; })(document.querySelector("#fleet .u-over"))`)
	if err := chromedp.Do(ctx, chromedp.DragAndDropXY(box[0]+0.25*box[2], box[1]+60, box[0]+0.5*box[2], box[1]+80)); err != nil {
		t.Fatal(err)
	}
	if got := length(); got < whole*0.2 || got > whole*0.3 {
		t.Errorf("a drag over a quarter shows %v s of %v s", got, whole)
	}
	if got := inPage[string](t, ctx, `document.getElementById("shown").textContent`); strings.HasPrefix(got, "2026-03-01 00:00") {
		t.Errorf("the part shown is said to be %q", got)
	}
	if err := chromedp.Do(ctx, chromedp.Click("#zoom-reset")); err != nil {
		t.Fatal(err)
	}
}

// violation is one of axe-core's findings.
type violation struct {
	ID    string
	Help  string
	Nodes []struct{ HTML string }
}

func testAxe(t *testing.T, ctx context.Context) { //nolint:revive // t first, as everywhere
	axe, err := os.ReadFile("testdata/axe.min.js")
	if err != nil {
		t.Fatal(err)
	}
	if err := chromedp.Do(ctx, chromedp.Evaluate[chromedp.Void](string(axe))); err != nil {
		t.Fatal(err)
	}
	find := func() []violation {
		return inPage[[]violation](t, ctx, `axe.run().then(r => r.violations.map(v => ({ ID: v.id, Help: v.help, Nodes: v.nodes.map(n => ({ HTML: n.html })) })))`)
	}
	for _, theme := range []string{"light", "dark"} {
		inPage[bool](t, ctx, `(setTheme(`+fmt.Sprint(theme == "dark")+`), true)`)
		for _, v := range find() {
			t.Errorf("%s: %s: %s: %d times, first %s", theme, v.ID, v.Help, len(v.Nodes), v.Nodes[0].HTML)
		}
	}
	inPage[bool](t, ctx, `(setTheme(false), document.querySelector("main").insertAdjacentHTML("beforeend", "<img id=bad src='data:,'>"), true)`)
	if len(find()) == 0 {
		t.Error("an image without a text is not found: the check finds nothing")
	}
	inPage[bool](t, ctx, `(document.getElementById("bad").remove(), true)`)
}

// keepScreenshot keeps a picture where PLIMSOLL_SCREENSHOTS says.
func keepScreenshot(t *testing.T, ctx context.Context, name string) { //nolint:revive // t first, as everywhere
	dir := os.Getenv("PLIMSOLL_SCREENSHOTS")
	if dir == "" {
		return
	}
	if err := chromedp.Do(ctx, chromedp.EmulateViewport(1100, 1200), chromedp.Evaluate[chromedp.Void](`(draw(), scrollTo(0, 0))`)); err != nil {
		t.Fatal(err)
	}
	picture, err := chromedp.Run(ctx, chromedp.CaptureScreenshot())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name+".png"), picture, 0o600); err != nil {
		t.Fatal(err)
	}
}
