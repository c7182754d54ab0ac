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

	"github.com/plimsoll/plimsoll/pkg/api/v1alpha1"
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
	// CgroupsPath is the path, in the runtime's notation, of a batch container with this ID.
	CgroupsPath func(containerID string) string
	// OnPlace is told of each batch container that was, or without Enforce would have been, placed.
	OnPlace func(enforced bool)
	Log     *slog.Logger
}

// PodRef is the pod that a container belongs to.
type PodRef struct {
	UID, Namespace, Name string
}

// Hook is the NRI plugin.
type Hook struct {
	opts      Options
	connected atomic.Bool

	mu         sync.RWMutex
	containers map[string]PodRef
}

// New returns a Hook that is not connected yet.
func New(opts Options) *Hook {
	return &Hook{opts: opts, containers: map[string]PodRef{}}
}

// Connected reports whether the runtime asks this hook about new containers.
func (h *Hook) Connected() bool { return h.connected.Load() }

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
	s, err := stub.New(&plugin{h}, stub.WithPluginName(pluginName), stub.WithPluginIdx(pluginIndex),
		stub.WithSocketPath(h.opts.SocketPath), stub.WithOnClose(func() { h.connected.Store(false) }))
	if err != nil {
		return fmt.Errorf("making the NRI plugin: %w", err)
	}
	if err := s.Start(ctx); err != nil {
		return fmt.Errorf("registering with the container runtime: %w", err)
	}
	stop := context.AfterFunc(ctx, s.Stop)
	defer stop()
	s.Wait()
	return errors.New("the container runtime closed the connection")
}

// plugin is what the runtime calls. It is apart from Hook so that the runtime's calls are not part of
// Hook's own methods.
type plugin struct{ hook *Hook }

var (
	_ stub.SynchronizeInterface     = &plugin{}
	_ stub.CreateContainerInterface = &plugin{}
	_ stub.RemoveContainerInterface = &plugin{}
)

// Synchronize learns the containers that run already.
func (p *plugin) Synchronize(_ context.Context, pods []*api.PodSandbox, containers []*api.Container) ([]*api.ContainerUpdate, error) {
	byID := make(map[string]*api.PodSandbox, len(pods))
	for _, pod := range pods {
		byID[pod.GetId()] = pod
	}
	known := make(map[string]PodRef, len(containers))
	for _, c := range containers {
		if pod := byID[c.GetPodSandboxId()]; pod != nil {
			known[c.GetId()] = refOf(pod)
		}
	}
	p.hook.mu.Lock()
	p.hook.containers = known
	p.hook.mu.Unlock()
	p.hook.connected.Store(true)
	p.hook.opts.Log.Info("connected to the container runtime", "pods", len(pods), "containers", len(known), "enforce", p.hook.opts.Enforce)
	return nil, nil
}

// CreateContainer puts a batch pod's container into the batch branch.
func (p *plugin) CreateContainer(_ context.Context, pod *api.PodSandbox, c *api.Container) (*api.ContainerAdjustment, []*api.ContainerUpdate, error) {
	h := p.hook
	h.mu.Lock()
	h.containers[c.GetId()] = refOf(pod)
	h.mu.Unlock()
	// The priority class is not known here; a batch label on a node-critical pod still makes it batch.
	if v1alpha1.ClassOf(pod.GetLabels(), "") != v1alpha1.ClassBatch {
		return nil, nil, nil
	}
	if h.opts.OnPlace != nil {
		h.opts.OnPlace(h.opts.Enforce)
	}
	if !h.opts.Enforce {
		return nil, nil, nil
	}
	path := h.opts.CgroupsPath(c.GetId())
	adjust := &api.ContainerAdjustment{}
	adjust.SetLinuxCgroupsPath(path)
	h.opts.Log.Info("placing a batch container", "namespace", pod.GetNamespace(), "pod", pod.GetName(), "container", c.GetName(), "cgroup", path)
	return adjust, nil, nil
}

// RemoveContainer forgets a container.
func (p *plugin) RemoveContainer(_ context.Context, _ *api.PodSandbox, c *api.Container) error {
	p.hook.mu.Lock()
	defer p.hook.mu.Unlock()
	delete(p.hook.containers, c.GetId())
	return nil
}

func refOf(pod *api.PodSandbox) PodRef {
	return PodRef{UID: pod.GetUid(), Namespace: pod.GetNamespace(), Name: pod.GetName()}
}
