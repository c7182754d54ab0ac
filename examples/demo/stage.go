package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/plimsoll/plimsoll/pkg/cgroup"
	"github.com/plimsoll/plimsoll/pkg/localcluster"
	"github.com/plimsoll/plimsoll/pkg/qos"
)

// stage is the cluster with the service and its clients running: what stays the same in all windows.
type stage struct {
	options        options
	cluster        *localcluster.Cluster
	pods           podClient
	host           cgroup.Host
	workIterations int64
	services       map[string]service
	loadgenAddress string
	batchAddress   string
	kubernetes     string
}

// service is a latency-sensitive pod: its cgroup, and the URL that clients ask.
type service struct{ group, target string }

// paymentsService and redisService are the services that there may be; the demo has the first.
const (
	paymentsService = "payments"
	redisService    = "redis"
)

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
		loadgenAddress: ports[1], batchAddress: ports[2], services: map[string]service{},
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
	if err := s.startOnline(ctx, paymentsService, "http://"+address+"/pay", address); err != nil {
		return err
	}
	loadgen, err := s.startPod(ctx, "loadgen", "loadgen", nil, map[string]string{
		"LISTEN": s.loadgenAddress, "TARGET": s.services[paymentsService].target, "RATE": strconv.FormatFloat(s.options.rate, 'g', -1, 64),
	}, s.loadgenAddress)
	if err != nil {
		return err
	}
	group, err := podGroup(s.host, loadgen)
	if err != nil {
		return err
	}
	return leaveBudgets(s.host, group)
}

// serviceMilliCPU is what services request together, and batchMilliCPU what batch requests as an ordinary pod. On a
// machine of two CPUs the load generator and the agent still fit.
func serviceMilliCPU() int { return 500 * onlineCPUs() }

func batchMilliCPU() int { return 350 * onlineCPUs() }

// startOnline starts a service.
func (s *stage) startOnline(ctx context.Context, name, target, address string) error {
	milliCPU := serviceMilliCPU()
	if s.options.matrix {
		milliCPU /= 2 // there are two
	}
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("starting %s: %w", name, err)
	}
	pod, err := s.createPod(ctx, name, name, map[string]string{"SERVICE_CPU": fmt.Sprintf("%dm", milliCPU)}, map[string]string{
		"LISTEN": address, "PORT": port, "WORK_ITERATIONS": strconv.FormatInt(s.workIterations, 10),
	})
	if err != nil {
		return err
	}
	group, err := podGroup(s.host, pod)
	if err != nil {
		return err
	}
	s.services[name] = service{group: group, target: target}
	if name == redisService {
		return awaitListening(ctx, address)
	}
	return awaitHealthy(ctx, address)
}

// startPod starts a pod and waits until it answers.
func (s *stage) startPod(ctx context.Context, manifest, name string, words, env map[string]string, address string) (*corev1.Pod, error) {
	running, err := s.createPod(ctx, manifest, name, words, env)
	if err != nil {
		return nil, err
	}
	return running, awaitHealthy(ctx, address)
}

func (s *stage) createPod(ctx context.Context, manifest, name string, words, env map[string]string) (*corev1.Pod, error) {
	pod, err := loadPod(manifest, words, env)
	if err != nil {
		return nil, err
	}
	pod.Name = name
	return s.pods.start(ctx, pod)
}

