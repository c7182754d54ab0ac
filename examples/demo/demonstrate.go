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
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/plimsoll/plimsoll/examples/internal/spin"
	"github.com/plimsoll/plimsoll/pkg/cgroup"
	"github.com/plimsoll/plimsoll/pkg/localcluster"
)

// onlineCPUs is what percent of the node is relative to.
func onlineCPUs() int { return runtime.NumCPU() }

// demonstrate does everything from building to taking down.
func demonstrate(ctx context.Context, o options, out *progress) (result *report, err error) {
	archives, err := build(ctx, o, out)
	if err != nil {
		return nil, err
	}
	busyCores, err := coresInUse(ctx)
	if err != nil {
		return nil, err
	}
	if busyCores > idleCores {
		out.note("  other programs use %.1f of %d cores: the numbers will show them", busyCores, onlineCPUs())
	}
	// Before anything of ours runs, and once, for the number has to be the same in all arms.
	workIterations := spin.IterationsPerMillisecond()
	out.note("  1 ms of CPU is %d iterations on this machine", workIterations)

	_, openErr := localcluster.Open(o.cluster.Dir)
	wasUp := openErr == nil
	if err := checkAgentPort(wasUp); err != nil {
		return nil, err
	}
	o.cluster.BinDir, o.cluster.Progress = o.binDir, out.out
	defer func() { err = errors.Join(err, takeDown(context.WithoutCancel(ctx), o, wasUp, out)) }()
	cluster, err := localcluster.Up(ctx, o.cluster)
	if err != nil {
		return nil, fmt.Errorf("bringing the cluster up: %w", err)
	}
	if _, err := cluster.Load(ctx, out.out, archives...); err != nil {
		return nil, fmt.Errorf("loading the images: %w", err)
	}
	err = out.step("agent deployed, enforcing", func() error {
		return cluster.Install(ctx, filepath.Join(o.source, "manifests", "overlays", "local"))
	})
	if err != nil {
		return nil, fmt.Errorf("deploying the agent (KEEP=1 leaves the cluster up to look into it): %w", err)
	}
	s, err := newStage(ctx, o, cluster, workIterations, out)
	if err != nil {
		return nil, err
	}
	windows, err := s.runAll(ctx, out)
	if err != nil {
		return nil, err
	}
	return newReport(s.setup(windows, busyCores), windows)
}

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

func newPodClient(cluster *localcluster.Cluster) (podClient, error) {
	config, err := clientcmd.BuildConfigFromFlags("", cluster.Kubeconfig())
	if err != nil {
		return podClient{}, fmt.Errorf("reading the kubeconfig: %w", err)
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return podClient{}, fmt.Errorf("making a client: %w", err)
	}
	return podClient{client}, nil
}

// stage is the cluster with the service and its clients running: what stays the same in all windows.
type stage struct {
	options        options
	cluster        *localcluster.Cluster
	pods           podClient
	host           cgroup.Host
	workIterations int64
	payments       string // the group of the service
	loadgenAddress string
	batchAddress   string
	kubernetes     string
}

func newStage(ctx context.Context, o options, cluster *localcluster.Cluster, workIterations int64, out *progress) (*stage, error) {
	pods, err := newPodClient(cluster)
	if err != nil {
		return nil, err
	}
	host, err := cgroup.Detect("/proc", "/sys/fs/cgroup", cluster.CgroupRoot())
	if err != nil {
		return nil, fmt.Errorf("finding the groups of pods: %w", err)
	}
	ports, err := freePorts(3)
	if err != nil {
		return nil, err
	}
	s := &stage{
		options: o, cluster: cluster, pods: pods, host: host, workIterations: workIterations,
		loadgenAddress: ports[1], batchAddress: ports[2],
	}
	version, err := pods.client.Discovery().ServerVersion()
	if err != nil {
		return nil, fmt.Errorf("asking for the API server's version: %w", err)
	}
	s.kubernetes = version.GitVersion
	err = out.step("payments and loadgen running", func() error { return s.startService(ctx, ports[0]) })
	return s, err
}

// startService starts the pods that stay for the whole demo.
func (s *stage) startService(ctx context.Context, address string) error {
	if err := s.pods.makeNamespace(ctx); err != nil {
		return err
	}
	// Half of the machine for the service; what batch may request as an ordinary pod then still fits.
	words := map[string]string{"SERVICE_CPU": fmt.Sprintf("%dm", 500*onlineCPUs())}
	payments, err := s.startPod(ctx, "payments", "payments", words, map[string]string{
		"LISTEN": address, "WORK_ITERATIONS": strconv.FormatInt(s.workIterations, 10),
	}, address)
	if err != nil {
		return err
	}
	if s.payments, err = podGroup(s.host, payments); err != nil {
		return err
	}
	loadgen, err := s.startPod(ctx, "loadgen", "loadgen", nil, map[string]string{
		"LISTEN": s.loadgenAddress, "TARGET": "http://" + address + "/pay", "RATE": strconv.FormatFloat(s.options.rate, 'g', -1, 64),
	}, s.loadgenAddress)
	if err != nil {
		return err
	}
	group, err := podGroup(s.host, loadgen)
	if err != nil {
		return err
	}
	return allowRealtime(s.host, group)
}

