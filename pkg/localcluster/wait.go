package localcluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	// upTimeout is generous: on a busy machine everything takes several times as long as on an idle one.
	upTimeout = 4 * time.Minute
	// maxStartFailures is how often a component may die before its first readiness.
	maxStartFailures = 4
	pollInterval     = 50 * time.Millisecond
)

// wait follows an instance until all of it is ready.
func (i *Instance) wait(ctx context.Context, p *progress) (*Cluster, error) {
	l := i.layout()
	clients, err := i.client()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, upTimeout)
	defer cancel()
	ready := newMilestones()
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error { return i.waitComponents(gctx, p, ready) })
	g.Go(func() error {
		if err := ready.wait(gctx, "kube-apiserver"); err != nil {
			return err
		}
		return i.bootstrap(gctx, clients, p)
	})
	if !i.ControlPlaneOnly {
		g.Go(func() error {
			if err := ready.wait(gctx, "containerd"); err != nil {
				return err
			}
			return loadPause(gctx, l.ContainerdSocket(), filepath.Join(i.BinDir, "pause"))
		})
		g.Go(func() error {
			if err := ready.wait(gctx, "kubelet"); err != nil {
				return err
			}
			step := p.start("waiting for node " + i.NodeName)
			if err := waitNode(gctx, clients, i.NodeName); err != nil {
				return err
			}
			step.done("node " + i.NodeName + " Ready")
			return nil
		})
	}
	if i.SimulatedNodes > 0 {
		g.Go(func() error {
			if err := ready.wait(gctx, "kwok"); err != nil {
				return err
			}
			step := p.start("making simulated nodes")
			if err := i.makeSimulatedNodes(gctx); err != nil {
				return err
			}
			step.done(fmt.Sprintf("%d simulated nodes Ready", i.SimulatedNodes))
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		if errors.Is(err, context.DeadlineExceeded) {
			err = fmt.Errorf("not ready after %s: %s", upTimeout, i.notReady(context.WithoutCancel(ctx)))
		}
		return nil, err
	}
	return &Cluster{inst: i}, nil
}

// waitComponents reports components as they become ready.
func (i *Instance) waitComponents(ctx context.Context, p *progress, ready *milestones) error {
	l := i.layout()
	for {
		cs, err := componentStatuses(ctx, l)
		if err != nil && !errors.Is(err, errNoSupervisor) {
			return err
		}
		waiting := err != nil
		for _, c := range cs {
			switch {
			case c.Ready:
				if ready.reach(c.Name) {
					p.did(c.Name+" ready", time.Duration(c.StartSeconds*float64(time.Second)))
				}
			case c.Restarts >= maxStartFailures && !ready.reached(c.Name):
				return fmt.Errorf("starting %s: it ended %d times (%s)%s", c.Name, c.Restarts, c.LastExit, logTail(l.Log(c.Name)))
			default:
				waiting = true
			}
		}
		if !waiting {
			return nil
		}
		select {
		case <-time.After(pollInterval):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// notReady says what an instance lacks, for the one line that explains a timeout.
func (i *Instance) notReady(ctx context.Context) string {
	cs, err := componentStatuses(ctx, i.layout())
	if err != nil {
		return err.Error()
	}
	var names []string
	for _, c := range cs {
		if !c.Ready {
			names = append(names, c.Name)
		}
	}
	if len(names) == 0 {
		return "the components are, the nodes are not"
	}
	return strings.Join(names, ", ") + logTail(i.layout().Log(names[0]))
}

// logTail is the end of a log, for errors: a failed up deletes the log itself.
func logTail(path string) string {
	const lines, width = 12, 300
	b, err := os.ReadFile(path)
	if err != nil || len(b) == 0 {
		return ""
	}
	all := strings.Split(strings.TrimSpace(string(b)), "\n")
	all = all[max(0, len(all)-lines):]
	for n, line := range all {
		if len(line) > width {
			all[n] = line[:width] + "…"
		}
	}
	return fmt.Sprintf("; the end of %s:\n  %s", filepath.Base(path), strings.Join(all, "\n  "))
}
