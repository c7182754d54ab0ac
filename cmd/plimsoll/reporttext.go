package main

import (
	"bufio"
	"encoding/csv"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/plimsoll/plimsoll/pkg/planner"
)

func showReport(out io.Writer, r planner.Report, output string) error {
	switch output {
	case "json":
		return printJSON(out, r)
	case "csv":
		return reportCSV(out, r)
	default:
		return reportText(out, r)
	}
}

// mostLines is how many lines of a list the text shows; JSON, CSV and the page have all.
const mostLines = 20

func periodOf(r planner.Report) (from, to string) {
	end := r.Options.Start.Add(time.Duration(r.Options.Steps*r.Options.StepSeconds) * time.Second)
	return r.Options.Start.UTC().Format("2006-01-02 15:04"), end.UTC().Format("2006-01-02 15:04")
}

func percent(v float64) string { return strconv.FormatFloat(100*v, 'f', 1, 64) + " %" }

func amount(v float64) string { return strconv.FormatFloat(v, 'f', 1, 64) }

// ratio is a share as percent, absent of nothing.
func ratio(part, whole float64) string {
	if whole == 0 {
		return absent
	}
	return percent(part / whole)
}

// ofNode is an amount that only what has a capacity has: not namespaces and workloads.
func ofNode(b planner.Balance, v float64) string {
	if b.Capacity == 0 {
		return absent
	}
	return amount(v)
}

// amountOf and count are absent where they are not known.
func amountOf(v *float64) string {
	if v == nil {
		return absent
	}
	return amount(*v)
}

func count(v *float64) string {
	if v == nil {
		return absent
	}
	return strconv.FormatFloat(*v, 'f', 0, 64)
}

// known is an amount of harm in a sentence.
func known(v *float64, of string) string {
	if v == nil {
		return "an unknown number of " + of
	}
	return count(v) + " " + of
}

func reportText(out io.Writer, r planner.Report) error {
	buffered := bufio.NewWriter(out)
	w := tabwriter.NewWriter(buffered, 0, 0, 2, ' ', 0)
	from, to := periodOf(r)
	fmt.Fprintf(w, "Plimsoll report, %s to %s UTC, %d nodes, steps of %s\n", from, to, len(r.Nodes), time.Duration(r.Options.StepSeconds)*time.Second)
	for _, remark := range r.Remarks {
		fmt.Fprintln(w, "note:", remark)
	}
	b := r.Fleet.CPUHours
	fmt.Fprintf(w, "\nCPU, core-hours:\tcapacity %s\trequested %s (%s)\tused %s (%s)\tlent %s (%s)\tcould be lent %s (%s)\n", amount(b.Capacity), amount(b.Requested), ratio(b.Requested, b.Capacity),
		amount(b.Used), ratio(b.Used, b.Capacity), amount(b.Lent), ratio(b.Lent, b.Capacity), amount(b.CouldBeLent), ratio(b.CouldBeLent, b.Capacity))
	m := r.Fleet.GiBHours
	fmt.Fprintf(w, "memory, GiB-hours:\tcapacity %s\trequested %s (%s)\tused %s (%s)\tlent %s (%s)\tcould be lent %s (%s)\n", amount(m.Capacity), amount(m.Requested), ratio(m.Requested, m.Capacity),
		amount(m.Used), ratio(m.Used, m.Capacity), amount(m.Lent), ratio(m.Lent, m.Capacity), amount(m.CouldBeLent), ratio(m.CouldBeLent, m.Capacity))
	_ = w.Flush() // columns of their own from here; the buffer keeps the first error
	fmt.Fprintf(buffered, "gain: batch used %s core-hours\n", amount(b.Batch))
	fmt.Fprintf(buffered, "harm: services waited for CPU %g %% of the time or more for %s; their own limits stopped them for %s; batch was stopped by its quota for %s; %s\n", 100*r.Options.PressureRatio,
		known(r.Fleet.PressureMinutes, "node-minutes"), known(r.Fleet.ThrottledPodMinutes, "pod-minutes"), known(r.Fleet.BatchThrottledMinutes, "node-minutes"), known(r.Fleet.Evictions, "batch pods evicted"))
	if worst := r.Worst; worst != nil {
		fmt.Fprintf(buffered, "worst step: %s, %d nodes under pressure, worst %s (%s of the time, %s of its CPU used)\n", worst.At.Format("2006-01-02 15:04"), worst.NodesUnderPressure, worst.Node, percent(worst.PressureRatio), percent(worst.UsedShare))
	}
	s := r.SwitchOff
	fmt.Fprintf(buffered, "could be switched off: %d nodes by use (risk %g, safe line %s), %d by requests: %s\n", len(s.ByUse), s.Risk, percent(s.SafeLine), s.ByRequests, s.Why)
	if p := r.Options.Prices; p != nil {
		fmt.Fprintf(buffered, "cost of the capacity: %s %s, of which nothing used %s\n", amount(r.Fleet.Cost), p.Currency, ratio(b.Capacity-b.Used, b.Capacity))
	}
	textLines(buffered, "POOL", r.Pools)
	textLines(buffered, "NODE", r.Nodes)
	textLines(buffered, "NAMESPACE", r.Namespaces)
	textLines(buffered, "WORKLOAD", r.Workloads)
	textOver(buffered, r.OverProvisioned)
	fmt.Fprintf(buffered, "\ninputs %s, options %s, version %s\n", r.InputsHash, r.OptionsHash, r.Version)
	return buffered.Flush()
}

