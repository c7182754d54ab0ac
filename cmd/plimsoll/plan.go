package main

import (
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/plimsoll/plimsoll/pkg/planner"
	"github.com/plimsoll/plimsoll/pkg/qos"
)

func planCommand() *cobra.Command {
	var file string
	c := &cobra.Command{
		Use:   "plan --state FILE",
		Short: "Replay one recorded State of a node through the strategies, and show what they would change",
		Long: `Run the strategies that a node runs on a State that it recorded, and print what they would change as a
difference between what was read back from the kernel and what they want. Nothing is written anywhere.

A node records what its strategies see when it is asked to:

  kubectl exec -n plimsoll-system POD -c agent -- /plimsoll-agent record-state > state.json

where POD is the agent on that node. The file names pods, groups and namespaces, and holds no secret. Each strategy starts
without memory of earlier States, as after a restart of the agent.

Ends with 0 when all is as the strategies want it, 1 when something would change, and 2 when the file could not be read.`,
		Args: cobra.NoArgs,
	}
	output := outputFlag(c)
	c.Flags().StringVar(&file, "state", "", "file with the recorded State; - is standard input")
	_ = c.MarkFlagFilename("state", "json")
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := checkOutput(*output); err != nil {
			return err
		}
		if file == "" {
			return fmt.Errorf("--state: none given; record one with plimsoll-agent record-state")
		}
		replayed, err := replay(file, cmd.InOrStdin())
		if err != nil {
			return err
		}
		if *output == "json" {
			err = printJSON(cmd.OutOrStdout(), replayed)
		} else {
			showReplayed(cmd.OutOrStdout(), replayed)
		}
		if err == nil && replayed.Differs() {
			return errFound
		}
		return err
	}
	return c
}

func replay(file string, stdin io.Reader) (planner.Replayed, error) {
	data, err := readInput(file, stdin)
	if err != nil {
		return planner.Replayed{}, fmt.Errorf("--state: %w", err)
	}
	recording, err := qos.ParseRecording(data)
	if err != nil {
		return planner.Replayed{}, fmt.Errorf("%s: %w", file, err)
	}
	replayed, err := planner.Replay(recording)
	if err != nil {
		return planner.Replayed{}, fmt.Errorf("%s: %w", file, err)
	}
	return replayed, nil
}

// readInput reads a file, or standard input for -.
func readInput(file string, stdin io.Reader) ([]byte, error) {
	if file == "-" {
		return io.ReadAll(stdin)
	}
	return os.ReadFile(file)
}

// showReplayed prints the difference, group by group.
func showReplayed(out io.Writer, r planner.Replayed) {
	fmt.Fprintf(out, "node %s at %s\n", r.Node, r.At)
	if r.Blind {
		fmt.Fprintln(out, "blind: the node could not be measured, so these are the plans that protect the online side")
	}
	for _, p := range r.Plans {
		fmt.Fprintf(out, "\nstrategy %s, mode %s: ", p.Name, p.Mode)
		if len(p.Changes) == 0 {
			fmt.Fprintf(out, "nothing to change, %d settings hold\n", p.Holds)
		} else {
			fmt.Fprintf(out, "%d to change, %d hold\n", len(p.Changes), p.Holds)
		}
		for _, n := range p.Notes {
			fmt.Fprintln(out, "  note:", n)
		}
		for _, e := range p.Evictions {
			fmt.Fprintln(out, paint(out, red, "  - pod "+e.Pod), "evicted:", e.Reason)
		}
		group := ""
		for _, c := range p.Changes {
			if c.Group != group {
				group = c.Group
				fmt.Fprintln(out, "  "+group)
			}
			from := "(not read)"
			if c.From != nil {
				from = *c.From
			}
			fmt.Fprintln(out, paint(out, red, fmt.Sprintf("  - %s %s", c.Knob, from)))
			fmt.Fprintln(out, paint(out, green, fmt.Sprintf("  + %s %s", c.Knob, c.To))+"   "+c.Reason)
		}
	}
}
