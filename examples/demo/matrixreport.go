package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

const matrixName = "protect-report.json"

// cellReport is one service beside one kind of batch work in one arm, over all rounds.
type cellReport struct {
	Service string  `json:"service"`
	Batch   string  `json:"batch"`
	Arm     armName `json:"arm"`
	P99Ms   spread  `json:"p99_ms"`
	P999Ms  spread  `json:"p999_ms"`
	// AtServiceP99Ms is p99 without the clients' own wait for a CPU.
	AtServiceP99Ms spread `json:"at_service_p99_ms"`
	// P99OfAlone, P999OfAlone and AtServiceOfAlone are the medians relative to the service's alone.
	P99OfAlone  float64 `json:"p99_of_alone"`
	P999OfAlone float64 `json:"p999_of_alone"`
	// AtServiceOfAlone is of AtServiceP99Ms.
	AtServiceOfAlone float64 `json:"at_service_p99_of_alone"`
	// BatchCores is what batch got, LeftCores what the service and the rest of the machine left.
	BatchCores spread `json:"batch_cores"`
	LeftCores  spread `json:"left_cores"`
	// BatchShare is the median of what batch got of what was left.
	BatchShare float64 `json:"batch_share"`
}

// matrixReport is the result of bench-protect.
type matrixReport struct {
	setup
	Cells   []cellReport `json:"cells"`
	Targets []target     `json:"targets"`
	Windows []window     `json:"windows"`
}

func (w window) loadName() string { return load{w.Service, w.RatePerSecond}.name() }

// leftCores is what a window's service and everything that is neither service nor batch left of the machine.
func (w window) leftCores(cpus int) float64 {
	busy := w.NodeCPUPercent / 100 * float64(cpus)
	return max(0, float64(cpus)-(busy-w.BatchCPUSeconds/w.Seconds))
}

func newMatrixReport(on setup, windows []window) *matrixReport {
	r := &matrixReport{setup: on, Windows: windows}
	over := func(service, batch string, arm armName, metric func(window) float64) spread {
		var values []float64
		for _, w := range windows {
			if w.loadName() == service && w.Arm == arm && (w.Batch == batch || arm == alone) {
				values = append(values, metric(w))
			}
		}
		return spreadOf(values)
	}
	seen := map[string]bool{}
	for _, w := range windows { // in the order of the loads and kinds, which the windows are not
		seen[w.loadName()+" "+w.Batch] = true
	}
	p99 := func(w window) float64 { return w.P99Ms }
	p999 := func(w window) float64 { return w.P999Ms }
	atService := func(w window) float64 { return w.AtServiceP99Ms }
	for _, l := range loads() {
		for _, kind := range batchKinds() {
			for _, arm := range append([]armName{alone}, matrixArms()...) {
				if !seen[l.name()+" "+kind.name] {
					continue
				}
				c := cellReport{Service: l.name(), Batch: kind.name, Arm: arm}
				c.P99Ms, c.P999Ms = over(c.Service, c.Batch, arm, p99), over(c.Service, c.Batch, arm, p999)
				c.AtServiceP99Ms = over(c.Service, c.Batch, arm, atService)
				c.AtServiceOfAlone = ratio(c.AtServiceP99Ms.Median, over(c.Service, c.Batch, alone, atService).Median)
				c.P99OfAlone = ratio(c.P99Ms.Median, over(c.Service, c.Batch, alone, p99).Median)
				c.P999OfAlone = ratio(c.P999Ms.Median, over(c.Service, c.Batch, alone, p999).Median)
				c.BatchCores = over(c.Service, c.Batch, arm, func(w window) float64 { return w.BatchCPUSeconds / w.Seconds })
				c.LeftCores = over(c.Service, c.Batch, arm, func(w window) float64 { return w.leftCores(on.Cores) })
				c.BatchShare = over(c.Service, c.Batch, arm, func(w window) float64 {
					return ratio(w.BatchCPUSeconds/w.Seconds, w.leftCores(on.Cores))
				}).Median
				r.Cells = append(r.Cells, c)
			}
		}
	}
	r.Targets = matrixTargets(r)
	return r
}

// The promises of bench-protect.
const (
	medianP99OfAlone   = 1.10
	worstP99OfAlone    = 1.25
	medianP999OfAlone  = 1.5
	leastBatchShare    = 0.90
	stoppedP99OfAlone  = 1.5
	leastOnlineAbsence = 0.97
)

