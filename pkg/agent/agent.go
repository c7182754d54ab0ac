package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/plimsoll/plimsoll/pkg/actuate"
	"github.com/plimsoll/plimsoll/pkg/api/v1alpha1"
	"github.com/plimsoll/plimsoll/pkg/cgroup"
	"github.com/plimsoll/plimsoll/pkg/qos"
	"github.com/plimsoll/plimsoll/pkg/qos/batchbound"
	"github.com/plimsoll/plimsoll/pkg/qos/batchcpuset"
	"github.com/plimsoll/plimsoll/pkg/runtimehook"
)

// kubepodsRetry is the time between two looks for the kubelet's groups.
const kubepodsRetry = 2 * time.Second

// Run runs the agent until ctx ends. It releases nothing when it stops.
func Run(ctx context.Context, o Options) error {
	if err := o.validate(); err != nil {
		return err
	}
	strategies, err := buildStrategies(o.Config)
	if err != nil {
		return err
	}
	journal, err := openJournal(o)
	if err != nil {
		return err
	}
	defer func() { _ = journal.Close() }() // what was remembered is in the file
	if n := journal.OtherBoot(); n > 0 {
		o.Log.Info("the journal is of another boot: its groups are gone", "journal", journal.Path(), "originalsDropped", n)
	}
	if journal.Torn() {
		o.Log.Warn("the journal was torn when another boot ended: its groups are gone", "journal", journal.Path())
	}
	auditor, err := openAudit(o)
	if err != nil {
		return err
	}
	defer auditor.close(o.Log)
	m := newMetrics()
	m.watchAudit(auditor.log.Lost)
	pub, err := newPublisher(o.Kube, o.NodeName, m, o.Log)
	if err != nil {
		return err
	}
	watch, err := newPodWatch(o.Kube, o.NodeName)
	if err != nil {
		return err
	}
	node, err := newNodeStatus(o.Kube, o.NodeName, m, o.Log)
	if err != nil {
		return err
	}
	evictor, err := newEvictor(o.Kube)
	if err != nil {
		return err
	}
	tick := time.Duration(o.Config.TickMilliseconds) * time.Millisecond
	alive := &health{patience: max(5*tick, 5*time.Second)}
	alive.lastTick.Store(time.Now().UnixNano())

	ctx, cancel := context.WithCancelCause(ctx)
	var group sync.WaitGroup
	defer func() {
		cancel(nil) // first, or an error below would wait for ever for what runs until ctx ends
		group.Wait()
	}()
	group.Go(func() {
		ready := func() error { return readiness(alive, pub) }
		if err := serve(ctx, o.ListenAddress, m, func() error { return alive.live(time.Now()) }, ready); err != nil {
			cancel(err)
		}
	})
	host, err := waitForKubepods(ctx, o, alive)
	if err != nil {
		return cause(ctx, err)
	}
	actuator := actuate.New(host, journal)
	defer auditor.finish(actuator, o.Log)
	if o.enforcesBatch() {
		if err := actuator.EnsureBatchBranch(); err != nil {
			return err
		}
	}
	_, capacity, err := host.ReadNode()
	if err != nil {
		return fmt.Errorf("reading how many CPUs the node has: %w", err)
	}
	hookOptions := o.hookOptions(host, capacity.MilliCPU, strategies, m)
	keeper := newBranchKeeper(host)
	if host.Driver == cgroup.Systemd {
		hookOptions.BeforeStart = keeper.restore
	}
	hook := runtimehook.New(hookOptions)
	l, err := newLoop(o, host, strategies, actuator, auditor, hook, keeper, watch, pub, node, m, alive)
	if err != nil {
		return err
	}
	defer l.close()
	l.sensor.limits = limits{Fallback: hookOptions.Fallback, PIDs: hookOptions.PIDs, Quota: hookOptions.ContainerQuota}
	l.actor.evictor = evictor
	if modeOf(o.Config, batchcpuset.Name) != v1alpha1.ModeOff {
		exclusive := &exclusiveWatch{socket: o.PodResourcesSocket, log: o.Log}
		asked := make(chan struct{})
		group.Go(func() { exclusive.run(ctx, asked) })
		<-asked // or the first tick would not know; it takes a second at most
		l.sensor.cpuSets = cpuSets{cgroup.NewTopology(o.SysRoot), func() ([]int, error) { return exclusive.cpus(time.Now()) }, watch.informer.HasSynced}
	}
	l.restore(o.StateDir, time.Now())
	// The first tick sets what protects the online side before the first batch container can be placed.
	l.tick(time.Now())
	group.Go(func() { auditor.run(ctx, o.Log) })
	group.Go(func() { watch.run(ctx) })
	group.Go(func() { pub.run(ctx) })
	group.Go(func() { l.probeHost(ctx, o.ProbeTask) })
	group.Go(func() { node.run(ctx) })
	group.Go(func() { evictor.run(ctx) })
	group.Go(func() {
		l.saver.run(ctx.Done(), func(err error) { o.Log.Error("what was learned is not saved", "error", err) })
	})
	if o.Config.RuntimeHook.Mode != v1alpha1.ModeOff {
		group.Go(func() { hook.Run(ctx) })
	}
	l.run(ctx, tick)
	l.saveLast(time.Now())
	return cause(ctx, nil)
}