func textLines(out io.Writer, head string, lines []planner.Line) {
	if len(lines) == 0 {
		return
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "\n%s\tCOVERED\tCAPACITY core-h\tREQUESTED\tUSED\tBATCH\tLENT\tCOULD BE LENT\tPRESSURE min\tTHROTTLED min\tBATCH HELD min\tEVICTED\n", head)
	for i, l := range lines {
		if i == mostLines {
			fmt.Fprintf(w, "and %d more\n", len(lines)-i)
			break
		}
		c := l.CPUHours
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", l.Name, percent(l.Coverage), ofNode(c, c.Capacity), amount(c.Requested), amount(c.Used), ofNode(c, c.Batch), ofNode(c, c.Lent), ofNode(c, c.CouldBeLent),
			amountOf(l.PressureMinutes), amountOf(l.ThrottledPodMinutes), amountOf(l.BatchThrottledMinutes), count(l.Evictions))
	}
	_ = w.Flush() // the buffer below keeps the first error
}

func textOver(out io.Writer, all []planner.OverProvisioned) {
	if len(all) == 0 {
		return
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "\nOVER-PROVISIONED\tREQUESTED cores\tUSED P50\tP99.9\tMAX\tMAX AT\tSPARE\tMEASURED h") //nolint:dupword // two headings
	for i, o := range all {
		if i == mostLines {
			fmt.Fprintf(w, "and %d more\n", len(all)-i)
			break
		}
		fmt.Fprintf(w, "%s\t%.2f\t%.2f\t%.2f\t%.2f\t%s\t%.2f\t%.0f\n", o.Workload, o.RequestedCores, o.UsedP50Cores, o.UsedP999Cores, o.UsedMaxCores, o.MaxAt.Format("2006-01-02 15:04"), o.SpareCores, o.MeasuredHours)
	}
	_ = w.Flush() // as above
}

// reportCSV has a line for each pool, node, namespace and workload.
func reportCSV(out io.Writer, r planner.Report) error {
	w := csv.NewWriter(out)
	_ = w.Write(strings.Split("kind,name,pool,coverage,cpu_capacity_core_hours,cpu_requested_core_hours,cpu_used_core_hours,cpu_batch_core_hours,cpu_lent_core_hours,"+
		"cpu_could_be_lent_core_hours,memory_capacity_gib_hours,memory_requested_gib_hours,memory_used_gib_hours,used_p50,used_p95,used_p99,used_max,pressure_minutes,throttled_pod_minutes,batch_throttled_minutes,evictions,cost", ",")) // kept until Error
	for _, kind := range []struct {
		name  string
		lines []planner.Line
	}{{"fleet", []planner.Line{r.Fleet}}, {"pool", r.Pools}, {"node", r.Nodes}, {"namespace", r.Namespaces}, {"workload", r.Workloads}} {
		for _, l := range kind.lines {
			c, m := l.CPUHours, l.GiBHours
			// What a workload does not have, and what is not known, is empty, and not zero.
			ofNodes := func(v float64) *float64 {
				if c.Capacity == 0 {
					return nil
				}
				return &v
			}
			row := []string{kind.name, l.Name, l.Pool}
			for _, v := range []*float64{
				&l.Coverage, ofNodes(c.Capacity), &c.Requested, &c.Used, ofNodes(c.Batch), ofNodes(c.Lent), ofNodes(c.CouldBeLent), ofNodes(m.Capacity), &m.Requested, &m.Used,
				&l.UsedP50, &l.UsedP95, &l.UsedP99, &l.UsedMax, l.PressureMinutes, l.ThrottledPodMinutes, l.BatchThrottledMinutes, l.Evictions, ofNodes(l.Cost),
			} {
				if v == nil {
					row = append(row, "")
					continue
				}
				row = append(row, strconv.FormatFloat(*v, 'g', -1, 64))
			}
			_ = w.Write(row)
		}
	}
	w.Flush()
	return w.Error()
}
