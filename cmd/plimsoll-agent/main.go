// Command plimsoll-agent runs on each node: it keeps batch work from harming latency-sensitive
// services and publishes what the node really uses. Flags say where things are; the configuration file
// says what to do. "plimsoll-agent release" puts the node's kernel settings back, for uninstalling.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	_ "time/tzdata" // the image has no time zones, and freeze windows need them

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/plimsoll/plimsoll/pkg/agent"
	"github.com/plimsoll/plimsoll/pkg/api/v1alpha1"
	"github.com/plimsoll/plimsoll/pkg/guard"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := command().ExecuteContext(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "plimsoll-agent:", err)
		os.Exit(1)
	}
}

// flags are where things are.
type flags struct {
	agent.Options
	configFile, kubeconfig string
	verbose                bool
}

func command() *cobra.Command {
	var f flags
	root := &cobra.Command{
		Use: "plimsoll-agent", Short: "Protect this node's latency-sensitive services from batch work",
		Args: cobra.NoArgs, SilenceUsage: true, SilenceErrors: true,
		RunE: func(cmd *cobra.Command, _ []string) error { return run(cmd.Context(), f) },
	}
	guarding := &cobra.Command{
		Use: "guard", Short: "Hold batch work back, as when nothing is known of the node, while the agent's loop does not go round",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runGuard(cmd.Context(), f) },
	}
	run, all := root.Flags(), root.PersistentFlags()
	all.StringVar(&f.ProcRoot, "proc", "/proc", "where procfs is mounted")
	all.StringVar(&f.CgroupRoot, "cgroup-fs", "/sys/fs/cgroup", "where the host's cgroup hierarchies are mounted")
	all.StringVar(&f.KubeletCgroupRoot, "kubelet-cgroup-root", "/", "the kubelet's setting cgroupRoot")
	all.StringVar(&f.StateDir, "state-dir", "/var/lib/plimsoll", "where original kernel settings are kept")
	all.StringVar(&f.AuditDir, "audit-dir", "", "where the audit log is kept; audit in --state-dir by default")
	all.StringVar(&f.kubeconfig, "kubeconfig", "", "kubeconfig file; without it the pod's service account")
	all.StringVar(&f.NodeName, "node-name", os.Getenv("NODE_NAME"), "name of this node; NODE_NAME by default")

	for _, flags := range []*pflag.FlagSet{run, guarding.Flags()} {
		flags.StringVar(&f.configFile, "config", "", "AgentConfiguration file; without it the defaults, which observe")
		flags.StringVar(&f.HeartbeatFile, "heartbeat", "", "file in memory (tmpfs) by which the guard knows that the agent's loop goes round; without it there is no guard")
		flags.BoolVarP(&f.verbose, "verbose", "v", false, "log debug messages too")
	}
	run.StringVar(&f.NRISocket, "nri-socket", "/var/run/nri/nri.sock", "the container runtime's NRI socket")
	run.StringVar(&f.SysRoot, "sys", "/sys", "where sysfs is mounted")
	run.StringVar(&f.PodResourcesSocket, "pod-resources-socket", "/var/lib/kubelet/pod-resources/kubelet.sock", "socket of the kubelet's pod-resources API; asked only by strategy batchcpuset")
	run.StringVar(&f.ListenAddress, "listen", ":8470", "address of /metrics, /healthz and /readyz")

	root.AddCommand(guarding, probeCommand(&f), probeTaskCommand(), recordStateCommand(&f))
	forget := false
	releasing := &cobra.Command{
		Use: "release", Short: "Put this node's kernel settings back as they were before Plimsoll (for uninstalling)",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := release(cmd, f); err != nil || !forget {
				return err
			}
			return agent.Forget(f.Options)
		},
	}
	releasing.Flags().BoolVar(&forget, "forget", false, "then empty --state-dir too: the journal, what was learnt, and the audit log; keep a copy of it first if you must")
	root.AddCommand(releasing, &cobra.Command{
		Use: "hold", Short: "Do nothing until told to end (for manifests/uninstall)",
		Args: cobra.NoArgs, Hidden: true,
		RunE: func(cmd *cobra.Command, _ []string) error { <-cmd.Context().Done(); return nil },
	})
	return root
}

