// Command plimsoll-local runs a real one-machine Kubernetes for demos, tests and trying things out.
// See package localcluster for what it is made of.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/plimsoll/plimsoll/pkg/localcluster"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := newRoot().ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "plimsoll-local:", err)
		stop()
		os.Exit(1)
	}
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "plimsoll-local",
		Short: "A real one-machine Kubernetes, for demos, tests and trying things out",
		Long: `A real one-machine Kubernetes, for demos, tests and trying things out.

Runs etcd, kube-apiserver, kube-controller-manager, plimsoll-scheduler, containerd
with runc and NRI, and a kubelet, all built from Go modules. Everything is below one
directory and on the loopback interface, and "down" removes all of it.`,
		SilenceUsage: true, SilenceErrors: true,
	}
	var dir string
	root.PersistentFlags().StringVar(&dir, "dir", localcluster.DefaultDir(), "where the instance lives; two instances need two")
	root.AddCommand(newUp(&dir), newDown(&dir), newStatus(&dir), newLogs(&dir), newKubeconfig(&dir), newRestart(&dir),
		newLoad(&dir), newInstall(&dir), newBuild(), newImage(&dir), newSupervise(&dir))
	root.CompletionOptions.HiddenDefaultCmd = true
	return root
}

func newUp(dir *string) *cobra.Command {
	var o localcluster.Options
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Bring the cluster up, or start again what died",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.Dir, o.Progress = *dir, os.Stderr
			c, err := localcluster.Up(cmd.Context(), o)
			if err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "export KUBECONFIG=%s\n", c.Kubeconfig())
			return nil
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.BinDir, "bin-dir", "", "where the binaries are (default: where plimsoll-local is)")
	f.IntVar(&o.Port, "port", localcluster.DefaultPort, "the API server's port on 127.0.0.1; the others take free ports after it")
	f.StringVar(&o.NodeName, "node-name", localcluster.DefaultNodeName, "name of the real node")
	f.IntVar(&o.SimulatedNodes, "simulated-nodes", 0, "how many nodes kwok simulates beside it")
	f.BoolVar(&o.ControlPlaneOnly, "control-plane-only", false, "no node: works without root and without cgroups")
	f.StringVar(&o.SchedulerConfig, "scheduler-config", "", "KubeSchedulerConfiguration `file` to use in place of the built-in one")
	f.StringVar(&o.FeatureGates, "feature-gates", "", "feature gates of Kubernetes that are not at their defaults, as in GenericWorkload=true")
	f.StringVar(&o.RuntimeConfig, "runtime-config", "", "versions of the API that are served beside the default ones, as in scheduling.k8s.io/v1beta1=true")
	f.StringVar(&o.CgroupRoot, "cgroup-root", "", "the cgroup that holds everything (default: derived from --dir)")
	return cmd
}

func newDown(dir *string) *cobra.Command {
	return &cobra.Command{
		Use:   "down",
		Short: "Remove the cluster, whatever state it is in, with all its data",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return localcluster.Down(cmd.Context(), *dir, os.Stderr)
		},
	}
}

func newRestart(dir *string) *cobra.Command {
	return &cobra.Command{
		Use:   "restart COMPONENT",
		Short: "Restart a component and wait until it is ready",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := localcluster.Open(*dir)
			if err != nil {
				return err
			}
			return c.Restart(cmd.Context(), args[0])
		},
	}
}

func newSupervise(dir *string) *cobra.Command {
	return &cobra.Command{
		Use:    "supervise",
		Short:  "Keep the components of an instance running (started by up)",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return localcluster.Supervise(cmd.Context(), *dir)
		},
	}
}