// runAll measures every window of a plan. With an error it answers the windows until then.
func (s *stage) runAll(ctx context.Context, plan []slot, out *progress) ([]window, error) {
	var windows []window
	for _, slot := range plan {
		start := time.Now()
		measured, err := s.run(ctx, slot)
		if err != nil {
			return windows, fmt.Errorf("round %d, %s: %w", slot.round, slot.arm.title(), err)
		}
		windows = append(windows, measured)
		if s.options.matrix {
			out.done(slot.fill(s.options).label(measured), time.Since(start))
			continue
		}
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
	slot = slot.fill(s.options)
	asked := s.services[slot.load.service]
	groups := map[string]string{onlineClass: asked.group}
	window := probe{duration: s.options.roundDuration(), seed: s.options.seed + uint64(slot.round), target: asked.target, rate: slot.load.rate}
	if slot.arm.hasService() {
		window.loadgen = s.loadgenAddress
	}
	if slot.arm != alone {
		window.batch = s.batchAddress
		pod, err := s.startBatch(ctx, slot)
		if err != nil {
			return measured, err
		}
		defer func() { err = errors.Join(err, s.pods.remove(ctx, pod)) }()
		if groups[batchClass], err = podGroup(s.host, pod); err != nil {
			return measured, err
		}
	}
	if slot.arm.inBranch() {
		if err := checkProtected(s.host, groups[batchClass]); err != nil {
			return measured, err
		}
	}
	if slot.arm.asksRealtime() {
		if err := s.realtime(ctx, slot.load.service, true); err != nil {
			return measured, err
		}
		defer func() { err = errors.Join(err, s.realtime(ctx, slot.load.service, false)) }()
	}
	window.meter = newMeter(s.host, groups)
	defer window.meter.close()
	restore, err := holdSystem(s.host, s.cluster.CgroupRoot())
	if err != nil {
		return measured, err
	}
	ended := s.disturb(ctx, slot, groups[batchClass])
	measured, err = window.measure(ctx)
	err = errors.Join(err, ended(), restore())
	measured.Arm, measured.Round, measured.Service, measured.RatePerSecond, measured.Batch = slot.arm, slot.round, slot.load.service, slot.load.rate, slot.kind.name
	return measured, err
}

func (s *stage) startBatch(ctx context.Context, slot slot) (*corev1.Pod, error) {
	words := map[string]string{
		"BATCH_CPU": fmt.Sprintf("%dm", batchMilliCPU()), "MACHINE_MILLICPU": strconv.Itoa(1000 * onlineCPUs()),
	}
	return s.startPod(ctx, manifestOf(slot.arm), slot.podName(), words, map[string]string{
		"THREADS": strconv.Itoa(slot.kind.threads), "MODE": slot.kind.mode, "LISTEN": s.batchAddress,
	}, s.batchAddress)
}

// realtime has the service ask for real-time priority, or ask no more, and waits until the agent has seen to it.
func (s *stage) realtime(ctx context.Context, service string, ask bool) error {
	want := qos.PolicyOther
	if ask {
		want = qos.RoundRobin(1)
	}
	if err := s.pods.askRealtime(ctx, service, ask); err != nil {
		return err
	}
	deadline := time.Now().Add(answerTimeout)
	for {
		is, err := s.host.ReadSetting(s.services[service].group, qos.CPUPolicy)
		if err == nil && is.Value == want {
			return nil
		}
		if time.Now().After(deadline) {
			return errors.Join(err, fmt.Errorf("the threads of %s are scheduled as %q and not as %q: see the log of the agent (kubectl -n plimsoll-system logs daemonset/plimsoll-agent)", service, is.Value, want))
		}
		if err := pause(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
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
		if w.Arm.hasService() && w.RealtimePriority == 0 {
			result.Warnings = append(result.Warnings,
				"the load generator could not get real-time priority, so its own wait for a CPU is in the latencies of all arms")
			break
		}
	}
	if late, worst := above(lateClientsMs, windows, func(w window) float64 { return w.SendLagP99Ms }); late > 0 {
		result.Warnings = append(result.Warnings, fmt.Sprintf("in %d of %d windows requests left more than %.0f ms late at p99, %.1f ms in the worst: latencies there are in part the load generator's",
			late, len(windows), lateClientsMs, worst))
	}
	if count, worst := above(mostStolenPercent, windows, func(w window) float64 { return w.StolenPercent }); count > 0 {
		result.Warnings = append(result.Warnings, fmt.Sprintf("in %d of %d windows the host of this virtual machine took more than %.0f %% of its CPUs, %.0f %% in the worst: latencies there are in part the host's",
			count, len(windows), mostStolenPercent, worst))
	}
	if s.options.rounds < 5 {
		result.Warnings = append(result.Warnings, "fewer than 5 rounds: single windows scatter too much to compare arms")
	}
	if s.options.batchThreads < 2*onlineCPUs() {
		result.Warnings = append(result.Warnings, "fewer than two batch threads a core: the arms can hardly be told apart")
	}
	return result
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
