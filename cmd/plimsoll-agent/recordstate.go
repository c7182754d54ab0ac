package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/plimsoll/plimsoll/pkg/agent"
)

// recordStateCommand asks the agent that runs in the same container for what its strategies see.
func recordStateCommand(f *flags) *cobra.Command {
	pid := 1
	c := &cobra.Command{
		Use: "record-state", Short: "Have the running agent record what its strategies see, and print it (for plimsoll plan)",
		Long: `Ask the running agent, with SIGUSR1, for what its strategies see in its next reading. It is kept in state.json in
--state-dir and printed: "plimsoll plan --state" replays it anywhere.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			data, err := agent.RequestState(f.StateDir, func() error { return askAgent(f.ProcRoot, pid) }, 2*time.Minute)
			if err != nil {
				return err
			}
			_, err = cmd.OutOrStdout().Write(data)
			return err
		},
	}
	c.Flags().IntVar(&pid, "pid", pid, "process ID of the agent; 1 in its container")
	return c
}

// askAgent signals a process, once it is known to be an agent: the signal would end another.
func askAgent(procRoot string, pid int) error {
	name, err := os.ReadFile(filepath.Join(procRoot, strconv.Itoa(pid), "comm"))
	if err != nil {
		return fmt.Errorf("reading the name of process %d: %w", pid, err)
	}
	if got := strings.TrimSpace(string(name)); got != "plimsoll-agent" {
		return fmt.Errorf("--pid: process %d is %q and not plimsoll-agent: give the agent's", pid, got)
	}
	return syscall.Kill(pid, syscall.SIGUSR1)
}
