package localcluster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

// Cluster is an instance that is up.
type Cluster struct {
	inst *Instance
}

// Up brings an instance up and waits until its node is ready. On one that is up already it starts what
// died, if anything. When it fails to make a new instance, it leaves nothing of it.
func Up(ctx context.Context, o Options) (*Cluster, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	p := newProgress(o.Progress)
	inst, err := loadInstance(o.Dir)
	if err == nil {
		return upAgain(ctx, o, inst, p)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	began := time.Now()
	step := p.start("checking this machine")
	mode, hs, err := thisHost().preflight(o)
	if err != nil {
		step.fail()
		return nil, err
	}
	step.done(checkedText(o, mode))
	if err := ensureParts(ctx, o, p); err != nil {
		return nil, err
	}
	c, err := upNew(ctx, o, mode, hs, p)
	if err != nil {
		if errors.Is(err, context.Canceled) {
			err = errors.New("interrupted: what was made is removed again")
		}
		// Even when it is ctx that ended.
		if derr := Down(context.WithoutCancel(ctx), o.Dir, nil); derr != nil {
			err = fmt.Errorf("%w (and cleaning up: %w)", err, derr)
		}
		return nil, err
	}
	p.did("up", time.Since(began))
	return c, nil
}

func checkedText(o Options, mode CgroupMode) string {
	if o.ControlPlaneOnly {
		return "machine checked: control plane only"
	}
	return fmt.Sprintf("machine checked: cgroup %s", mode)
}

func upNew(ctx context.Context, o Options, mode CgroupMode, hs []hierarchy, p *progress) (*Cluster, error) {
	step := p.start("making certificates and configuration")
	unlock, err := makeDirs(o.Dir)
	if err != nil {
		return nil, err
	}
	defer unlock()
	inst, err := newInstance(o, mode)
	if err != nil {
		return nil, err
	}
	// From here on there is something to undo, and down finds what.
	if err := inst.save(); err != nil {
		return nil, err
	}
	if err := inst.writePKI(time.Now()); err != nil {
		return nil, err
	}
	if err := inst.writeConfigs(o.SchedulerConfig); err != nil {
		return nil, err
	}
	step.done("certificates and configuration made")
	if err := inst.prepareHost(hs); err != nil {
		return nil, err
	}
	return inst.start(ctx, o, p)
}

// upAgain makes up harmless on an instance that exists.
func upAgain(ctx context.Context, o Options, inst *Instance, p *progress) (*Cluster, error) {
	if err := sameInstance(o, inst); err != nil {
		return nil, err
	}
	unlock, err := lockDir(o.Dir)
	if err != nil {
		return nil, err
	}
	defer unlock()
	began := time.Now()
	l := inst.layout()
	if _, err := componentStatuses(ctx, l); err == nil {
		c, err := inst.wait(ctx, newProgress(nil))
		if err != nil {
			return nil, err
		}
		p.did("already up", time.Since(began))
		return c, nil
	} else if !errors.Is(err, errNoSupervisor) {
		return nil, err
	}
	p.note("the supervisor of %s is gone: starting again what it had", o.Dir)
	var hs []hierarchy
	if !inst.ControlPlaneOnly {
		if os.Geteuid() != 0 {
			return nil, errors.New("containers and cgroups need root: run it with sudo")
		}
		if hs, err = hierarchies("/proc"); err != nil {
			return nil, err
		}
	}
	if err := ensureParts(ctx, Options{BinDir: inst.BinDir, ControlPlaneOnly: inst.ControlPlaneOnly}, p); err != nil {
		return nil, err
	}
	if err := killAll("/proc", hs, inst.Dir, inst.CgroupRoot, killTimeout); err != nil {
		return nil, err
	}
	if err := inst.prepareHost(hs); err != nil {
		return nil, err
	}
	c, err := inst.start(ctx, o, p)
	if err != nil {
		return nil, err
	}
	p.did("up again", time.Since(began))
	return c, nil
}

// sameInstance refuses to answer "already up" to somebody who asked for something else.
func sameInstance(o Options, inst *Instance) error {
	var diff []string
	if o.Port != inst.Ports.APIServer {
		diff = append(diff, fmt.Sprintf("--port %d", inst.Ports.APIServer))
	}
	if o.NodeName != inst.NodeName && !inst.ControlPlaneOnly {
		diff = append(diff, "--node-name "+inst.NodeName)
	}
	if o.ControlPlaneOnly != inst.ControlPlaneOnly {
		diff = append(diff, fmt.Sprintf("--control-plane-only=%t", inst.ControlPlaneOnly))
	}
	if o.FeatureGates != inst.FeatureGates || o.RuntimeConfig != inst.RuntimeConfig {
		diff = append(diff, fmt.Sprintf("--feature-gates %q --runtime-config %q", inst.FeatureGates, inst.RuntimeConfig))
	}
	if o.SimulatedNodes != inst.SimulatedNodes {
		diff = append(diff, fmt.Sprintf("--simulated-nodes %d", inst.SimulatedNodes))
	}
	if len(diff) == 0 {
		return nil
	}
	return fmt.Errorf("there is an instance in %s that was brought up with %s: run down first, or choose another --dir", o.Dir, strings.Join(diff, " "))
}

func newInstance(o Options, mode CgroupMode) (*Instance, error) {
	ports, err := choosePorts(o.Port, portFree)
	if err != nil {
		return nil, err
	}
	used, err := hostPrefixes()
	if err != nil {
		return nil, err
	}
	network, err := chooseBlock(o.Dir, used)
	if err != nil {
		return nil, err
	}
	inst := &Instance{
		Dir: o.Dir, BinDir: o.BinDir, NodeName: o.NodeName, SimulatedNodes: o.SimulatedNodes, ControlPlaneOnly: o.ControlPlaneOnly,
		FeatureGates: o.FeatureGates, RuntimeConfig: o.RuntimeConfig,
		Ports: ports, Network: network,
	}
	if o.ControlPlaneOnly {
		return inst, nil
	}
	inst.CgroupMode, inst.CgroupRoot = mode, o.CgroupRoot
	inst.Sysctls, err = readSysctls("/proc", otherInstances("/proc", o.Dir))
	return inst, err
}

// prepareHost makes the few things of an instance that are not below its directory.
func (i *Instance) prepareHost(hs []hierarchy) error {
	if i.ControlPlaneOnly {
		return nil
	}
	on, err := makeGroups(hs, i.CgroupMode, i.CgroupRoot)
	i.RootControllers = append(i.RootControllers, on...)
	if serr := i.save(); serr != nil {
		return errors.Join(err, serr)
	}
	if err != nil {
		return err
	}
	return i.Network.addLoopbackAddrs()
}

func makeDirs(dir string) (unlock func(), err error) {
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return nil, fmt.Errorf("making the state directory: %w", err)
	}
	for _, d := range (Layout{dir}).dirs() {
		if err := os.Mkdir(d, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, fmt.Errorf("making the state directory: %w", err)
		}
	}
	return lockDir(dir)
}