// logger logs for a process that runs on.
func (f flags) logger() *slog.Logger {
	level := slog.LevelInfo
	if f.verbose {
		level = slog.LevelDebug
	}
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
}

func runGuard(ctx context.Context, f flags) error {
	config, err := loadConfiguration(f.configFile)
	if err != nil {
		return err
	}
	return guard.Run(ctx, guard.Options{
		NodeName: f.NodeName, ProcRoot: f.ProcRoot, CgroupRoot: f.CgroupRoot, KubeletCgroupRoot: f.KubeletCgroupRoot,
		StateDir: f.StateDir, HeartbeatFile: f.HeartbeatFile, Config: config, Log: f.logger(),
	})
}

func run(ctx context.Context, f flags) error {
	f.Log = f.logger()
	var err error
	if f.Config, err = loadConfiguration(f.configFile); err != nil {
		return err
	}
	if f.Kube, err = f.kubeConfig(); err != nil {
		return err
	}
	if f.ProbeTask, err = probeTask(); err != nil {
		return err
	}
	return agent.Run(ctx, f.Options)
}

// kubeConfig is how the API server is reached.
func (f flags) kubeConfig() (*rest.Config, error) {
	var config *rest.Config
	var err error
	if f.kubeconfig == "" {
		config, err = rest.InClusterConfig()
	} else {
		config, err = clientcmd.BuildConfigFromFlags("", f.kubeconfig)
	}
	if err != nil {
		return nil, fmt.Errorf("finding the API server: %w", err)
	}
	config.UserAgent = "plimsoll-agent"
	return config, nil
}

// loadConfiguration reads and checks the configuration file; every fault is named at once.
func loadConfiguration(file string) (*v1alpha1.AgentConfiguration, error) {
	if file == "" {
		return v1alpha1.DefaultAgentConfiguration(), nil
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("reading the configuration: %w", err)
	}
	c, err := v1alpha1.ParseAgentConfiguration(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if err := agent.CheckConfiguration(c); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return c, nil
}

func release(cmd *cobra.Command, f flags) error {
	done, err := agent.Release(f.Options)
	for _, n := range done.Notes {
		fmt.Fprintln(cmd.ErrOrStderr(), "note:", n)
	}
	for _, r := range done.Results {
		outcome := "restored"
		if r.Err != nil {
			outcome = "failed"
		}
		fmt.Fprintf(cmd.OutOrStdout(), "%-9s %s of %s to %q\n", outcome, r.Change.Knob, r.Change.Group, r.Change.Value)
	}
	if err == nil {
		fmt.Fprintln(cmd.OutOrStdout(), "released: no kernel setting of this node is as Plimsoll set it")
	}
	// A batch branch that is still in use keeps nobody from taking the offer for more work away.
	if err := errors.Join(err, withdraw(cmd, f)); err != nil {
		return fmt.Errorf("release: %w", err)
	}
	return nil
}

// withdraw takes what the Node offers to batch work off it. Release works without the API server too: then
// it says what is left to do.
func withdraw(cmd *cobra.Command, f flags) error {
	if f.NodeName == "" || f.kubeconfig == "" && os.Getenv("KUBERNETES_SERVICE_HOST") == "" {
		name := f.NodeName
		if name == "" {
			name = "NODE"
		}
		fmt.Fprintf(cmd.OutOrStdout(), "the Node may still offer batch resources, for --node-name or --kubeconfig is missing; take them off it with:\n%s\n", agent.WithdrawCommand(name))
		return nil
	}
	config, err := f.kubeConfig()
	if err != nil {
		return err
	}
	if err := agent.WithdrawNode(cmd.Context(), config, f.NodeName); err != nil {
		return err
	}
	fmt.Fprintf(cmd.OutOrStdout(), "released: Node %s offers no batch resources\n", f.NodeName)
	return nil
}