// startPod starts a pod and waits until it answers.
func (s *stage) startPod(ctx context.Context, manifest, name string, words, env map[string]string, address string) (*corev1.Pod, error) {
	pod, err := loadPod(manifest, words, env)
	if err != nil {
		return nil, err
	}
	pod.Name = name
	running, err := s.pods.start(ctx, pod)
	if err != nil {
		return nil, err
	}
	return running, awaitHealthy(ctx, address)
}

// runAll measures every window of the plan.
func (s *stage) runAll(ctx context.Context, out *progress) ([]window, error) {
	var windows []window
	for _, slot := range plan(s.options.rounds, s.options.seed) {
		start := time.Now()
		measured, err := s.run(ctx, slot)
		if err != nil {
			return nil, fmt.Errorf("round %d, %s: %w", slot.round, slot.arm.title(), err)
		}
		windows = append(windows, measured)
		label := fmt.Sprintf("round %d/%d  %-15s", slot.round, s.options.rounds, slot.arm.title())
		switch slot.arm {
		case batchAlone:
			label = fmt.Sprintf("reference  %-15s                 batch %4.1f CPU s", slot.arm.title(), measured.BatchCPUSeconds)
		case alone:
			label += fmt.Sprintf("  p99 %5.1f ms", measured.P99Ms)
		default:
			label += fmt.Sprintf("  p99 %5.1f ms  batch %4.1f CPU s", measured.P99Ms, measured.BatchCPUSeconds)
		}
		out.done(label, time.Since(start))
	}
	return windows, nil
}

// run starts the slot's batch pod, measures and removes the pod.
func (s *stage) run(ctx context.Context, slot slot) (measured window, err error) {
	groups := map[string]string{onlineClass: s.payments}
	window := probe{duration: s.options.roundDuration(), seed: s.options.seed + uint64(slot.round)}
	if slot.arm != batchAlone {
		window.loadgen = s.loadgenAddress
	}
	if slot.arm != alone {
		window.batch = s.batchAddress
		words := map[string]string{"BATCH_CPU": fmt.Sprintf("%dm", 400*onlineCPUs())}
		pod, err := s.startPod(ctx, manifestOf(slot.arm), slot.podName(), words, map[string]string{
			"THREADS": strconv.Itoa(s.options.batchThreads), "LISTEN": s.batchAddress,
		}, s.batchAddress)
		if err != nil {
			return measured, err
		}
		if groups[batchClass], err = podGroup(s.host, pod); err != nil {
			return measured, err
		}
		defer func() { err = errors.Join(err, s.pods.remove(ctx, pod)) }()
	}
	if slot.arm == plimsoll {
		if err := checkProtected(s.host, groups[batchClass]); err != nil {
			return measured, err
		}
	}
	window.meter = newMeter(s.host, groups)
	defer window.meter.close()
	measured, err = window.measure(ctx)
	measured.Arm, measured.Round = slot.arm, slot.round
	return measured, err
}

// setup says what the windows were measured on.
func (s *stage) setup(windows []window, busyCores float64) setup {
	kernel, err := s.host.KernelVersion()
	if err != nil {
		kernel = "unknown"
	}
	result := setup{
		Date: time.Now().UTC().Truncate(time.Second), Kernel: kernel, Cgroup: string(s.host.Mode), Kubernetes: s.kubernetes,
		CPUModel: cpuModel("/proc/cpuinfo"), Cores: onlineCPUs(), Rounds: s.options.rounds, RoundSeconds: s.options.roundDuration().Seconds(),
		RatePerSecond: s.options.rate, WorkIterations: s.workIterations, BatchThreads: s.options.batchThreads,
	}
	if busyCores > idleCores {
		result.Warnings = append(result.Warnings,
			fmt.Sprintf("other programs used %.1f cores when the demo started: the numbers show them too", busyCores))
	}
	for _, w := range windows {
		if w.Arm != batchAlone && w.RealtimePriority == 0 {
			result.Warnings = append(result.Warnings,
				"the load generator could not get real-time priority, so its own wait for a CPU is in the latencies of all arms")
			break
		}
	}
	if s.options.rounds < 5 {
		result.Warnings = append(result.Warnings, "fewer than 5 rounds: single windows scatter too much to compare arms")
	}
	if s.options.batchThreads < 2*onlineCPUs() {
		result.Warnings = append(result.Warnings, "fewer than two batch threads a core: the arms can hardly be told apart")
	}
	return result
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
