package localcluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

const (
	firstBackoff = time.Second
	maxBackoff   = 10 * time.Second
	// settledAfter is how long a process must have run for its backoff to start over.
	settledAfter = 30 * time.Second
	stopTimeout  = 10 * time.Second
	quitTimeout  = 5 * time.Second
)

// supervisor keeps an instance's components running.
type supervisor struct {
	inst  *Instance
	log   *slog.Logger
	host  *thread
	node  *thread // nil without a node
	units map[string]*unit
	order []string
}

// unit is a component and what has become of it.
type unit struct {
	component
	firstReady chan struct{} // closed when it was ready for the first time

	mu        sync.Mutex
	cmd       *exec.Cmd
	startedAt time.Time
	readyIn   time.Duration // of the latest start; 0 until ready
	isReady   bool
	restarts  int
	lastExit  string
	wanted    bool // the latest exit was asked for
}

// Supervise runs the instance in dir until ctx ends. It is the body of the hidden supervise command.
func Supervise(ctx context.Context, dir string) error {
	inst, err := loadInstance(dir)
	if err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	s := &supervisor{inst: inst, log: log, units: map[string]*unit{}}
	if err := s.prepare(); err != nil {
		return err
	}
	cs, err := inst.components()
	if err != nil {
		return err
	}
	for _, c := range cs {
		s.units[c.name] = &unit{component: c, firstReady: make(chan struct{})}
		s.order = append(s.order, c.name)
	}
	if err := s.serveControl(ctx); err != nil {
		return err
	}
	if !inst.ControlPlaneOnly {
		for _, from := range []string{inst.Network.ServiceIP().String() + ":443", fmt.Sprintf("%s:%d", inst.Network.NodeIP(), inst.Ports.APIServer)} {
			if err := forward(ctx, log, from, fmt.Sprintf("127.0.0.1:%d", inst.Ports.APIServer)); err != nil {
				return err
			}
		}
	}
	var wg sync.WaitGroup
	for _, u := range s.units {
		wg.Go(func() { s.keep(ctx, u) })
	}
	wg.Wait()
	return nil
}

// prepare puts the supervisor where its children are to be born.
func (s *supervisor) prepare() error {
	var err error
	if s.host, err = newThread(func() error { return nil }); err != nil {
		return err
	}
	if s.inst.ControlPlaneOnly {
		return nil
	}
	hs, err := hierarchies("/proc")
	if err != nil {
		return err
	}
	if err := joinSystemGroup(hs, s.inst.CgroupRoot); err != nil {
		return err
	}
	l := s.inst.layout()
	if err := clearRun(l); err != nil {
		return err
	}
	s.node, err = newThread(func() error { return nodeMounts(l, s.inst.Dir, s.inst.BinDir) })
	return err
}

// keep starts a component and starts it again whenever it ends, until ctx does.
func (s *supervisor) keep(ctx context.Context, u *unit) {
	for _, dep := range u.after {
		select {
		case <-s.units[dep].firstReady:
		case <-ctx.Done():
			return
		}
	}
	backoff := firstBackoff
	for ctx.Err() == nil {
		began := time.Now()
		err := s.runOnce(ctx, u)
		if ctx.Err() != nil {
			return
		}
		u.mu.Lock()
		wanted := u.wanted
		u.restarts++
		u.lastExit = fmt.Sprint(err)
		u.mu.Unlock()
		s.log.Info("component ended", "component", u.name, "ran", time.Since(began).Round(time.Millisecond), "exit", err, "wanted", wanted)
		if wanted {
			backoff = firstBackoff
			continue
		}
		if time.Since(began) > settledAfter {
			backoff = firstBackoff
		}
		select {
		case <-time.After(backoff):
		case <-ctx.Done():
		}
		backoff = min(2*backoff, maxBackoff)
	}
}

// runOnce runs a component from start to exit.
func (s *supervisor) runOnce(ctx context.Context, u *unit) error {
	l := s.inst.layout()
	logFile, err := os.OpenFile(l.Log(u.name), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("opening the log: %w", err)
	}
	defer logFile.Close()
	cmd := exec.Command(u.bin, u.args...)
	cmd.Env, cmd.Dir, cmd.Stdout, cmd.Stderr = s.inst.environ(), l.path("tmp"), logFile, logFile
	t := s.host
	if u.node {
		t = s.node
	}
	if err := t.start(cmd); err != nil {
		return fmt.Errorf("starting %s: %w", u.name, err)
	}
	u.mu.Lock()
	u.cmd, u.startedAt, u.isReady, u.readyIn, u.wanted = cmd, time.Now(), false, 0, false
	u.mu.Unlock()
	s.log.Info("component started", "component", u.name, "pid", cmd.Process.Pid)

	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }()
	watchCtx, stopWatching := context.WithCancel(ctx)
	defer stopWatching()
	go u.watch(watchCtx)
	defer u.gone()
	select {
	case err := <-exited:
		return exitText(err)
	case <-ctx.Done():
	}
	_ = cmd.Process.Signal(syscall.SIGTERM)
	select {
	case err := <-exited:
		return exitText(err)
	case <-time.After(quitTimeout):
		_ = cmd.Process.Kill()
		return exitText(<-exited)
	}
}

func exitText(err error) error {
	if err == nil {
		return errors.New("exit status 0")
	}
	return err
}

func (u *unit) gone() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.cmd, u.isReady = nil, false
}

// watch keeps isReady up to date: quickly until the component is ready for the first time, since
// everything waits for that, then at leisure.
func (u *unit) watch(ctx context.Context) {
	const hasty, leisurely = 50 * time.Millisecond, 2 * time.Second
	interval := hasty
	for {
		err := u.ready(ctx)
		if ctx.Err() != nil {
			return
		}
		u.mu.Lock()
		u.isReady = err == nil
		if err == nil && u.readyIn == 0 {
			u.readyIn = time.Since(u.startedAt)
			interval = leisurely
			select {
			case <-u.firstReady:
			default:
				close(u.firstReady)
			}
		}
		u.mu.Unlock()
		select {
		case <-time.After(interval):
		case <-ctx.Done():
			return
		}
	}
}

// restart ends a component; keep starts it again at once.
func (s *supervisor) restart(name string) error {
	u, ok := s.units[name]
	if !ok {
		return fmt.Errorf("no component is called %q", name)
	}
	u.mu.Lock()
	cmd := u.cmd
	u.wanted = true
	u.mu.Unlock()
	if cmd == nil {
		return fmt.Errorf("%s is not running just now; it is about to be started", name)
	}
	_ = cmd.Process.Signal(syscall.SIGTERM)
	go func() {
		time.Sleep(stopTimeout)
		u.mu.Lock()
		defer u.mu.Unlock()
		if u.cmd == cmd {
			_ = cmd.Process.Kill()
		}
	}()
	return nil
}

func (u *unit) status() ComponentStatus {
	u.mu.Lock()
	defer u.mu.Unlock()
	st := ComponentStatus{Name: u.name, Ready: u.isReady, Restarts: u.restarts, LastExit: u.lastExit, StartSeconds: u.readyIn.Seconds()}
	if u.cmd != nil {
		st.PID = u.cmd.Process.Pid
		st.UptimeSeconds = time.Since(u.startedAt).Seconds()
	}
	return st
}
