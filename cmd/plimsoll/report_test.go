package main

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/plimsoll/plimsoll/pkg/history/sample"
	"github.com/plimsoll/plimsoll/pkg/planner"
	"github.com/plimsoll/plimsoll/test/golden"
)

// sampleHistory is 8 made-up nodes and 10 workloads over two days.
func sampleHistory(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	o := sample.Options{Start: time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC), Nodes: 8, Workloads: 10, Days: 2, Step: 5 * time.Minute}
	if err := sample.Write(t.Context(), dir, o); err != nil {
		t.Fatal(err)
	}
	return dir
}

// sampleArgs report on it.
func sampleArgs(dir string, more ...string) []string {
	return append([]string{"report", "--history", dir, "--from", "2026-03-01", "--to", "2026-03-03"}, more...)
}

func TestReportIsTheSameAsItWas(t *testing.T) {
	dir := sampleHistory(t)
	prices := writeIn(t, "currency: EUR\nperCoreHour: 0.03\nperGiBHour: 0.004\n")
	code, out, problems := plimsoll(t, sampleArgs(dir, "--prices", prices)...)
	if code != exitOK || problems != "" {
		t.Fatalf("%d, %s", code, problems)
	}
	// The version is the build's.
	out = out[:strings.LastIndex(out, ", version ")] + "\n"
	golden.Check(t, "testdata/report.golden", out)
}

func TestReportTellsTheSameInEveryFormatEachTime(t *testing.T) {
	dir := sampleHistory(t)
	page := filepath.Join(t.TempDir(), "report.html")
	var pages, texts [2]string
	for i := range 2 {
		code, out, problems := plimsoll(t, sampleArgs(dir, "-o", "json", "--html", page)...)
		if code != exitOK {
			t.Fatal(problems)
		}
		data, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		pages[i], texts[i] = string(data), out
	}
	if pages[0] != pages[1] || texts[0] != texts[1] {
		t.Error("the same inputs give other bytes the second time")
	}
	if most := 5 << 20; len(pages[0]) > most {
		t.Errorf("the page has %d bytes, more than %d", len(pages[0]), most)
	}
	if strings.Contains(pages[0], `src="http`) || strings.Contains(pages[0], `href="http`) {
		t.Error("the page needs the network")
	}
	var r planner.Report
	if err := json.Unmarshal([]byte(texts[0]), &r); err != nil {
		t.Fatal(err)
	}
	_, out, _ := plimsoll(t, sampleArgs(dir, "-o", "csv")...)
	rows, err := csv.NewReader(strings.NewReader(out)).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	if want := 2 + len(r.Pools) + len(r.Nodes) + len(r.Namespaces) + len(r.Workloads); len(rows) != want {
		t.Errorf("%d lines of CSV, want %d", len(rows), want)
	}
	// Some nodes only, and none.
	code, out, _ := plimsoll(t, sampleArgs(dir, "-o", "json", "--nodes", "node-000[12]", "--pool", "trading")...)
	if err := json.Unmarshal([]byte(out), &r); err != nil || code != exitOK || len(r.Nodes) != 1 || r.Nodes[0].Name != "node-0001" {
		t.Errorf("one node: %d, %v, %d nodes", code, err, len(r.Nodes))
	}
	if code, out, _ := plimsoll(t, sampleArgs(dir, "--pool", "none")...); code != exitFound || !strings.Contains(out, "no node in this period") {
		t.Errorf("no node: %d, %s", code, out)
	}
}

func TestReportRefusesWhatItCannotDo(t *testing.T) {
	f := func(part string, args ...string) {
		t.Helper()
		var out, problems bytes.Buffer
		if code := run(t.Context(), append([]string{"report"}, args...), &out, &problems); code != exitError || !strings.Contains(problems.String(), part) {
			t.Errorf("%q: %d, %q, want 2 and %q", args, code, problems.String(), part)
		}
	}
	f("give one of --history", "--from", "2026-03-01")
	f("--from: none given", "--history", "x")
	f("--step 10ms: must be whole seconds from 1s to 1h", "--history", "x", "--from", "2026-03-01", "--step", "10ms")
	f("must be from 0 to 0.5", "--history", "x", "--from", "2026-03-01", "--risk", "0.7")
	f("--safe-line 0", "--history", "x", "--from", "2026-03-01", "--safe-line", "0")
	f("the period has 0 steps", "--history", "x", "--from", "2026-03-01", "--to", "2026-03-01")
	f("plimsoll record", "--history", "/nowhere", "--from", "2026-03-01", "--to", "2026-03-02")
	f("is it at that address", "--prometheus", "http://127.0.0.1:1", "--from", "2026-03-01", "--to", "2026-03-02")
	f("is no address", "--prometheus", "here", "--from", "2026-03-01", "--to", "2026-03-02")
	f(`unknown field "perCore"`, "--history", "x", "--from", "2026-03-01", "--to", "2026-03-02", "--prices", writeIn(t, "perCore: 1\n"))
}
