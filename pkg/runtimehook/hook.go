package runtimehook

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/containerd/nri/pkg/api"
	"github.com/containerd/nri/pkg/stub"
)

const (
	// pluginName and pluginIndex identify the plugin to the runtime; the index orders plugins.
	pluginName  = "plimsoll"
	pluginIndex = "50"

	firstRetry, lastRetry = 500 * time.Millisecond, 15 * time.Second
)

// Options say what the hook needs.
type Options struct {
	// SocketPath is the runtime's NRI socket.
	SocketPath string
	// Enforce puts batch containers into the branch; otherwise the hook only looks on.
	Enforce bool
	// CgroupsPath is the path, in the runtime's notation, of a batch container with this ID, which the runtime
	// meant to put at another.
	CgroupsPath func(containerID, meant string) string
	// ContainerQuota gives each batch container a CPU quota of its own. On cgroup v1 it must be off where the
	// branch has a quota: the kernel refuses a group's quota that is below one of its children's.
	ContainerQuota bool
	// BranchCPUs is the CPUs that a container's own must be among; nil, or none, where it may have any.
	BranchCPUs func() []int
	// LeaveExisting leaves batch containers that run when the hook connects to whoever bounds them else.
	LeaveExisting bool
	// Fallback bounds batch containers of pods that were not converted; PIDs bounds the tasks of each.
	Fallback Fallback
	PIDs     int64
	// Timeout is the longest that a container's creation waits for the hook. Past it a batch container is
	// refused, and tried again by the kubelet; any other is created as if there were no hook.
	Timeout time.Duration
	// OnPlace is told of each batch container that was, or without Enforce would have been, placed.
	OnPlace func(enforced bool)
	// BeforeStart is called when a batch container's group is there and its first instruction is still to come, which
	// waits for it until ctx ends; nil for nothing to do.
	BeforeStart func(ctx context.Context)
	Log         *slog.Logger
}

// PodRef is the pod that a container belongs to.
type PodRef struct {
	UID, Namespace, Name string
}

// Hook is the NRI plugin.
type Hook struct {
	opts      Options
	connected atomic.Bool

	conflicts *conflicts
	// update asks the runtime for updates that it did not ask for; nil while not connected.
	update atomic.Pointer[func([]*api.ContainerUpdate) ([]*api.ContainerUpdate, error)]

	mu         sync.RWMutex
	containers map[string]PodRef
}

// New returns a Hook that is not connected yet.
func New(opts Options) *Hook {
	return &Hook{opts: opts, conflicts: newConflicts(), containers: map[string]PodRef{}}
}

// Connected reports whether the runtime asks this hook about new containers.
func (h *Hook) Connected() bool { return h.connected.Load() }

// Conflict tells of a batch container at whose creation the hook had to hold back; empty for none.
func (h *Hook) Conflict() string { return h.conflicts.say() }

// Reduced reports whether a container exists that was not bounded at its creation, because that had failed.
func (h *Hook) Reduced(containerID string) bool { return h.conflicts.has(containerID) }

// PodOf returns the pod of a container that the runtime has told of.
func (h *Hook) PodOf(containerID string) (PodRef, bool) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	p, ok := h.containers[containerID]
	return p, ok
}

// Run connects to the runtime, and again after each loss of the connection, until ctx ends.
func (h *Hook) Run(ctx context.Context) {
	retry := firstRetry
	for ctx.Err() == nil {
		started := time.Now()
		err := h.session(ctx)
		h.connected.Store(false)
		if ctx.Err() != nil {
			return
		}
		if time.Since(started) > lastRetry {
			retry = firstRetry
		}
		h.opts.Log.Warn("not connected to the container runtime: new batch containers stay where the kubelet puts them",
			"socket", h.opts.SocketPath, "error", err, "retryIn", retry)
		select {
		case <-ctx.Done():
		case <-time.After(retry):
		}
		retry = min(2*retry, lastRetry)
	}
}

// session serves one connection to the runtime.
func (h *Hook) session(ctx context.Context) error {
	if _, err := os.Stat(h.opts.SocketPath); err != nil {
		return fmt.Errorf("finding the NRI socket (is NRI enabled in the container runtime?): %w", err)
	}
	s, err := stub.New(newPlugin(h), stub.WithPluginName(pluginName), stub.WithPluginIdx(pluginIndex),
		stub.WithSocketPath(h.opts.SocketPath), stub.WithOnClose(func() { h.connected.Store(false) }))
	if err != nil {
		return fmt.Errorf("making the NRI plugin: %w", err)
	}
	if err := s.Start(ctx); err != nil {
		return fmt.Errorf("registering with the container runtime: %w", err)
	}
	stop := context.AfterFunc(ctx, s.Stop)
	defer stop()
	update := s.UpdateContainers
	h.update.Store(&update)
	defer h.update.Store(nil)
	s.Wait()
	return errors.New("the container runtime closed the connection")
}
