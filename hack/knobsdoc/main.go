// Command knobsdoc prints docs/knobs.md from the knob table of package cgroup. hack/update-generated.sh
// runs it.
package main

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/plimsoll/plimsoll/pkg/cgroup"
)

func main() {
	if _, err := io.WriteString(os.Stdout, page(cgroup.Knobs())); err != nil {
		fmt.Fprintln(os.Stderr, "knobsdoc: writing the page:", err)
		os.Exit(1)
	}
}

const head = `<!-- Generated from pkg/cgroup/knobtable.go by hack/update-generated.sh. Do not edit. -->
# Knobs

Every kernel setting that Plimsoll may change. Plans, NodeUtilization and the audit log speak of a knob by its neutral
name, in its neutral unit, whatever the host has; the agent translates. A knob that the host does not have is unsupported
there: nothing is written, and what asked for it says so. "Since" is the first kernel that has the file; the agent goes by
what it finds, not by the version.

"Wider" means that the group gets more of something. A plan that widens is written from the parent group down, one that
tightens from the children up, so that a failure half way leaves no group wider than it was.

`

func page(knobs []cgroup.KnobSpec) string {
	var b strings.Builder
	b.WriteString(head)
	b.WriteString("| knob | what it is | cgroup v2 | cgroup v1 |\n|---|---|---|---|\n")
	for _, k := range knobs {
		fmt.Fprintf(&b, "| [`%s`](#%s) | %s | %s | %s |\n", k.Knob, strings.ReplaceAll(string(k.Knob), ".", ""), k.Summary, files(k.V2), files(k.V1))
	}
	for _, k := range knobs {
		fmt.Fprintf(&b, "\n## %s\n\n%s.\n\n", k.Knob, sentence(k.Summary))
		row := func(name, text string) { fmt.Fprintf(&b, "- **%s**: %s\n", name, text) }
		row("unit", k.Unit)
		row("range", k.Range)
		row("cgroup v2", where(k.V2))
		row("cgroup v1", where(k.V1))
		row("rules", k.Rules)
		row("also written by", k.AlsoWrittenBy)
		row("undo by hand", k.Undo)
	}
	return b.String()
}

func files(f cgroup.KnobFiles) string {
	if len(f.Files) == 0 {
		return "none"
	}
	return "`" + strings.Join(f.Files, "`, `") + "`"
}

func where(f cgroup.KnobFiles) string {
	if len(f.Files) == 0 {
		return "none"
	}
	in := ""
	if f.Controller != "" {
		in = " in hierarchy " + f.Controller
	}
	return fmt.Sprintf("%s%s: %s. Since Linux %s", files(f), in, f.Format, f.Since)
}

func sentence(s string) string { return strings.ToUpper(s[:1]) + s[1:] }
