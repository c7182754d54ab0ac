package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/plimsoll/plimsoll/examples/internal/spin"
	"github.com/plimsoll/plimsoll/pkg/cgroup"
	"github.com/plimsoll/plimsoll/pkg/localcluster"
)

// onlineCPUs is what percent of the node is relative to.
func onlineCPUs() int { return runtime.NumCPU() }

// demonstrate does everything from building to taking down, and says what was measured on what. With an error it
// answers the windows that were measured until then.
func demonstrate(ctx context.Context, o options, out *progress) (on setup, windows []window, err error) {
	archives, err := build(ctx, o, out)
	if err != nil {
		return on, nil, err
	}
	busyCores, err := coresInUse(ctx)
	if err != nil {
		return on, nil, err
	}
	if busyCores > idleCores {
		out.note("  other programs use %.1f of %d cores: the numbers will show them", busyCores, onlineCPUs())
	}
	// Before anything of ours runs, and once, for the number has to be the same in all arms.
	workIterations := spin.IterationsPerMillisecond() * workMicros / 1000
	out.note("  %d us of CPU, the work of a request, is %d iterations here", workMicros, workIterations)

	_, openErr := localcluster.Open(o.cluster.Dir)
	wasUp := openErr == nil
	if err := checkAgentPort(wasUp); err != nil {
		return on, nil, err
	}
	o.cluster.BinDir, o.cluster.Progress = o.binDir, out.out
	defer func() { err = errors.Join(err, takeDown(context.WithoutCancel(ctx), o, wasUp, out)) }()
	cluster, err := localcluster.Up(ctx, o.cluster)
	if err != nil {
		return on, nil, fmt.Errorf("bringing the cluster up: %w", err)
	}
	if _, err := cluster.Load(ctx, out.out, archives...); err != nil {
		return on, nil, fmt.Errorf("loading the images: %w", err)
	}
	err = out.step("agent deployed, enforcing", func() error {
		return cluster.Install(ctx, filepath.Join(o.source, "manifests", "overlays", "local"))
	})
	if err != nil {
		return on, nil, fmt.Errorf("deploying the agent (KEEP=1 leaves the cluster up to look into it): %w", err)
	}
	s, err := newStage(ctx, o, cluster, workIterations, out)
	if err != nil {
		return on, nil, err
	}
	slots := plan(o.rounds, o.seed)
	if o.matrix {
		if slots, err = s.prepareMatrix(ctx, out); err != nil {
			return on, nil, err
		}
	}
	windows, err = s.runAll(ctx, slots, out)
	return s.setup(windows, busyCores), windows, err
}

// workMicros is the work of a request. With some 350 us (measured) that the HTTP server and the kernel's
// network cost beside it a request takes about 1 ms of CPU, and the service 40 % of the machine.
const workMicros = 650

// idleCores is how much of a machine may be in use for it to count as idle.
const idleCores = 0.2

// coresInUse is how many cores are busy now, over a second.
func coresInUse(ctx context.Context) (float64, error) {
	idle := newMeter(cgroup.Host{ProcRoot: "/proc"}, nil)
	defer idle.close()
	before, err := idle.read()
	if err != nil {
		return 0, err
	}
	if err := pause(ctx, time.Second); err != nil {
		return 0, err
	}
	after, err := idle.read()
	if err != nil {
		return 0, err
	}
	return cores(before, after, ""), nil
}

// agentAddress is what manifests/base/agent has the agent listen on.
const agentAddress = ":8470"

// checkAgentPort finds out before anything is brought up that the agent could not listen: it uses the
// host's network, and on one machine that may be another cluster's agent's already.
func checkAgentPort(wasUp bool) error {
	if wasUp {
		return nil
	}
	listener, err := net.Listen("tcp", agentAddress)
	if err != nil {
		return fmt.Errorf("the agent could not serve its metrics: %w: end the program that holds the port, perhaps another local cluster's agent", err)
	}
	return listener.Close()
}

// build makes the images of everything that runs in pods.
func build(ctx context.Context, o options, out *progress) ([]string, error) {
	archives, err := localcluster.BuildImages(ctx, o.source, filepath.Join(o.binDir, "images"),
		[]string{"plimsoll-agent", "payments", "loadgen", "batch"}, out.out)
	if err != nil {
		return nil, fmt.Errorf("building the images: %w", err)
	}
	return archives, nil
}

// takeDown leaves the machine as it was: a cluster that was up before stays up, without the demo's pods.
func takeDown(ctx context.Context, o options, wasUp bool, out *progress) error {
	if _, err := os.Stat(o.cluster.Dir); errors.Is(err, fs.ErrNotExist) {
		return nil // an up that failed has cleaned up after itself
	}
	local := filepath.Join(o.binDir, "plimsoll-local")
	if o.cluster.Dir != localcluster.DefaultDir() {
		local += " --dir " + o.cluster.Dir
	}
	if o.keep {
		out.note("\nThe cluster stays up. Try:\n" +
			"  export KUBECONFIG=" + (localcluster.Layout{Dir: o.cluster.Dir}).Kubeconfig() + "\n" +
			"  kubectl get nodeutilizations\n" +
			"  kubectl -n " + namespace + " get pods -o wide\n" +
			"  kubectl apply -n " + namespace + " -f examples/demo/pods/...   (the arms' manifests; the demo fills in their variables)\n" +
			"  kubectl -n plimsoll-system logs daemonset/plimsoll-agent\n" +
			"  " + local + " status\n" +
			"  " + local + " down        when done")
		return nil
	}
	if wasUp {
		cluster, err := localcluster.Open(o.cluster.Dir)
		if err != nil {
			return fmt.Errorf("opening the cluster: %w", err)
		}
		pods, err := newPodClient(cluster)
		if err != nil {
			return err
		}
		out.note("  the cluster was up before and stays up")
		return pods.removeNamespace(ctx)
	}
	if err := localcluster.Down(ctx, o.cluster.Dir, out.out); err != nil {
		return fmt.Errorf("taking the cluster down: %w", err)
	}
	return nil
}

// cpuModel is the processor's name.
func cpuModel(cpuinfo string) string {
	text, err := os.ReadFile(cpuinfo)
	if err != nil {
		return "unknown CPU"
	}
	for line := range strings.Lines(string(text)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "unknown CPU"
}

// freePorts finds ports on loopback for the pods, which use the host's network.
func freePorts(count int) ([]string, error) {
	var addresses []string
	for range count {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, fmt.Errorf("finding a free port: %w", err)
		}
		// Held until all are found, so that no two are the same.
		defer func() { _ = listener.Close() }()
		addresses = append(addresses, listener.Addr().String())
	}
	return addresses, nil
}
