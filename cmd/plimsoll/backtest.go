package main

import (
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/plimsoll/plimsoll/pkg/planner"
	"github.com/plimsoll/plimsoll/pkg/trace"
)

// backtestReport is all that a back-test found, as it is printed as JSON.
type backtestReport struct {
	Resource trace.Resource           `json:"resource"`
	Traces   []trace.Report           `json:"traces"`
	Results  []planner.BacktestResult `json:"results"`
	Verdicts []planner.Verdict        `json:"verdicts"`
}

// The scopes: what a node is.
const (
	scopeSingle = "single machines"
	scopeGroup  = "groups of 10"
	groupSize   = 10
)

func backtestCommand() *cobra.Command {
	var traces []string
	var page string
	var maxSkippedPercent float64
	var resource string
	c := &cobra.Command{
		Use:   "backtest --trace PATH [--trace PATH ...]",
		Short: "Replay recorded use through the forecast, and compare it with simpler methods",
		Long: `Replay recorded use of CPU, or of memory, through the very code that forecasts on a node, and through four references: what was
requested, N-sigma, a decaying histogram's 95th percentile, and the oracle that knows the future.

Each five minutes, each method forecasts the peak of the next 5 minutes, hour and 4 hours from what was there until then.
A forecast is violated when real use exceeds it at any time of its horizon. Methods are compared at the same rate of
violations: the margin of each is set, for a whole set at once, so that as many are violated.

PATH is a file or a folder of CSV files, packed or not, in one of the known formats; see docs/forecast.md. Readings that are
out of range, repeated or out of order are skipped and counted.`,
		Args: cobra.NoArgs,
	}
	output := outputFlag(c)
	c.Flags().StringArrayVar(&traces, "trace", nil, "a trace: a file or a folder; may be repeated")
	c.Flags().StringVar(&page, "html", "", "also write a page with plots to this file")
	c.Flags().Float64Var(&maxSkippedPercent, "max-skipped-percent", 100*trace.DefaultMaxSkippedShare, "refuse a trace of which more readings had to be skipped, 0 to 100")
	c.Flags().StringVar(&resource, "resource", string(trace.CPU), "cpu or memory; few traces hold memory")
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := checkOutput(*output); err != nil {
			return err
		}
		if len(traces) == 0 {
			return fmt.Errorf("--trace: none given; give a folder with CSV files")
		}
		if !(maxSkippedPercent >= 0 && maxSkippedPercent <= 100) {
			return fmt.Errorf("--max-skipped-percent %v: must be 0 to 100", maxSkippedPercent)
		}
		what := trace.Resource(resource)
		if what != trace.CPU && what != trace.Memory {
			return fmt.Errorf("--resource %q: want cpu or memory", resource)
		}
		report, err := runBacktest(traces, trace.Options{Resource: what, MaxSkippedShare: maxSkippedPercent / 100}, progressTo(cmd.ErrOrStderr()))
		if err != nil {
			return err
		}
		if page != "" {
			if err := writePage(page, report); err != nil {
				return err
			}
		}
		return showBacktest(cmd.OutOrStdout(), report, *output)
	}
	return c
}

// runBacktest loads and replays one trace after the other.
func runBacktest(paths []string, o trace.Options, progress func(what string, done, of int)) (backtestReport, error) {
	report := backtestReport{Resource: o.Resource}
	for _, path := range paths {
		progress("reading "+path, 0, 0)
		set, err := trace.Load(path, o)
		if err != nil {
			return report, err
		}
		report.Traces = append(report.Traces, set.Report)
		machines := make([]planner.Machine, len(set.Series))
		for i, s := range set.Series {
			machines[i] = planner.Machine{Name: s.Entity, Cores: s.Cores, Start: s.Start, Shares: s.Shares}
		}
		scopes := []struct {
			name  string
			nodes []planner.Machine
		}{{scopeSingle, machines}, {scopeGroup, planner.Group(machines, groupSize)}}
		for _, scope := range scopes {
			if len(scope.nodes) == 0 {
				continue
			}
			report.Results = append(report.Results, planner.Backtest(set.Name, scope.name, scope.nodes, planner.BacktestOptions{
				Horizons: planner.DefaultHorizons(),
				Progress: func(done, of int) { progress(set.Name+", "+scope.name, done, of) },
			}))
		}
	}
	progress("", 0, 0)
	report.Verdicts = planner.Verdicts(report.Results)
	return report, nil
}

// progressTo writes one line over and over on a terminal, and nothing elsewhere.
func progressTo(w io.Writer) func(what string, done, of int) {
	f, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return func(string, int, int) {}
	}
	return func(what string, done, of int) {
		text := what
		if of > 0 {
			text = fmt.Sprintf("%s: %d of %d", what, done, of)
		}
		fmt.Fprintf(w, "\r\x1b[K%s", text)
	}
}

func showBacktest(out io.Writer, report backtestReport, output string) error {
	if output == "json" {
		return printJSON(out, report)
	}
	return showBacktestText(out, report)
}
