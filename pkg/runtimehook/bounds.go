package runtimehook

import (
	"fmt"

	"github.com/containerd/nri/pkg/api"

	"github.com/plimsoll/plimsoll/pkg/api/v1alpha1"
	"github.com/plimsoll/plimsoll/pkg/qos"
	"github.com/plimsoll/plimsoll/pkg/qos/batchbound"
)

// Fallback is what a batch container is held to that nothing else bounds: one of a pod that the
// admission policy did not convert.
type Fallback struct {
	MilliCPU, MemoryBytes int64
}

// bounds is what a batch container is held to. The runtime converts the weight where the kernel has cpu.weight.
type bounds batchbound.Bounds

// boundsOf says what a container of a batch pod is held to, and why it had to be guessed, if so.
func (o Options) boundsOf(pod *api.PodSandbox, c *api.Container) (b bounds, guessed string) {
	annotation, converted := pod.GetAnnotations()[v1alpha1.BatchResourcesAnnotation]
	amounts, err := v1alpha1.ParseBatchResources(annotation)
	r, named := amounts[c.GetName()]
	switch {
	case !converted:
		guessed = "the pod was not converted by the admission policy plimsoll-batch"
	case err != nil:
		guessed = err.Error()
	case !named: // an ephemeral container, which nobody schedules
		guessed = fmt.Sprintf("%s does not name it", v1alpha1.BatchResourcesAnnotation)
	}
	if guessed != "" {
		r = o.guess(c)
	}
	b = bounds(batchbound.Of(batchbound.Amounts(r), o.PIDs))
	if !o.ContainerQuota {
		b.QuotaMicros = -1
	}
	return b, guessed
}

// guess takes what the kubelet asked for, and the fallback for the rest.
func (o Options) guess(c *api.Container) v1alpha1.BatchResources {
	r := v1alpha1.BatchResources{LimitMilliCPU: o.Fallback.MilliCPU, MemoryBytes: o.Fallback.MemoryBytes}
	cpu, memory := c.GetLinux().GetResources().GetCpu(), c.GetLinux().GetResources().GetMemory()
	if quota, period := cpu.GetQuota().GetValue(), cpu.GetPeriod().GetValue(); quota > 0 && period > 0 {
		r.LimitMilliCPU = max(1, quota*1000/int64(period))
	}
	if limit := memory.GetLimit().GetValue(); limit > 0 {
		r.MemoryBytes = limit
	}
	r.MilliCPU = int64(cpu.GetShares().GetValue()) * 1000 / 1024
	return r
}

// adjust asks the runtime for the bounds at creation.
func (b bounds) adjust(a *api.ContainerAdjustment) {
	a.SetLinuxCPUShares(uint64(b.Shares))
	a.SetLinuxCPUPeriod(batchbound.QuotaPeriodMicros)
	a.SetLinuxCPUQuota(b.QuotaMicros)
	a.SetLinuxMemoryLimit(b.MemoryBytes)
	a.SetLinuxPidLimits(b.PIDs)
}

// update asks the runtime for the bounds on a container that is there already.
func (b bounds) update(containerID string) *api.ContainerUpdate {
	u := &api.ContainerUpdate{}
	u.SetContainerId(containerID)
	u.SetLinuxCPUShares(uint64(b.Shares))
	u.SetLinuxCPUPeriod(batchbound.QuotaPeriodMicros)
	u.SetLinuxCPUQuota(b.QuotaMicros)
	u.SetLinuxMemoryLimit(b.MemoryBytes)
	u.SetLinuxPidLimits(b.PIDs)
	u.SetIgnoreFailure()
	return u
}

// hold reports whether resources are as b says.
func (b bounds) hold(r *api.LinuxResources) bool {
	cpu := r.GetCpu()
	quota := cpu.GetQuota().GetValue()
	if quota == 0 {
		quota = -1
	}
	return cpu.GetShares().GetValue() == uint64(b.Shares) && quota == b.QuotaMicros && r.GetMemory().GetLimit().GetValue() == b.MemoryBytes &&
		r.GetPids().GetLimit() == b.PIDs
}

// cpusOf is what a batch container gets in place of the CPUs that the kubelet wants for it; empty where it can have
// those. The static CPU manager wants for each container all CPUs that are not exclusive, which may be more than the
// branch has. Cgroup v1 takes no such set: the container would not be created.
func (o Options) cpusOf(wanted *api.LinuxResources) string {
	list := wanted.GetCpu().GetCpus()
	if list == "" || o.BranchCPUs == nil {
		return ""
	}
	cpus, err := qos.ParseCPUs(list)
	branch := o.BranchCPUs()
	if err != nil || len(branch) == 0 {
		return "" // the runtime refuses what it cannot read
	}
	both := qos.CPUsWithin(cpus, branch)
	switch len(both) {
	case len(cpus):
		return ""
	case 0:
		return qos.FormatCPUs(branch)
	default:
		return qos.FormatCPUs(both)
	}
}
