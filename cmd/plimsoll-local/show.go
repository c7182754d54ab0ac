package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/plimsoll/plimsoll/pkg/localcluster"
)

func newStatus(dir *string) *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show the components, the node, the ports and where things are",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if output != "" && output != "json" {
				return fmt.Errorf("--output %q: the one format besides the default is json", output)
			}
			c, err := localcluster.Open(*dir)
			if err != nil {
				return err
			}
			st, err := c.Status(cmd.Context())
			if err != nil {
				return err
			}
			if output == "json" {
				enc := json.NewEncoder(cmd.OutOrStdout())
				enc.SetIndent("", "  ")
				return enc.Encode(st)
			}
			return st.WriteText(cmd.OutOrStdout())
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "", "json for machines")
	return cmd
}

func newKubeconfig(dir *string) *cobra.Command {
	var path bool
	cmd := &cobra.Command{
		Use:   "kubeconfig",
		Short: "Print the administrator's kubeconfig",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := localcluster.Open(*dir)
			if err != nil {
				return err
			}
			if path {
				fmt.Fprintln(cmd.OutOrStdout(), c.Kubeconfig())
				return nil
			}
			b, err := os.ReadFile(c.Kubeconfig())
			if err != nil {
				return fmt.Errorf("reading the kubeconfig: %w", err)
			}
			_, err = cmd.OutOrStdout().Write(b)
			return err
		},
	}
	cmd.Flags().BoolVar(&path, "path", false, "print its path instead")
	return cmd
}

func newLogs(dir *string) *cobra.Command {
	var follow bool
	cmd := &cobra.Command{
		Use:   "logs [COMPONENT]",
		Short: "Print a component's log, or the latest lines of all",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := localcluster.Open(*dir)
			if err != nil {
				return err
			}
			names, err := c.Components()
			if err != nil {
				return err
			}
			if len(args) == 1 {
				if !slices.Contains(names, args[0]) {
					return fmt.Errorf("no component is called %q: there are %s", args[0], strings.Join(names, ", "))
				}
				return printLog(cmd, c.Layout().Log(args[0]), follow)
			}
			if follow {
				return errors.New("--follow follows one component: name it")
			}
			for _, n := range names {
				if err := printTail(cmd.OutOrStdout(), c.Layout().Log(n)); err != nil {
					return err
				}
			}
			return nil
		},
	}
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on printing what is added")
	return cmd
}

func printLog(cmd *cobra.Command, path string, follow bool) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("opening a log: %w", err)
	}
	defer f.Close()
	for {
		if _, err := io.Copy(cmd.OutOrStdout(), f); err != nil {
			return fmt.Errorf("printing a log: %w", err)
		}
		if !follow {
			return nil
		}
		select {
		case <-time.After(200 * time.Millisecond):
		case <-cmd.Context().Done():
			return nil
		}
	}
}

// printTail prints a log's last lines, each with the component's name.
func printTail(w io.Writer, path string) error {
	const lines = 10
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("opening a log: %w", err)
	}
	defer f.Close()
	var last []string
	r := bufio.NewReader(f)
	for {
		line, err := r.ReadString('\n')
		if line != "" {
			last = append(last, strings.TrimRight(line, "\n"))
			last = last[max(0, len(last)-lines):]
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("reading %s: %w", path, err)
		}
	}
	name := strings.TrimSuffix(filepath.Base(path), ".log")
	for _, line := range last {
		fmt.Fprintf(w, "%-24s %s\n", name, line)
	}
	return nil
}