func matrixTargets(r *matrixReport) []target {
	of := func(arm armName, metric func(cellReport) float64) []float64 {
		var values []float64
		for _, c := range r.Cells {
			if c.Arm == arm {
				values = append(values, metric(c))
			}
		}
		return values
	}
	p99 := func(c cellReport) float64 { return c.P99OfAlone }
	share := func(c cellReport) float64 { return c.BatchShare }
	atMost := func(text string, measured, limit float64) target {
		return target{Text: fmt.Sprintf("%s at most %.2f", text, limit), Measured: measured, Limit: limit, Met: measured > 0 && measured <= limit}
	}
	atLeast := func(text string, measured, limit float64) target {
		return target{Text: fmt.Sprintf("%s at least %.2f", text, limit), Measured: measured, Limit: limit, Met: measured >= limit}
	}
	var whole []float64
	for _, w := range r.Windows {
		if w.Arm == onlineAbsent {
			whole = append(whole, ratio(w.BatchCPUSeconds/w.Seconds, w.leftCores(r.Cores)))
		}
	}
	return []target{
		atMost("p99 of alone, median of all cells,", spreadOf(of(plimsoll, p99)).Median, medianP99OfAlone),
		atMost("p99 of alone, worst cell,", spreadOf(of(plimsoll, p99)).Max, worstP99OfAlone),
		atMost("p99.9 of alone, median of all cells,", spreadOf(of(plimsoll, func(c cellReport) float64 { return c.P999OfAlone })).Median, medianP999OfAlone),
		atMost("p99 of alone with the agent stopped, worst cell,", spreadOf(of(agentStopped, p99)).Max, stoppedP99OfAlone),
		atLeast("batch's share of what is left, worst cell,", spreadOf(of(plimsoll, share)).Min, leastBatchShare),
		atLeast("batch's share with nobody to protect", spreadOf(whole).Median, leastOnlineAbsence),
	}
}

// finishMatrix writes and prints the result.
func finishMatrix(out io.Writer, o options, on setup, windows []window) error {
	r := newMatrixReport(on, windows)
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("encoding the report: %w", err)
	}
	file := filepath.Join(o.outDir, matrixName)
	if err := os.WriteFile(file, append(text, '\n'), 0o644); err != nil {
		return fmt.Errorf("writing the report: %w", err)
	}
	style := style{}
	if f, ok := out.(*os.File); ok {
		style = newStyle(f)
	}
	printMatrix(out, r, style)
	fmt.Fprintf(out, "\nWritten: %s\n", file)
	for _, t := range r.Targets {
		if o.check && !t.Met {
			return fmt.Errorf("missed: %s", t.Text)
		}
	}
	return nil
}

func printMatrix(out io.Writer, r *matrixReport, style style) {
	fmt.Fprintf(out, "\n%s\n\n", style.bold(fmt.Sprintf("Medians of %g s windows over %d rounds, the range of p99 in brackets", r.RoundSeconds, r.Rounds)))
	rows := [][]string{{"service, batch, arm", "p99 ms", "range", "of alone", "p99.9 ms", "of alone", "p99 at the service", "of alone", "batch cores", "of what is left"}}
	for _, c := range r.Cells {
		batch, cores, share := c.Batch, fmt.Sprintf("%.2f", c.BatchCores.Median), fmt.Sprintf("%.0f %%", 100*c.BatchShare)
		if c.Arm == alone {
			cores, share = "-", "-"
		}
		rows = append(rows, []string{
			fmt.Sprintf("%-13s %-7s %s", c.Service, batch, c.Arm.title()), fmt.Sprintf("%.2f", c.P99Ms.Median),
			fmt.Sprintf("[%.2f-%.2f]", c.P99Ms.Min, c.P99Ms.Max), fmt.Sprintf("%.2f", c.P99OfAlone),
			fmt.Sprintf("%.2f", c.P999Ms.Median), fmt.Sprintf("%.2f", c.P999OfAlone),
			fmt.Sprintf("%.2f", c.AtServiceP99Ms.Median), fmt.Sprintf("%.2f", c.AtServiceOfAlone), cores, share,
		})
	}
	printAligned(out, rows)
	fmt.Fprintln(out)
	printTargets(out, r.Targets, style)
	fmt.Fprintf(out, "\n%s\n", setupLine(r.setup))
	for _, warning := range r.Warnings {
		fmt.Fprintf(out, "Note: %s\n", warning)
	}
}
