package runtimehook

import (
	"context"
	"fmt"
	"time"

	"github.com/containerd/nri/pkg/api"
	"github.com/containerd/nri/pkg/stub"

	"github.com/plimsoll/plimsoll/pkg/api/v1alpha1"
)

// plugin is what the runtime calls. It is apart from Hook so that the runtime's calls are not part of
// Hook's own methods.
type plugin struct{ hook *Hook }

// holdingPlugin is called before containers start as well. The runtime asks a plugin for what its methods are, and
// each call is a wait for a CPU.
type holdingPlugin struct{ *plugin }

// newPlugin is the plugin that does what h has to do, and no more.
func newPlugin(h *Hook) any {
	if h.opts.BeforeStart == nil || !h.opts.Enforce {
		return &plugin{h}
	}
	return holdingPlugin{&plugin{h}}
}

var (
	_ stub.SynchronizeInterface         = &plugin{}
	_ stub.CreateContainerInterface     = &plugin{}
	_ stub.PostCreateContainerInterface = &plugin{}
	_ stub.StartContainerInterface      = holdingPlugin{}
	_ stub.PostStartContainerInterface  = &plugin{}
	_ stub.UpdateContainerInterface     = &plugin{}
	_ stub.RemoveContainerInterface     = &plugin{}
	_ stub.RemovePodInterface           = &plugin{}
)

// Synchronize learns the containers that run already, and bounds those of batch pods, unless somebody else
// does. They stay where they are: a container cannot be moved.
func (p *plugin) Synchronize(_ context.Context, pods []*api.PodSandbox, containers []*api.Container) ([]*api.ContainerUpdate, error) {
	h := p.hook
	byID := make(map[string]*api.PodSandbox, len(pods))
	for _, pod := range pods {
		byID[pod.GetId()] = pod
	}
	known := make(map[string]PodRef, len(containers))
	var updates []*api.ContainerUpdate
	for _, c := range containers {
		pod := byID[c.GetPodSandboxId()]
		if pod == nil {
			continue
		}
		known[c.GetId()] = refOf(pod)
		if !h.opts.Enforce || h.opts.LeaveExisting || !isBatch(pod) || !canBeUpdated(c) {
			continue
		}
		if b, _ := h.opts.boundsOf(pod, c); !b.hold(c.GetLinux().GetResources()) {
			updates = append(updates, b.update(c.GetId()))
		}
	}
	h.mu.Lock()
	h.containers = known
	h.mu.Unlock()
	h.connected.Store(true)
	h.opts.Log.Info("connected to the container runtime", "pods", len(pods), "containers", len(known), "bounded", len(updates), "enforce", h.opts.Enforce)
	return updates, nil
}

func canBeUpdated(c *api.Container) bool {
	switch c.GetState() {
	case api.ContainerState_CONTAINER_CREATED, api.ContainerState_CONTAINER_RUNNING, api.ContainerState_CONTAINER_PAUSED:
		return true
	default:
		return false
	}
}

// CreateContainer puts a batch pod's container into the batch branch, with its bounds.
func (p *plugin) CreateContainer(_ context.Context, pod *api.PodSandbox, c *api.Container) (*api.ContainerAdjustment, []*api.ContainerUpdate, error) {
	h := p.hook
	adjust, inTime := within(h.opts.Timeout, func() *api.ContainerAdjustment { return h.create(pod, c) })
	switch {
	case inTime:
		return adjust, nil, nil
	case isBatch(pod) && h.opts.Enforce:
		return nil, nil, fmt.Errorf("plimsoll did not answer within %v, and a batch container must not run unbounded: the kubelet will try again", h.opts.Timeout)
	default:
		return nil, nil, nil
	}
}

// within runs f and waits at most so long for it.
func within[T any](limit time.Duration, f func() T) (result T, inTime bool) {
	done := make(chan T, 1)
	go func() { done <- f() }()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case result = <-done:
		return result, true
	case <-timer.C:
		return result, false
	}
}