// hookOptions are what the hook does on this host.
func (o Options) hookOptions(host cgroup.Host, nodeMilliCPU int64, strategies []running, m *metrics) runtimehook.Options {
	c := o.Config.RuntimeHook
	branchQuota := slices.ContainsFunc(strategies, func(s running) bool {
		return s.mode == v1alpha1.ModeEnforce && s.Claims(qos.CPUQuota, qos.KindBatchBranch)
	})
	fallback := runtimehook.Fallback{MilliCPU: c.Fallback.MilliCPU, MemoryBytes: c.Fallback.MemoryBytes}
	if fallback.MilliCPU == 0 {
		fallback.MilliCPU = nodeMilliCPU
	}
	return runtimehook.Options{
		SocketPath: o.NRISocket, Enforce: c.Mode == v1alpha1.ModeEnforce, CgroupsPath: host.BatchContainerPath,
		// What strategy batchbound writes has a journal, and is put back by a release.
		LeaveExisting:  modeOf(o.Config, batchbound.Name) == v1alpha1.ModeEnforce,
		ContainerQuota: host.Mode == cgroup.V2 || !branchQuota,
		Fallback:       fallback, PIDs: c.MaxPIDs, Timeout: time.Duration(c.TimeoutMilliseconds) * time.Millisecond,
		BranchCPUs: func() []int { return branchCPUs(host) },
		OnPlace:    m.placed, Log: o.Log,
	}
}

// enforcesBatch reports whether anything that enforces needs the batch branch.
func (o Options) enforcesBatch() bool {
	if o.Config.RuntimeHook.Mode == v1alpha1.ModeEnforce {
		return true
	}
	for _, s := range o.Config.Strategies {
		if s.Mode == v1alpha1.ModeEnforce {
			return true
		}
	}
	return false
}

// waitForKubepods waits for the kubelet to make its groups.
func waitForKubepods(ctx context.Context, o Options, alive *health) (cgroup.Host, error) {
	told := false
	for {
		host, err := cgroup.Detect(o.ProcRoot, o.CgroupRoot, o.KubeletCgroupRoot)
		if err == nil {
			o.Log.Info("found the kubelet's groups", "kubepods", host.Kubepods, "cgroup", host.Mode, "driver", host.Driver)
			return host, nil
		}
		if !errors.Is(err, cgroup.ErrNoKubepods) {
			return cgroup.Host{}, err
		}
		if !told {
			told = true
			o.Log.Warn("waiting for the kubelet's groups", "error", err)
		}
		alive.lastTick.Store(time.Now().UnixNano())
		select {
		case <-ctx.Done():
			return cgroup.Host{}, ctx.Err()
		case <-time.After(kubepodsRetry):
		}
	}
}

