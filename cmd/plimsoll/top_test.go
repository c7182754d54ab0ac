package main

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/plimsoll/plimsoll/pkg/api/v1alpha1"
	"github.com/plimsoll/plimsoll/pkg/fleet"
	"github.com/plimsoll/plimsoll/test/golden"
)

var topNow = time.Date(2026, 3, 2, 10, 2, 0, 0, time.UTC)

// someNodes are nodes as their agents publish them: one that lends, one that observes, one that is gone.
func someNodes() []v1alpha1.NodeUtilization {
	pressure := int32(41)
	node := func(name string, age time.Duration, status v1alpha1.NodeUtilizationStatus) v1alpha1.NodeUtilization {
		status.ObservedTime = metav1.NewMicroTime(topNow.Add(-age))
		status.Capacity = v1alpha1.Resources{MilliCPU: 16000, MemoryBytes: 64 << 30}
		u := v1alpha1.NodeUtilization{Status: status}
		u.Name = name
		return u
	}
	return []v1alpha1.NodeUtilization{
		node("trading-1", 3*time.Second, v1alpha1.NodeUtilizationStatus{
			Node: v1alpha1.Resources{MilliCPU: 9100, MemoryBytes: 30 << 30},
			Classes: []v1alpha1.ClassUtilization{
				{Class: v1alpha1.ClassLatencySensitive, Resources: v1alpha1.Resources{MilliCPU: 4000, MemoryBytes: 20 << 30}, Pressure: &v1alpha1.Pressure{CPUSomePermille: &pressure}},
				{Class: v1alpha1.ClassBatch, Resources: v1alpha1.Resources{MilliCPU: 4900, MemoryBytes: 8 << 30}},
			},
			Lendable: &v1alpha1.Lendable{
				MilliCPU:    v1alpha1.LendableSum{Computed: 7000, Published: 6200, Lent: 5000, ForecastPeak: 4800},
				MemoryBytes: v1alpha1.LendableSum{Computed: 20 << 30, Published: 20 << 30, Lent: 8 << 30}, Reason: "raised slowly: the least of the last 600 s",
			},
			Harm:       &v1alpha1.HarmTotals{ThrottledMilliseconds: new(int64(83_250)), Evictions: 2},
			CgroupMode: "v2", KernelVersion: "6.12", Strategies: []v1alpha1.StrategyStatus{{Name: "batchidle", Mode: "Enforce"}},
		}),
		node("general-1", 4*time.Second, v1alpha1.NodeUtilizationStatus{
			Node:       v1alpha1.Resources{MilliCPU: 700, MemoryBytes: 9 << 30},
			CgroupMode: "hybrid", KernelVersion: "6.1", Strategies: []v1alpha1.StrategyStatus{{Name: "batchidle", Mode: "Observe"}},
			Conditions: []metav1.Condition{{Type: v1alpha1.ConditionBatchProtected, Status: "False", Message: "strategy batchidle only observes"}},
		}),
		node("gone-1", 11*time.Minute, v1alpha1.NodeUtilizationStatus{Node: v1alpha1.Resources{MilliCPU: 15000, MemoryBytes: 1 << 30}}),
	}
}

func TestTopIsDrawnAsItWas(t *testing.T) {
	for _, output := range []string{"table", "wide", "csv", "json"} {
		var out bytes.Buffer
		if err := drawTop(&out, someNodes(), topNow, topOptions{output: output, sortBy: "used"}); err != nil {
			t.Fatal(err)
		}
		golden.Check(t, "testdata/top-"+output+".golden", out.String())
	}
	var out bytes.Buffer
	if err := drawTop(&out, nil, topNow, topOptions{output: "table", sortBy: "used"}); !errors.Is(err, errFound) || !strings.Contains(out.String(), "is plimsoll-agent running") {
		t.Errorf("an empty cluster: %v, %s", err, out.String())
	}
}

func TestTopTellsTheSameInEveryFormat(t *testing.T) {
	var asCSV, asJSON bytes.Buffer
	if err := drawTop(&asCSV, someNodes(), topNow, topOptions{output: "csv", sortBy: "name"}); err != nil {
		t.Fatal(err)
	}
	if err := drawTop(&asJSON, someNodes(), topNow, topOptions{output: "json", sortBy: "name"}); err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(&asCSV).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	var f fleet.Fleet
	if err := json.Unmarshal(asJSON.Bytes(), &f); err != nil {
		t.Fatal(err)
	}
	if len(rows) != len(f.Nodes)+1 {
		t.Fatalf("%d lines of CSV for %d nodes", len(rows), len(f.Nodes))
	}
	for i, n := range f.Nodes {
		if row := rows[i+1]; row[0] != n.Node || row[4] != fmt.Sprint(n.Used.MilliCPU) || (row[8] == "") != (n.Lent == nil) {
			t.Errorf("row %v does not tell what %+v does", row, n)
		}
	}
}

func TestTopRefusesWhatItCannotDo(t *testing.T) {
	f := func(part string, args ...string) {
		t.Helper()
		if code, _, problems := plimsoll(t, append([]string{"top"}, args...)...); code != exitError || !strings.Contains(problems, part) {
			t.Errorf("%q: %d, %q, want 2 and %q", args, code, problems, part)
		}
	}
	f("want table, wide, csv or json", "-o", "yaml")
	f("must be one of name", "--sort", "colour")
	f("must be 200ms or more", "-w", "--interval", "1ms")
	f("--kubeconfig", "--kubeconfig", "/nowhere")
}

func TestAScreenKeepsWhatFitsAndTheTotals(t *testing.T) {
	if got := clip("Größe", 3); got != "Grö" {
		t.Errorf("clipped to %q", got)
	}
	var out bytes.Buffer
	if err := screenOf(&out).draw(func(w io.Writer) error { _, err := fmt.Fprintln(w, "x"); return err }); err != nil || out.String() != "x\n" {
		t.Errorf("elsewhere than on a terminal: %v, %q", err, out.String())
	}
}

// One drawing of --watch: from what the watch brought to the table.
func BenchmarkTopDrawing1000Nodes(b *testing.B) {
	var objects []v1alpha1.NodeUtilization
	for i := range 1000 {
		u := someNodes()[i%2]
		u.Name = fmt.Sprintf("node-%04d", i)
		objects = append(objects, u)
	}
	b.ReportAllocs()
	for b.Loop() {
		if err := drawTop(io.Discard, objects, topNow, topOptions{output: "wide", sortBy: "used"}); err != nil {
			b.Fatal(err)
		}
	}
}
