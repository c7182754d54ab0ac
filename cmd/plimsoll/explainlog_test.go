package main

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/plimsoll/plimsoll/pkg/audit"
	"github.com/plimsoll/plimsoll/test/golden"
)

// aDay is the log of a node on which batch work was capped at 10:01, let on at 10:20, and a pod evicted at 10:30.
func aDay(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	l, err := audit.Open(audit.Options{Dir: dir, MaxFileBytes: 1 << 20, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	at := func(text string) time.Time {
		v, err := time.Parse(time.DateTime, "2026-03-02 "+text)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	s := func(v string) *string { return &v }
	const branch, container = "/kubepods/plimsoll-batch", "/kubepods/plimsoll-batch/c1"
	for _, e := range []audit.Entry{
		{Time: at("06:00:00"), Kind: audit.KindWrite, Node: "n1", Group: branch, Knob: "cpu.idle", Old: s("0"), New: s("1"), ReadBack: s("1"), Strategy: "batchidle", Why: "batch runs only when no online task wants the CPU"},
		{Time: at("06:00:01"), Kind: audit.KindWrite, Node: "n1", Group: branch, Knob: "memory.high", Old: s("max"), New: s("1"), Error: "EINVAL", Strategy: "batchbound", Why: "tried"},
		{Time: at("10:01:58"), Kind: audit.KindWrite, Node: "n1", Group: branch, Knob: "cpu.quota", Old: s("max"), New: s("800000"), ReadBack: s("800000"), Strategy: "batchcap",
			Why: "online tasks waited 412 permille of the time", Inputs: map[string]string{"node.milliCPU": "1990", "node.cpuSomePermille": "412"}},
		{Time: at("10:02:03"), Kind: audit.KindWrite, Node: "n1", Group: container, Pod: "risk/nightly-7 (u7)", Knob: "cpu.weight", Old: s("100"), New: s("10"), ReadBack: s("10"), Strategy: "batchcap", Why: "of this pod"},
		{Time: at("10:02:04"), Kind: audit.KindWrite, Node: "n1", Group: container + "x", Pod: "risk/nightly-70 (u8)", Knob: "cpu.weight", New: s("10"), Strategy: "batchcap", Why: "of another pod"},
		{Time: at("10:20:00"), Kind: audit.KindWrite, Node: "n1", Group: branch, Knob: "cpu.quota", Old: s("800000"), New: s("max"), ReadBack: s("max"), Strategy: "batchcap", Why: "no pressure for a while"},
		{Time: at("10:30:00"), Kind: audit.KindEviction, Node: "n1", Group: container, Pod: "risk/nightly-7 (u7)", Strategy: "evict", Why: "starved for 600 s", Inputs: map[string]string{"pod.milliCPU": "3"}},
		{Time: at("10:30:01"), Kind: audit.KindEviction, Node: "n1", Group: container, Pod: "risk/nightly-70 (u8)", Strategy: "evict", Why: "starved", Error: "a disruption budget forbids it"},
	} {
		l.Append(e)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestWhyAJobWasThrottledIsToldFromReadingToWrite(t *testing.T) {
	dir := aDay(t)
	code, out, problems := plimsoll(t, "explain", "throttle", "risk/nightly-7", "--audit-dir", dir, "--at", "2026-03-02 10:02")
	if code != exitOK || problems != "" {
		t.Fatalf("%d, %s", code, problems)
	}
	golden.Check(t, "testdata/throttle.golden", out)
	// What it was before, what held, and no other pod's.
	code, out, _ = plimsoll(t, "explain", "throttle", "risk/nightly-7", "--audit-dir", dir, "--at", "2026-03-02 10:19", "--within", "90s", "-o", "json")
	var a logAnswer
	if err := json.Unmarshal([]byte(out), &a); err != nil || code != exitOK {
		t.Fatalf("%d, %v", code, err)
	}
	var held []string
	for _, r := range a.Before {
		held = append(held, r.Knob+"="+*r.ReadBack)
	}
	if got := strings.Join(held, " "); got != "cpu.idle=1 cpu.quota=800000 cpu.weight=10" || len(a.Around) != 1 || *a.Around[0].New != "max" || !a.Intact {
		t.Errorf("in force from before: %s; around: %+v; intact %v", got, a.Around, a.Intact)
	}
}

func TestWhyAPodWasEvictedIsTold(t *testing.T) {
	dir := aDay(t)
	code, out, _ := plimsoll(t, "explain", "eviction", "risk/nightly-7", "--audit-dir", dir, "--at", "2026-03-02T10:30:00Z")
	for _, want := range []string{"pod.milliCPU 3", "evict: starved for 600 s", "done:    evicted"} {
		if !strings.Contains(out, want) {
			t.Errorf("%d, %s\nwant %q", code, out, want)
		}
	}
	if strings.Contains(out, "nightly-70") {
		t.Errorf("another pod's: %s", out)
	}
	if _, out, _ = plimsoll(t, "explain", "eviction", "--audit-dir", dir, "--at", "2026-03-02T10:30:00Z"); !strings.Contains(out, "not evicted: a disruption budget forbids it") {
		t.Errorf("all pods: %s", out)
	}
	if code, out, _ = plimsoll(t, "explain", "eviction", "--audit-dir", dir, "--at", "2026-03-02 09:00"); code != exitFound || !strings.Contains(out, "tells of nothing then") {
		t.Errorf("a quiet time: %d, %s", code, out)
	}
}

func TestAnEditedLogIsNotTrustedSilently(t *testing.T) {
	dir := aDay(t)
	files, err := filepath.Glob(filepath.Join(dir, "audit-*.jsonl"))
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	replaceIn(t, files[0], "412 permille", "12 permille")
	if _, out, _ := plimsoll(t, "explain", "throttle", "--audit-dir", dir, "--at", "2026-03-02 10:02"); !strings.Contains(out, "not as it was written") {
		t.Errorf("an edited log: %s", out)
	}
	f := func(part string, args ...string) {
		t.Helper()
		if code, _, problems := plimsoll(t, append([]string{"explain"}, args...)...); code != exitError || !strings.Contains(problems, part) {
			t.Errorf("%q: %d, %q, want 2 and %q", args, code, problems, part)
		}
	}
	f("--at \"yesterday\"", "throttle", "--at", "yesterday")
	f("want NAMESPACE/NAME", "throttle", "nightly-7")
	f("--audit-dir", "eviction", "--audit-dir", t.TempDir())
}

func TestANodeIsExplainedByItsArithmetic(t *testing.T) {
	var out bytes.Buffer
	nodes := someNodes()
	if err := showNode(&out, &nodes[0], topNow); err != nil {
		t.Fatal(err)
	}
	if err := showNode(&out, &nodes[1], topNow.Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	golden.Check(t, "testdata/node.golden", out.String())
}

func replaceIn(t *testing.T, file, was, is string) {
	t.Helper()
	data, err := readInput(file, nil)
	if err != nil {
		t.Fatal(err)
	}
	write(t, file, strings.Replace(string(data), was, is, 1))
}
