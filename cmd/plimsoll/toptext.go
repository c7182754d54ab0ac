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

	"github.com/plimsoll/plimsoll/pkg/api/v1alpha1"
	"github.com/plimsoll/plimsoll/pkg/fleet"
)

func showFleet(out io.Writer, f fleet.Fleet, output string) error {
	switch output {
	case "json":
		return printJSON(out, f)
	case "csv":
		return fleetCSV(out, f)
	default:
		return fleetTable(out, f, output == "wide")
	}
}

// absent stands for what was not measured: it is not zero.
const absent = "-"

func milliCPU(r *v1alpha1.Resources) string {
	if r == nil {
		return absent
	}
	return strconv.FormatInt(r.MilliCPU, 10)
}

func mebibytes(r *v1alpha1.Resources) string {
	if r == nil {
		return absent
	}
	return strconv.FormatInt(r.MemoryBytes>>20, 10)
}

func number[N int32 | int64](v *N) string {
	if v == nil {
		return absent
	}
	return strconv.FormatInt(int64(*v), 10)
}

func fleetTable(out io.Writer, f fleet.Fleet, wide bool) error {
	if len(f.Nodes) == 0 {
		_, err := fmt.Fprintln(out, "No node publishes a NodeUtilization: is plimsoll-agent running (kubectl get ds -n plimsoll-system), and does --selector match a node?")
		return err
	}
	buffered := bufio.NewWriterSize(out, 1<<16)
	w := tabwriter.NewWriter(buffered, 0, 0, 2, ' ', 0)
	head := []string{"NODE", "AGE", "CAPACITY", "USED", "ONLINE", "BATCH", "LENT", "LENDABLE", "FORECAST", "PRESSURE"}
	if wide {
		head = append(head, "MEMORY MiB", "USED MiB", "ONLINE MiB", "BATCH MiB", "LENT MiB", "LENDABLE MiB", "CGROUP", "KERNEL", "STRATEGIES")
	}
	head = append(head, "HELD BACK")
	fmt.Fprintln(w, strings.Join(head, "\t"))
	for i := range f.Nodes {
		r := &f.Nodes[i]
		age := (time.Duration(r.AgeSeconds) * time.Second).String()
		if r.Stale {
			age += " stale"
		}
		cells := []string{
			r.Node, age, milliCPU(&r.Capacity), milliCPU(&r.Used), milliCPU(r.LatencySensitive), milliCPU(r.Batch),
			milliCPU(r.Lent), milliCPU(r.Lendable), number(r.ForecastPeakMilliCPU), number(r.PressurePermille),
		}
		if wide {
			cells = append(cells, mebibytes(&r.Capacity), mebibytes(&r.Used), mebibytes(r.LatencySensitive), mebibytes(r.Batch),
				mebibytes(r.Lent), mebibytes(r.Lendable), r.CgroupMode, r.KernelVersion, strings.Join(r.Strategies, ","))
		}
		fmt.Fprintln(w, strings.Join(append(cells, strings.Join(r.HeldBack, "; ")), "\t"))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	t := f.Totals
	fmt.Fprintf(buffered, "\n%d nodes: %d m of CPU, %d m used (%s), %d m of it by batch, %d m lent of %d m lendable\n", t.Nodes, t.Capacity.MilliCPU,
		t.Used.MilliCPU, share(t.Used.MilliCPU, t.Capacity.MilliCPU), t.Batch.MilliCPU, t.Lent.MilliCPU, t.Lendable.MilliCPU)
	for _, r := range f.Remarks {
		fmt.Fprintln(buffered, "note:", r)
	}
	return buffered.Flush()
}

func share(part, whole int64) string {
	if whole == 0 {
		return absent
	}
	return fmt.Sprintf("%.0f %%", 100*float64(part)/float64(whole))
}

// fleetCSV has an empty cell for what was not measured.
func fleetCSV(out io.Writer, f fleet.Fleet) error {
	w := csv.NewWriter(out)
	_ = w.Write([]string{ // the writer keeps its first error until Error
		"node", "age_seconds", "stale", "capacity_milli_cpu", "used_milli_cpu", "latency_sensitive_milli_cpu", "batch_milli_cpu", "system_milli_cpu",
		"lent_milli_cpu", "lendable_milli_cpu", "forecast_peak_milli_cpu", "pressure_permille", "capacity_memory_bytes", "used_memory_bytes",
		"latency_sensitive_memory_bytes", "batch_memory_bytes", "lent_memory_bytes", "lendable_memory_bytes", "held_back",
	})
	empty := func(s string) string {
		if s == absent {
			return ""
		}
		return s
	}
	bytes := func(r *v1alpha1.Resources) string {
		if r == nil {
			return ""
		}
		return strconv.FormatInt(r.MemoryBytes, 10)
	}
	for i := range f.Nodes {
		r := &f.Nodes[i]
		_ = w.Write([]string{
			r.Node, strconv.FormatFloat(r.AgeSeconds, 'f', 3, 64), strconv.FormatBool(r.Stale), milliCPU(&r.Capacity), milliCPU(&r.Used),
			empty(milliCPU(r.LatencySensitive)), empty(milliCPU(r.Batch)), empty(milliCPU(r.System)), empty(milliCPU(r.Lent)), empty(milliCPU(r.Lendable)),
			empty(number(r.ForecastPeakMilliCPU)), empty(number(r.PressurePermille)), bytes(&r.Capacity), bytes(&r.Used),
			bytes(r.LatencySensitive), bytes(r.Batch), bytes(r.Lent), bytes(r.Lendable), strings.Join(r.HeldBack, "; "),
		})
	}
	w.Flush()
	return w.Error()
}
