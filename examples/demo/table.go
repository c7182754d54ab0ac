package main

import (
	"fmt"
	"io"
	"math"
	"strings"
	"unicode/utf8"
)

// column is one metric of the table.
type column struct {
	title  string
	digits int
	value  func(armReport) spread
}

func columns() []column {
	return []column{
		{"p50 ms", 1, func(a armReport) spread { return a.P50Ms }},
		{"p99 ms", 1, func(a armReport) spread { return a.P99Ms }},
		{"p99.9 ms", 1, func(a armReport) spread { return a.P999Ms }},
		{"max ms", 1, func(a armReport) spread { return a.MaxMs }},
		{"requests", 0, func(a armReport) spread { return a.Requests }},
		{"node CPU %", 0, func(a armReport) spread { return a.NodeCPUPercent }},
		{"batch CPU s", 1, func(a armReport) spread { return a.BatchCPUSeconds }},
		{"batch work", 0, func(a armReport) spread { return a.BatchWork }},
		{"eff. util. %", 0, func(a armReport) spread { return a.EffectiveUtilizationPercent }},
	}
}

// printReport prints the table, the targets and what the numbers were measured on.
func printReport(out io.Writer, r *report, style style) {
	fmt.Fprintf(out, "\n%s\n\n", style.bold(fmt.Sprintf("Median of %g s windows over the rounds (%d), and below it the range", r.RoundSeconds, r.Rounds)))
	rows := [][]string{{""}}
	for _, c := range columns() {
		rows[0] = append(rows[0], c.title)
	}
	for _, arm := range append(r.Arms, r.BatchAlone) {
		medians, ranges := []string{arm.Name.title()}, []string{""}
		for _, c := range columns() {
			middle, ends := texts(arm, c)
			medians, ranges = append(medians, middle), append(ranges, ends)
		}
		rows = append(rows, medians, ranges)
	}
	printAligned(out, rows)
	fmt.Fprintf(out, "\nEffective utilization: the service's throughput and batch's, each relative to having the machine to itself.\n\n")
	printTargets(out, r.Targets, style)
	fmt.Fprintf(out, "\n%s\n", setupLine(r.setup))
	for _, warning := range r.Warnings {
		fmt.Fprintf(out, "Note: %s\n", warning)
	}
}

func printTargets(out io.Writer, targets []target, style style) {
	for _, t := range targets {
		verdict := style.green("met   ")
		if !t.Met {
			verdict = style.red("missed")
		}
		fmt.Fprintf(out, "  %s  %-52s  measured %.2f\n", verdict, t.Text, t.Measured)
	}
}

// setupLine says in one line what the numbers were measured on.
func setupLine(s setup) string {
	return fmt.Sprintf("%s, %s, %d cores, Linux %s, cgroup %s, Kubernetes %s; %g requests/s, %d batch threads.",
		s.Date.UTC().Format("2006-01-02 15:04 UTC"), s.CPUModel, s.Cores, s.Kernel, s.Cgroup, s.Kubernetes, s.RatePerSecond, s.BatchThreads)
}

// texts are a spread's median and its range. Batch alone has no service and alone no batch: those have
// nothing to show.
func texts(arm armReport, c column) (median, ends string) {
	s := c.value(arm)
	if s == (spread{}) {
		return "-", ""
	}
	text := func(value float64) string { return thousands(value, c.digits) }
	return text(s.Median), text(s.Min) + "-" + text(s.Max)
}

// thousands formats a number that is not negative with commas between groups of three digits.
func thousands(value float64, digits int) string {
	whole, fraction, _ := strings.Cut(fmt.Sprintf("%.*f", digits, math.Abs(value)), ".")
	for at := len(whole) - 3; at > 0; at -= 3 {
		whole = whole[:at] + "," + whole[at:]
	}
	if fraction == "" {
		return whole
	}
	return whole + "." + fraction
}

// printAligned prints rows with the first column to the left and the others to the right.
func printAligned(out io.Writer, rows [][]string) {
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, text := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(text))
		}
	}
	for _, row := range rows {
		var line strings.Builder
		fmt.Fprintf(&line, "  %-*s", widths[0], row[0])
		for i, text := range row[1:] {
			fmt.Fprintf(&line, "  %*s", widths[i+1], text)
		}
		fmt.Fprintln(out, strings.TrimRight(line.String(), " "))
	}
}