func readiness(alive *health, pub *publisher) error {
	if !alive.sensed.Load() {
		return errors.New("the node has not been read yet")
	}
	if status, _ := pub.last(); status == nil {
		return errors.New("NodeUtilization has not been written yet")
	}
	return alive.live(time.Now())
}

// cause is why ctx ended, when that is an error of the agent's own and not a request to stop.
func cause(ctx context.Context, err error) error {
	if c := context.Cause(ctx); c != nil && !errors.Is(c, context.Canceled) {
		return c
	}
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// Released is what a release did, and what the operator should know about it.
type Released struct {
	Results []actuate.Result
	Notes   []string
}

// Release puts every kernel setting that the agent changed back, from the journal. It is for
// uninstalling: afterwards nothing holds batch work below online work.
func Release(o Options) (Released, error) {
	host, err := cgroup.Detect(o.ProcRoot, o.CgroupRoot, o.KubeletCgroupRoot)
	if err != nil {
		return Released{}, fmt.Errorf("releasing: %w", err)
	}
	return release(o, host)
}

func release(o Options, host cgroup.Host) (done Released, err error) {
	journal, err := openJournal(o)
	if err != nil {
		return Released{}, err
	}
	defer func() { err = errors.Join(err, journal.Close()) }()
	auditor, err := openAudit(o)
	if err != nil {
		return Released{}, err
	}
	defer func() { err = errors.Join(err, auditor.log.Close()) }()
	if journal.Missing() {
		done.Notes = append(done.Notes, fmt.Sprintf("there is no %s: nothing is known of what was written (is --state-dir that of the agent?)", journal.Path()))
	}
	if n := journal.OtherBoot(); n > 0 {
		done.Notes = append(done.Notes, fmt.Sprintf("%s is of another boot: the groups of its %d originals are gone", journal.Path(), n))
	}
	if journal.Torn() {
		done.Notes = append(done.Notes, fmt.Sprintf("%s was torn when another boot ended: its groups are gone", journal.Path()))
	}
	done.Results, err = actuate.New(host, journal).Release()
	for _, r := range done.Results {
		auditor.change(time.Now(), "release", r, "", nil)
	}
	return done, err
}

// Forget empties the state directory after a release. The directory itself stays: it is a mount in a pod.
func Forget(o Options) error {
	entries, err := os.ReadDir(o.StateDir)
	if err != nil {
		return fmt.Errorf("emptying the state directory: %w", err)
	}
	for _, e := range entries {
		if err := os.RemoveAll(filepath.Join(o.StateDir, e.Name())); err != nil {
			return fmt.Errorf("emptying the state directory: %w", err)
		}
	}
	return nil
}

// openJournal opens the journal of this boot.
func openJournal(o Options) (*actuate.Journal, error) {
	boot, err := actuate.BootID(o.ProcRoot)
	if err != nil {
		return nil, fmt.Errorf("%w: is procfs mounted where --proc says, %q?", err, o.ProcRoot)
	}
	return actuate.OpenJournal(o.StateDir, boot)
}

// modeOf is the mode of a strategy; one that is not named is Off.
func modeOf(c *v1alpha1.AgentConfiguration, name string) v1alpha1.Mode {
	for _, s := range c.Strategies {
		if s.Name == name {
			return s.Mode
		}
	}
	return v1alpha1.ModeOff
}

// knobsOf is every knob that some strategy claims on a kind of group.
func knobsOf(strategies []running, kind qos.Kind) []qos.Knob {
	var knobs []qos.Knob
	for _, s := range strategies {
		for _, k := range s.Knobs {
			if s.Claims(k, kind) {
				knobs = append(knobs, k)
			}
		}
	}
	return knobs
}
