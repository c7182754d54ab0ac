package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/plimsoll/plimsoll/pkg/actuate/probe"
	"github.com/plimsoll/plimsoll/pkg/agent"
)

// probeTaskName is the command that this program starts itself with.
const probeTaskName = "probe-task"

// probeTask is the command line of a task of the probe.
func probeTask() ([]string, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("finding this program: %w", err)
	}
	return []string{self, probeTaskName}, nil
}

func probeCommand(f *flags) *cobra.Command {
	var output string
	c := &cobra.Command{
		Use: "probe", Short: "Find out what this node's kernel can do, by trying it in a scratch group",
		Long: "Find out what this node's kernel can do, by trying it in a scratch group that is removed again.\n" +
			"No other group is touched. It takes a second or two.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			write, known := map[string]func(io.Writer, []probe.Result) error{"table": writeTable, "json": writeJSON}[output]
			if !known {
				return fmt.Errorf("--output is %q: it must be table or json", output)
			}
			var err error
			if f.ProbeTask, err = probeTask(); err != nil {
				return err
			}
			results, err := agent.Probe(cmd.Context(), f.Options)
			if writeErr := write(cmd.OutOrStdout(), results); err == nil {
				err = writeErr
			}
			return err
		},
	}
	c.Flags().StringVarP(&output, "output", "o", "table", "table or json")
	return c
}

// probeTaskCommand is for the probe itself, which needs processes that wake up and spin.
func probeTaskCommand() *cobra.Command {
	return &cobra.Command{
		Use: probeTaskName, Hidden: true, DisableFlagParsing: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			return probe.Task(args, cmd.InOrStdin(), cmd.OutOrStdout())
		},
	}
}

func writeTable(w io.Writer, results []probe.Result) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, "NAME\tSTATE\tDETAIL")
	for _, r := range results {
		fmt.Fprintf(t, "%s\t%s\t%s\n", r.Name, r.State, r.Detail)
	}
	if err := t.Flush(); err != nil {
		return fmt.Errorf("writing the table: %w", err)
	}
	return nil
}

func writeJSON(w io.Writer, results []probe.Result) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	if err := e.Encode(results); err != nil {
		return fmt.Errorf("writing JSON: %w", err)
	}
	return nil
}
