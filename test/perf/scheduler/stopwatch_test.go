package scheduler

import (
	"context"
	"fmt"
	"sync"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	fwk "k8s.io/kube-scheduler/framework"
)

// The harness' average throughput is of six or seven samples of a second each, the last of which counts as a whole one.
// A stopwatch is a plugin that every profile has: it notes when pods were bound, and what processor time this process,
// which is scheduler and API server, had taken by then. Other work on the machine changes the former more than the latter.
type stopwatch struct {
	mu    sync.Mutex
	binds []bind
}

type bind struct {
	at  time.Time
	cpu time.Duration
}

const stopwatchName = "Stopwatch"

var _ fwk.PostBindPlugin = &stopwatch{}

// build is called for each benchmark's scheduler: what was noted before is of another.
func (s *stopwatch) build(context.Context, runtime.Object, fwk.Handle) (fwk.Plugin, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.binds = nil
	return s, nil
}

func (s *stopwatch) Name() string { return stopwatchName }

func (s *stopwatch) PostBind(_ context.Context, _ fwk.CycleState, pod *corev1.Pod, _ string) {
	if pod.Labels["app"] != "online" {
		return
	}
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return
	}
	b := bind{at: time.Now(), cpu: time.Duration(usage.Utime.Nano() + usage.Stime.Nano())}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.binds = append(s.binds, b)
}

// report is what the last scheduler made of the online pods that are measured: the last of those bound, without the
// tenth that was first and the tenth that was last.
func (s *stopwatch) report(measured int) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	measured = min(measured, len(s.binds))
	if measured < 10 {
		return fmt.Sprintf("stopwatch: %d pods are too few", measured)
	}
	binds := s.binds[len(s.binds)-measured:]
	first, last := binds[measured/10], binds[measured*9/10]
	pods := float64(measured*9/10 - measured/10)
	return fmt.Sprintf("stopwatch: %.1f pods/s, %.3f ms of CPU a pod", pods/last.at.Sub(first.at).Seconds(),
		(last.cpu-first.cpu).Seconds()*1000/pods)
}
