package main

import (
	"strings"
	"testing"

	"github.com/plimsoll/plimsoll/pkg/cgroup"
)

func TestEachKnobIsOnThePage(t *testing.T) {
	got := page([]cgroup.KnobSpec{
		{
			Knob: "a.b", Summary: "does it", Unit: "u", Range: "r", Rules: "never", AlsoWrittenBy: "nobody", Undo: "write 0",
			V2: cgroup.KnobFiles{Files: []string{"a"}, Format: "N", Since: "5.0"},
			V1: cgroup.KnobFiles{Controller: "c", Files: []string{"a.x", "a.y"}, Format: "X; Y", Since: "3.2"},
		},
		{Knob: "none.here", Summary: "is not there"},
	})
	for _, want := range []string{
		"| [`a.b`](#ab) | does it | `a` | `a.x`, `a.y` |", "## a.b\n\nDoes it.", "- **unit**: u", "- **range**: r",
		"- **cgroup v2**: `a`: N. Since Linux 5.0", "- **cgroup v1**: `a.x`, `a.y` in hierarchy c: X; Y. Since Linux 3.2",
		"- **rules**: never", "- **also written by**: nobody", "- **undo by hand**: write 0", "| is not there | none | none |",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("the page lacks %q:\n%s", want, got)
		}
	}
}
