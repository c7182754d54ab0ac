package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/plimsoll/plimsoll/pkg/actuate/probe"
)

func TestProbeResultsArePrintedAlignedOrAsJSON(t *testing.T) {
	results := []probe.Result{{Name: "cpu.idle", State: probe.Works, Detail: "wrote \"1\""}, {Name: "memory.reclaim", State: probe.Unknown, Detail: "why"}}
	var table bytes.Buffer
	if err := writeTable(&table, results); err != nil {
		t.Fatal(err)
	}
	want := "NAME            STATE    DETAIL\ncpu.idle        Works    wrote \"1\"\nmemory.reclaim  Unknown  why\n"
	if diff := cmp.Diff(want, table.String()); diff != "" {
		t.Errorf("table (-want +got):\n%s", diff)
	}
	var text bytes.Buffer
	if err := writeJSON(&text, results); err != nil {
		t.Fatal(err)
	}
	var got []probe.Result
	if err := json.Unmarshal(text.Bytes(), &got); err != nil || !cmp.Equal(results, got) {
		t.Errorf("JSON reads as %+v, %v, want %+v", got, err, results)
	}
}

func TestAnOutputThatIsNotKnownIsRefused(t *testing.T) {
	c := command()
	c.SetArgs([]string{"probe", "-o", "yaml"})
	if err := c.Execute(); err == nil || !strings.Contains(err.Error(), `"yaml"`) || !strings.Contains(err.Error(), "table or json") {
		t.Errorf("error %v, want one that names yaml and what there is", err)
	}
}
