package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/plimsoll/plimsoll/pkg/planner"
	"github.com/plimsoll/plimsoll/pkg/trace"
)

// writeTrace writes a trace of some machines with a daily rhythm.
func writeTrace(t *testing.T, machines, days int) (dir string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "rhythm")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	b.WriteString("entity,unix_seconds,cpu_percent\n")
	for m := range machines {
		for i := range days * 288 {
			use := 20 + 10*math.Sin(2*math.Pi*float64(i)/288+float64(m)) + float64((i*7919+m*104729)%11)
			fmt.Fprintf(&b, "m%d,%d,%.2f\n", m, i*300, use)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "use.csv"), b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestBacktestPrintsTheTableTheTargetsAndAPage(t *testing.T) {
	dir, page := writeTrace(t, 6, 4), filepath.Join(t.TempDir(), "page.html")
	code, out, problems := plimsoll(t, "backtest", "--trace", dir, "--html", page)
	if code != 0 || problems != "" || strings.Contains(out, "\x1b") {
		t.Fatalf("%d, %q, %q", code, out, problems)
	}
	for _, want := range []string{
		"rhythm, single machines: 6\n", "rhythm, groups of 10: 1\n", "1 h   plimsoll", "1 h  histogram", "1 h    n-sigma",
		"1 h   requests", "1 h     oracle", "1 % promised", "Targets, at 1 h:", "not below the best reference",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in:\n%s", want, out)
		}
	}
	html, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"<h2>rhythm, single machines: 6</h2>", "var uPlot=", `"set":"rhythm"`, `id="example0"`} {
		if !bytes.Contains(html, []byte(want)) {
			t.Errorf("no %q in the page", want)
		}
	}
	for _, not := range []string{"src=", "href=", "@import", "NaN", "Infinity", "ZgotmplZ"} {
		if bytes.Contains(bytes.ReplaceAll(html, []byte(plotScript), nil), []byte(not)) {
			t.Errorf("%q in the page: it must stand alone and hold numbers", not)
		}
	}
}

func TestBacktestAsJSONIsTheSameNumbers(t *testing.T) {
	code, out, problems := plimsoll(t, "backtest", "--trace", writeTrace(t, 2, 3), "-o", "json")
	var r backtestReport
	if err := json.Unmarshal([]byte(out), &r); err != nil || code != 0 || problems != "" {
		t.Fatalf("%d, %v, %q", code, err, problems)
	}
	if len(r.Results) != 1 || len(r.Results[0].Horizons) != 3 || r.Traces[0].Readings != 2*3*288 || len(r.Verdicts) == 0 {
		t.Errorf("%+v", r)
	}
	m, ok := r.Results[0].Horizons[1].Method(planner.MethodPlimsoll)
	if !ok || m.Usual.Gain <= 0 || m.Usual.Gain >= 1 || len(m.Swept) < 2 || m.Swept[0].Rate != 0.01 {
		t.Errorf("%+v", m)
	}
}

func TestBacktestRefusesWhatItCannotRead(t *testing.T) {
	broken := filepath.Join(t.TempDir(), "broken.csv")
	if err := os.WriteFile(broken, []byte("entity,unix_seconds,cpu_percent\na,0,NaN\na,300,5\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		args []string
		want string
	}{
		"no trace":       {nil, "--trace: none given"},
		"no such folder": {[]string{"--trace", "absent"}, "absent: no such file or directory"},
		"too many skips": {[]string{"--trace", broken}, `1 of 2, at most 5.0 % may be; first: broken.csv:2: cpu_percent "NaN", must be a finite number`},
		"a wrong share":  {[]string{"--trace", broken, "--max-skipped-percent", "101"}, "--max-skipped-percent 101: must be 0 to 100"},
		"no resource":    {[]string{"--trace", broken, "--resource", "disk"}, `--resource "disk": want cpu or memory`},
		"no memory":      {[]string{"--trace", broken, "--resource", "memory"}, "hold no memory"},
		"a wrong output": {[]string{"--trace", broken, "-o", "xml"}, `--output "xml"`},
		"a page nowhere": {[]string{"--trace", broken, "--max-skipped-percent", "50", "--html", filepath.Join(broken, "x.html")}, "writing the page"},
	}
	for name, tc := range tests {
		code, _, problems := plimsoll(t, append([]string{"backtest"}, tc.args...)...)
		if code != exitError || !strings.Contains(problems, tc.want) {
			t.Errorf("%s: %d, %q, want %q", name, code, problems, tc.want)
		}
	}
}

// The numbers of docs/forecast.md hold on the traces themselves.
func TestTheTargetsAreMetOnTheRealTraces(t *testing.T) {
	root := os.Getenv("PLIMSOLL_TRACES")
	if root == "" {
		root = "../../../shared/data"
	}
	if _, err := os.Stat(root); err != nil {
		t.Skipf("no traces: set PLIMSOLL_TRACES to the folder that holds alibaba-2018-machines and the others (%v)", err)
	}
	if testing.Short() {
		t.Skip("-short: 20 s of CPU")
	}
	var paths []string
	for _, name := range []string{"alibaba-2018-machines", "azure-2017-vms", "bitbrains-2013-vms", "planetlab-2011-vms"} {
		paths = append(paths, filepath.Join(root, name))
	}
	report, err := runBacktest(paths, trace.Options{Resource: trace.CPU, MaxSkippedShare: 0.005}, func(string, int, int) {})
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range report.Verdicts {
		t.Logf("%s: %s: %s: %v", v.Scope, v.Target, v.Measured, v.Met)
		// On groups the median ratio is out of reach: see docs/forecast.md.
		outOfReach := v.Scope == scopeGroup && strings.Contains(v.Target, "on the median set")
		if !v.Met && !outOfReach {
			t.Errorf("%s: missed: %s: %s", v.Scope, v.Target, v.Measured)
		}
	}
}
