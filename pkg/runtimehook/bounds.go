package runtimehook

import (
	"fmt"

	"github.com/containerd/nri/pkg/api"

	"github.com/plimsoll/plimsoll/pkg/api/v1alpha1"
)

const (
	// quotaPeriodMicros is the period of a container's CPU quota: the kernel's and every runtime's default.
	quotaPeriodMicros = 100_000
	// The least that the kernel takes.
	minQuotaMicros, minShares = 1000, 2
	// maxShares is the most that the kernel takes.
	maxShares = 262_144
)

// Fallback is what a batch container is held to that nothing else bounds: one of a pod that the
// admission policy did not convert.
type Fallback struct {
	MilliCPU, MemoryBytes int64
}

// bounds is what a batch container is held to.
type bounds struct {
	// Shares is the CPU weight beside other batch containers, on the scale of cpu.shares; the runtime
	// converts it where the kernel has cpu.weight.
	Shares uint64
	// QuotaMicros of CPU time in each quotaPeriodMicros; -1 for no quota.
	QuotaMicros int64
	MemoryBytes int64
	PIDs        int64
}

// boundsOf says what a container of a batch pod is held to, and why it had to be guessed, if so.
//
//	shares = milliCPU x 1024 / 1000
//	quota  = limitMilliCPU x period / 1000
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
	b = bounds{
		Shares:      uint64(min(max(r.MilliCPU*1024/1000, minShares), maxShares)),
		QuotaMicros: max(r.LimitMilliCPU*quotaPeriodMicros/1000, minQuotaMicros),
		MemoryBytes: r.MemoryBytes,
		PIDs:        o.PIDs,
	}
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
	a.SetLinuxCPUShares(b.Shares)
	a.SetLinuxCPUPeriod(quotaPeriodMicros)
	a.SetLinuxCPUQuota(b.QuotaMicros)
	a.SetLinuxMemoryLimit(b.MemoryBytes)
	a.SetLinuxPidLimits(b.PIDs)
}

// update asks the runtime for the bounds on a container that is there already.
func (b bounds) update(containerID string) *api.ContainerUpdate {
	u := &api.ContainerUpdate{}
	u.SetContainerId(containerID)
	u.SetLinuxCPUShares(b.Shares)
	u.SetLinuxCPUPeriod(quotaPeriodMicros)
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
	return cpu.GetShares().GetValue() == b.Shares && quota == b.QuotaMicros && r.GetMemory().GetLimit().GetValue() == b.MemoryBytes &&
		r.GetPids().GetLimit() == b.PIDs
}
