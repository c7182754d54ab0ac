package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/plimsoll/plimsoll/pkg/planner"
	"github.com/plimsoll/plimsoll/pkg/trace"
)

// sameRates is how many of planner.Rates are shown as columns: 1 % and 0.1 %.
const sameRates = 2

func showBacktestText(out io.Writer, report backtestReport) error {
	for _, t := range report.Traces {
		if err := showTrace(out, t); err != nil {
			return err
		}
	}
	for i := range report.Results {
		if err := showResult(out, &report.Results[i]); err != nil {
			return err
		}
	}
	return showVerdicts(out, report.Verdicts)
}

// showTrace speaks only of what was skipped.
func showTrace(out io.Writer, t trace.Report) error {
	if t.Skipped == 0 {
		return nil
	}
	_, err := fmt.Fprintf(out, "%s: %d of %d readings skipped, first %s\n", strings.Join(t.Files, ", "), t.Skipped, t.Readings, t.Problems[0])
	return err
}

func showResult(out io.Writer, r *planner.BacktestResult) error {
	fmt.Fprintf(out, "\n%s, %s: %d\n", r.Set, r.Scope, r.Nodes)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "horizon\tmethod\tas configured: violated\tgain\tworst excess\tintervals over\tat 1 % violated: gain\tof oracle\tmargin\tat 0.1 %: gain\tof oracle\tmargin\t")
	for _, h := range r.Horizons {
		if h.Intervals == 0 {
			fmt.Fprintf(w, "%s\tno interval after a day of history\t\t\t\t\t\t\t\t\t\t\t\n", minutes(h.Minutes))
			continue
		}
		for _, m := range h.Methods {
			fmt.Fprintf(w, "%s\t%s\t%.2f %%\t%.1f %%\t%.1f %%\t%.2f %%\t", minutes(h.Minutes), m.Name,
				100*m.Usual.Violations, 100*m.Usual.Gain, 100*m.Usual.WorstExcess, 100*m.IntervalsOver)
			for _, s := range m.Swept[:sameRates] {
				fmt.Fprintf(w, "%.1f %%\t%.2f\t%s\t", 100*s.Gain, s.OfOracle, marginText(m, s))
			}
			fmt.Fprintln(w)
		}
		fmt.Fprintf(w, "%s\toracle\t0.00 %%\t%.1f %%\t0.0 %%\t0.00 %%\t%.1f %%\t1.00\t\t%.1f %%\t1.00\t\t\n",
			minutes(h.Minutes), 100*h.OracleGain, 100*h.OracleGain, 100*h.OracleGain)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	var parts []string
	for _, p := range r.Calibration {
		parts = append(parts, fmt.Sprintf("%g %% promised, %.2f %% delivered", 100*p.Promised, 100*p.Delivered))
	}
	_, err := fmt.Fprintf(out, "  plimsoll at 1 h: %s; in the first day %.2f %% violated, gain %.1f %%\n",
		strings.Join(parts, "; "), 100*r.ColdStart.Violations, 100*r.ColdStart.Gain)
	return err
}

// marginText is the margin that a rate took; what needs none has none.
func marginText(m planner.MethodResult, s planner.Swept) string {
	if m.Margin == "none" {
		return "-"
	}
	return fmt.Sprintf("%.2f", s.Margin)
}

func minutes(n int) string {
	if n >= 60 && n%60 == 0 {
		return fmt.Sprintf("%d h", n/60)
	}
	return fmt.Sprintf("%d min", n)
}

func showVerdicts(out io.Writer, verdicts []planner.Verdict) error {
	if len(verdicts) == 0 {
		return nil
	}
	fmt.Fprintln(out, "\nTargets, at 1 h:")
	for _, v := range verdicts {
		word := paint(out, green, "met   ")
		if !v.Met {
			word = paint(out, red, "missed")
		}
		if _, err := fmt.Fprintf(out, "  %s  %s: %s: %s\n", word, v.Scope, v.Target, v.Measured); err != nil {
			return err
		}
	}
	return nil
}