func (h *Hook) create(pod *api.PodSandbox, c *api.Container) *api.ContainerAdjustment {
	h.mu.Lock()
	h.containers[c.GetId()] = refOf(pod)
	h.mu.Unlock()
	if !isBatch(pod) {
		return nil
	}
	if h.opts.OnPlace != nil {
		h.opts.OnPlace(h.opts.Enforce)
	}
	if !h.opts.Enforce {
		return nil
	}
	depth := h.conflicts.begin(c.GetId(), pod.GetUid(), c.GetName())
	if depth == boundedAfterwards {
		h.opts.Log.Warn("leaving a batch container where it is: it was not created twice", "namespace", pod.GetNamespace(), "pod", pod.GetName(), "container", c.GetName())
		return nil
	}
	path := h.opts.CgroupsPath(c.GetId(), c.GetLinux().GetCgroupsPath())
	adjust := &api.ContainerAdjustment{}
	adjust.SetLinuxCgroupsPath(path)
	if cpus := h.opts.cpusOf(c.GetLinux().GetResources()); cpus != "" {
		adjust.SetLinuxCPUSetCPUs(cpus)
	}
	b, guessed := h.opts.boundsOf(pod, c)
	if depth == placedAndBounded {
		b.adjust(adjust)
	}
	h.opts.Log.Info("placing a batch container", "namespace", pod.GetNamespace(), "pod", pod.GetName(), "container", c.GetName(), "cgroup", path,
		"cpuShares", b.Shares, "quotaMicros", b.QuotaMicros, "memoryBytes", b.MemoryBytes, "pids", b.PIDs, "bounded", depth == placedAndBounded, "guessed", guessed)
	return adjust
}

// PostCreateContainer ends a creation that came about.
func (p *plugin) PostCreateContainer(_ context.Context, pod *api.PodSandbox, c *api.Container) error {
	p.hook.conflicts.done(c.GetId(), pod.GetNamespace()+"/"+pod.GetName(), c.GetName())
	return nil
}

// StartContainer holds a batch container back until the branch is as it should be: making the container's group may
// have changed it. Past the time the container starts all the same: its own bounds are in force.
func (p holdingPlugin) StartContainer(ctx context.Context, pod *api.PodSandbox, c *api.Container) error {
	h := p.hook
	if !isBatch(pod) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, h.opts.Timeout)
	defer cancel()
	h.opts.BeforeStart(ctx)
	if ctx.Err() != nil {
		h.opts.Log.Warn("starting a batch container although the batch branch could not be seen to", "namespace", pod.GetNamespace(), "pod", pod.GetName(), "container", c.GetName(), "waited", h.opts.Timeout)
	}
	return nil
}

// PostStartContainer bounds a container that could not be bounded at its creation. Not before: while containerd
// starts a container, an update changes what it knows of it, and not the container. What an update cannot say, the
// limit of tasks, is left to whoever asks Reduced.
func (p *plugin) PostStartContainer(_ context.Context, pod *api.PodSandbox, c *api.Container) error {
	h := p.hook
	if !h.Reduced(c.GetId()) {
		return nil
	}
	b, _ := h.opts.boundsOf(pod, c)
	go func() { // the runtime answers only after this call has returned
		update := h.update.Load()
		if update == nil {
			return // the next Synchronize bounds it
		}
		if failed, err := (*update)([]*api.ContainerUpdate{b.update(c.GetId())}); err != nil || len(failed) > 0 {
			h.opts.Log.Error("bounding a batch container after its start", "namespace", pod.GetNamespace(), "pod", pod.GetName(), "container", c.GetName(), "failed", len(failed), "error", err)
		}
	}()
	return nil
}

// UpdateContainer keeps the bounds when the kubelet updates a container.
func (p *plugin) UpdateContainer(_ context.Context, pod *api.PodSandbox, c *api.Container, wanted *api.LinuxResources) ([]*api.ContainerUpdate, error) {
	if !p.hook.opts.Enforce || !isBatch(pod) {
		return nil, nil
	}
	b, _ := p.hook.opts.boundsOf(pod, c)
	update := b.update(c.GetId())
	if cpus := p.hook.opts.cpusOf(wanted); cpus != "" {
		update.SetLinuxCPUSetCPUs(cpus)
	}
	return []*api.ContainerUpdate{update}, nil
}

// RemoveContainer forgets a container.
func (p *plugin) RemoveContainer(_ context.Context, _ *api.PodSandbox, c *api.Container) error {
	p.hook.conflicts.forget(c.GetId())
	p.hook.mu.Lock()
	defer p.hook.mu.Unlock()
	delete(p.hook.containers, c.GetId())
	return nil
}

// RemovePodSandbox forgets creations of the pod that never came about.
func (p *plugin) RemovePodSandbox(_ context.Context, pod *api.PodSandbox) error {
	p.hook.conflicts.forgetPod(pod.GetUid())
	return nil
}

// isBatch goes by the label: the priority class is not known here, and a batch label on a node-critical
// pod still makes it batch.
func isBatch(pod *api.PodSandbox) bool {
	return v1alpha1.ClassOf(pod.GetLabels(), "") == v1alpha1.ClassBatch
}

func refOf(pod *api.PodSandbox) PodRef {
	return PodRef{UID: pod.GetUid(), Namespace: pod.GetNamespace(), Name: pod.GetName()}
}