// lockDir keeps two commands from working on one instance at a time. The lock is on the directory
// itself, so it leaves no file and ends with the process.
func lockDir(dir string) (unlock func(), err error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("opening the state directory: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("another up or down is at work on %s: wait for it (%w)", dir, err)
	}
	return func() { f.Close() }, nil
}

// start starts the supervisor, detached, and waits for everything.
func (i *Instance) start(ctx context.Context, o Options, p *progress) (*Cluster, error) {
	l := i.layout()
	logFile, err := os.OpenFile(l.Log("supervisor"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, fmt.Errorf("opening the supervisor's log: %w", err)
	}
	defer logFile.Close()
	exe, err := supervisorExecutable(o.BinDir)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(exe, "supervise", "--dir", i.Dir)
	cmd.Env, cmd.Dir, cmd.Stdout, cmd.Stderr = i.environ(), "/", logFile, logFile
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting the supervisor: %w", err)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		err := cmd.Wait()
		cancel(fmt.Errorf("starting: the supervisor ended: %w%s", exitText(err), logTail(l.Log("supervisor"))))
	}()
	return i.wait(ctx, p)
}

// supervisorExecutable is this program, or for programs that use this package the one in the bin dir.
func supervisorExecutable(binDir string) (string, error) {
	exe, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("finding the running executable: %w", err)
	}
	if filepath.Base(exe) == "plimsoll-local" {
		return exe, nil
	}
	return filepath.Join(binDir, "plimsoll-local"), nil
}

func (i *Instance) client() (*kubernetes.Clientset, error) {
	cfg, err := clientcmd.BuildConfigFromFlags("", i.layout().Kubeconfig())
	if err != nil {
		return nil, fmt.Errorf("reading the kubeconfig: %w", err)
	}
	cfg.QPS, cfg.Burst = 500, 1000
	c, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		return nil, fmt.Errorf("making a client: %w", err)
	}
	return c, nil
}
