package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/plimsoll/plimsoll/pkg/cgroup"
)

// disturb does, beside the measuring of a window, what its arm is named for. The returned function ends it and
// says what went wrong.
func (s *stage) disturb(ctx context.Context, slot slot, batchGroup string) (end func() error) {
	var do func(context.Context) error
	switch slot.arm {
	case suppressed:
		do = func(ctx context.Context) error { return suppress(ctx, s.host, batchGroup) }
	case agentStopped:
		do = s.stopAgent
	default:
		return func() error { return nil }
	}
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- do(ctx) }()
	return func() error {
		cancel()
		return <-ended
	}
}

// The reference suppression holds all CPU that is used to a share of the node: each second batch may use what
// others leave of that. 65 % and one second are Koordinator's defaults (cpuSuppressThresholdPercent of its
// NodeSLO, CPUSuppressIntervalSeconds of koordlet); there the least that batch keeps is two CPUs on large
// nodes, here a tenth of one, and the limit is always a quota.
const (
	suppressPercent = 65
	suppressEvery   = time.Second
	quotaPeriod     = 100 * time.Millisecond
)

// suppress sets the quota of batch's group each second until ctx ends.
func suppress(ctx context.Context, host cgroup.Host, group string) error {
	m := newMeter(host, map[string]string{batchClass: group})
	defer m.close()
	before, err := m.read()
	if err != nil {
		return err
	}
	for {
		if pause(ctx, suppressEvery) != nil {
			return nil // the window is over; the group goes with the pod
		}
		now, err := m.read()
		if err != nil {
			return err
		}
		others := cores(before, now, "") - cores(before, now, batchClass)
		before = now
		if err := setQuota(host, group, suppressedCores(onlineCPUs(), others)); err != nil {
			return err
		}
	}
}

// suppressedCores is what batch may use beside others.
func suppressedCores(cpus int, others float64) float64 {
	return max(0.1, float64(cpus)*suppressPercent/100-others)
}

func setQuota(host cgroup.Host, group string, cores float64) error {
	micros := strconv.FormatInt(int64(cores*float64(quotaPeriod.Microseconds())), 10)
	dir := host.Dir("cpu", group)
	if host.Mode == cgroup.V2 {
		return writeKernelFile(filepath.Join(dir, "cpu.max"), micros+" "+strconv.FormatInt(quotaPeriod.Microseconds(), 10))
	}
	return errors.Join(
		writeKernelFile(filepath.Join(dir, "cpu.cfs_period_us"), strconv.FormatInt(quotaPeriod.Microseconds(), 10)),
		writeKernelFile(filepath.Join(dir, "cpu.cfs_quota_us"), micros))
}

// stopAgent stops the agent's process in the middle of the window, and lets it go on when the window is over.
func (s *stage) stopAgent(ctx context.Context) (err error) {
	pid, err := s.agentProcess(ctx)
	if err != nil {
		return err
	}
	if pause(ctx, warmup+s.options.roundDuration()/2) != nil {
		return errors.New("the window was over before the agent was stopped")
	}
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		return fmt.Errorf("stopping the agent: %w", err)
	}
	<-ctx.Done()
	if err := syscall.Kill(pid, syscall.SIGCONT); err != nil {
		return fmt.Errorf("letting the agent go on: %w", err)
	}
	return nil
}

// agentProcess is the number of the agent's process.
func (s *stage) agentProcess(ctx context.Context) (int, error) {
	pods, err := s.pods.client.CoreV1().Pods("plimsoll-system").List(ctx, metav1.ListOptions{LabelSelector: "app.kubernetes.io/name=plimsoll-agent"})
	if err != nil {
		return 0, fmt.Errorf("finding the agent: %w", err)
	}
	for i := range pods.Items {
		group, err := podGroup(s.host, &pods.Items[i]) // its first container is the agent: they are in the order of their names
		if err != nil {
			return 0, err
		}
		text, err := os.ReadFile(filepath.Join(s.host.Dir("cpu", group), "cgroup.procs"))
		if err != nil {
			return 0, fmt.Errorf("finding the agent: %w", err)
		}
		if pids := strings.Fields(string(text)); len(pids) > 0 {
			return strconv.Atoi(pids[0])
		}
	}
	return 0, errors.New("finding the agent: no pod of it has a process")
}
