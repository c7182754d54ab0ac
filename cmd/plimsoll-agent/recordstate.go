package main

import (
	"time"

	"github.com/spf13/cobra"

	"github.com/plimsoll/plimsoll/pkg/agent"
)

// recordStateCommand asks the agent that runs with the same state directory for what its strategies see.
func recordStateCommand(f *flags) *cobra.Command {
	return &cobra.Command{
		Use: "record-state", Short: "Have the running agent record what its strategies see, and print it (for plimsoll plan)",
		Long: `Ask the running agent, by a file in --state-dir, for what its strategies see in its next reading. It is kept in state.json
there and printed: "plimsoll plan --state" replays it anywhere.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			data, err := agent.RequestState(f.StateDir, 2*time.Minute)
			if err != nil {
				return err
			}
			_, err = cmd.OutOrStdout().Write(data)
			return err
		},
	}
}
