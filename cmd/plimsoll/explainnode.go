package main

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/plimsoll/plimsoll/pkg/api/v1alpha1"
	"github.com/plimsoll/plimsoll/pkg/fleet"
)

func explainNodeCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "node NAME", Short: "Tell what a node lends and why no more, and what its agent changed last",
		Long: `Show from the node's NodeUtilization the arithmetic of what it lends, what does not hold on it, and the kernel settings that
its agent changed, would change or could not change last, each with its reason.

Ends with 0, with 1 when the node publishes nothing, and with 2 when the cluster could not be read.`,
		Args: cobra.ExactArgs(1),
	}
	a := accessFlags(c)
	output := outputFlag(c)
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if err := checkOutput(*output); err != nil {
			return err
		}
		config, err := a.config()
		if err != nil {
			return err
		}
		client, err := fleet.NewClient(config, "")
		if err != nil {
			return err
		}
		objects, _, err := client.List(cmd.Context())
		if err != nil {
			return err
		}
		for i := range objects {
			if objects[i].Name != args[0] {
				continue
			}
			if *output == "json" {
				return printJSON(cmd.OutOrStdout(), objects[i])
			}
			return showNode(cmd.OutOrStdout(), &objects[i], time.Now())
		}
		fmt.Fprintf(cmd.OutOrStdout(), "Node %s: %v: is plimsoll-agent running on it?\n", args[0], errNoNode)
		return errFound
	}
	return c
}

// seconds is absent where they are not known.
func seconds(millis *int64) string {
	if millis == nil {
		return absent
	}
	return fmt.Sprintf("%.1f", float64(*millis)/1000)
}

func showNode(out io.Writer, u *v1alpha1.NodeUtilization, now time.Time) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	s := &u.Status
	age := now.Sub(s.ObservedTime.Time).Round(time.Second)
	fmt.Fprintf(w, "node %s, measured %s ago", u.Name, age)
	if age >= fleet.StaleAfter {
		fmt.Fprint(w, ": too long to count")
	}
	fmt.Fprintf(w, "\n\nCLASS\tCPU m\tMEMORY MiB\tWAITED FOR CPU permille\n")
	fmt.Fprintf(w, "(capacity)\t%d\t%d\t\n(whole node)\t%d\t%d\t\n", s.Capacity.MilliCPU, s.Capacity.MemoryBytes>>20, s.Node.MilliCPU, s.Node.MemoryBytes>>20)
	for _, c := range s.Classes {
		waited := absent
		if c.Pressure != nil {
			waited = number(c.Pressure.CPUSomePermille)
		}
		fmt.Fprintf(w, "%s\t%d\t%d\t%s\n", c.Class, c.MilliCPU, c.MemoryBytes>>20, waited)
	}
	if l := s.Lendable; l == nil {
		fmt.Fprintln(w, "\nnothing is lent: there is no fresh measurement to go by")
	} else {
		fmt.Fprintf(w, "\nLENDING\tSAFE LINE\t- SYSTEM\t- FORECAST PEAK\t- MARGIN\t= COMPUTED\tPUBLISHED\tLENT\tOF IT UNUSED\n")
		for _, r := range []struct {
			name string
			sum  v1alpha1.LendableSum
			unit int64
		}{{"CPU m", l.MilliCPU, 1}, {"memory MiB", l.MemoryBytes, 1 << 20}} {
			x := r.sum
			fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\n", r.name, x.SafeLine/r.unit, x.System/r.unit, x.ForecastPeak/r.unit, x.Margin/r.unit, x.Computed/r.unit, x.Published/r.unit, x.Lent/r.unit, x.LentUnused/r.unit)
		}
		if l.Reason != "" {
			fmt.Fprintln(w, "why:", l.Reason)
		}
	}
	if h := s.Harm; h != nil {
		fmt.Fprintf(w, "\nSINCE THE AGENT STARTED\tSECONDS\nservices stopped by their own CPU limits, over all pods\t%s\nbatch stopped by its quota\t%s\nbatch pods evicted: %d\n",
			seconds(h.ThrottledMilliseconds), seconds(h.BatchThrottledMilliseconds), h.Evictions)
	}
	if len(s.Conditions) > 0 {
		fmt.Fprintf(w, "\nCONDITION\tSTATUS\tWHY\n")
	}
	for _, c := range s.Conditions {
		fmt.Fprintf(w, "%s\t%s\t%s\n", c.Type, c.Status, c.Message)
	}
	if len(s.Changes) > 0 {
		fmt.Fprintf(w, "\nCHANGED\tBY\tGROUP\tSETTING\tOUTCOME\tWHY\n")
	}
	for _, c := range s.Changes {
		why := c.Reason
		if c.Error != "" {
			why += ": " + c.Error
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s=%s\t%s\t%s\n", c.Time.UTC().Format("15:04:05"), c.Strategy, c.Group, c.Knob, c.Value, c.Outcome, why)
	}
	return w.Flush()
}
