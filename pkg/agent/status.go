package agent

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/plimsoll/plimsoll/pkg/api/v1alpha1"
	"github.com/plimsoll/plimsoll/pkg/usage"
)

// measure fills in the measured part of a status. It returns false while there are no rates yet: the
// first reading of a node has none.
func measure(status *v1alpha1.NodeUtilizationStatus, r reading, u usage.Usage) bool {
	if !u.Node.MilliCPU.OK || !u.Node.MemoryBytes.OK || u.Node.Window < time.Millisecond {
		return false
	}
	status.ObservedTime = metav1.NewMicroTime(u.At)
	status.WindowMilliseconds = u.Node.Window.Milliseconds()
	status.Capacity = v1alpha1.Resources{MilliCPU: r.Capacity.MilliCPU, MemoryBytes: r.Capacity.MemoryBytes}
	status.Node = v1alpha1.Resources{MilliCPU: u.Node.MilliCPU.Value, MemoryBytes: u.Node.MemoryBytes.Value}

	status.Pods = nil
	for _, p := range r.Pods {
		if entry, ok := podUtilization(p, u); ok {
			status.Pods = append(status.Pods, entry)
		}
	}
	status.Classes = classes(status.Pods, r, u)
	return true
}

// podUtilization adds up the groups of a pod. It returns false when any of them has no rate: a sum
// without it would be too small.
func podUtilization(p pod, u usage.Usage) (v1alpha1.PodUtilization, bool) {
	own := u.Groups[p.Key]
	cpu, memory, measured := own.MilliCPU, own.MemoryBytes, own.Measured
	pressure := pressureOf(own)
	for _, key := range p.BatchContainers {
		c := u.Groups[key]
		cpu, memory, measured = cpu.Plus(c.MilliCPU), memory.Plus(c.MemoryBytes), min(measured, c.Measured)
		pressure = worst(pressure, pressureOf(c))
	}
	return v1alpha1.PodUtilization{
		UID: p.UID, Namespace: p.Info.Namespace, Name: p.Info.Name, Class: p.Info.Class,
		MeasuredMilliseconds: measured.Milliseconds(),
		Resources:            v1alpha1.Resources{MilliCPU: cpu.Value, MemoryBytes: memory.Value},
		Pressure:             pressure,
	}, cpu.OK && memory.OK
}

// classes splits the node's use:
//
//	Batch            = batch branch + batch pods outside it
//	LatencySensitive = all pods - Batch - system pods
//	System           = node - all pods + system pods
//
// What is not known to be batch or system counts as latency-sensitive, so that a pod that is not
// measured yet is never taken for idle capacity. Each is at least 0: the counters are read one after
// the other, not at one instant.
func classes(pods []v1alpha1.PodUtilization, r reading, u usage.Usage) []v1alpha1.ClassUtilization {
	kubepods := u.Groups[r.Kubepods]
	if !kubepods.MilliCPU.OK || !kubepods.MemoryBytes.OK {
		return nil
	}
	batch := v1alpha1.ClassUtilization{Class: v1alpha1.ClassBatch}
	online := v1alpha1.ClassUtilization{Class: v1alpha1.ClassLatencySensitive}
	system := v1alpha1.ClassUtilization{Class: v1alpha1.ClassSystem}

	ownGroup := map[string]usage.Rates{}
	for _, p := range r.Pods {
		ownGroup[p.UID] = u.Groups[p.Key]
	}
	for _, p := range pods {
		switch p.Class {
		case v1alpha1.ClassBatch:
			batch.Pods++
			own := ownGroup[p.UID] // its containers are in the branch's total
			add(&batch.Resources, own.MilliCPU, own.MemoryBytes)
			if r.Branch.Path == "" {
				batch.Pressure = worst(batch.Pressure, p.Pressure)
			}
		case v1alpha1.ClassSystem:
			system.Pods++
			add(&system.Resources, usage.Of(p.MilliCPU), usage.Of(p.MemoryBytes))
			system.Pressure = worst(system.Pressure, p.Pressure)
		default:
			online.Pods++
			online.Pressure = worst(online.Pressure, p.Pressure)
		}
	}
	if r.Branch.Path != "" {
		branch := u.Groups[r.Branch]
		if !branch.MilliCPU.OK || !branch.MemoryBytes.OK {
			return nil // the branch is new: how much of the pods' use is batch is not known yet
		}
		add(&batch.Resources, branch.MilliCPU, branch.MemoryBytes)
		batch.Pressure = worst(batch.Pressure, pressureOf(branch))
	}
	online.MilliCPU = max(0, kubepods.MilliCPU.Value-batch.MilliCPU-system.MilliCPU)
	online.MemoryBytes = max(0, kubepods.MemoryBytes.Value-batch.MemoryBytes-system.MemoryBytes)
	system.MilliCPU += max(0, u.Node.MilliCPU.Value-kubepods.MilliCPU.Value)
	system.MemoryBytes += max(0, u.Node.MemoryBytes.Value-kubepods.MemoryBytes.Value)
	return []v1alpha1.ClassUtilization{batch, online, system}
}

// add adds what was measured.
func add(to *v1alpha1.Resources, cpu, memory usage.Reading) {
	if cpu.OK {
		to.MilliCPU += cpu.Value
	}
	if memory.OK {
		to.MemoryBytes += memory.Value
	}
}

// pressureOf is nil where no pressure was measured.
func pressureOf(r usage.Rates) *v1alpha1.Pressure {
	p := v1alpha1.Pressure{
		CPUSomePermille:    permille(r.CPUSomePermille),
		MemorySomePermille: permille(r.MemorySomePermille),
		IOSomePermille:     permille(r.IOSomePermille),
	}
	if p == (v1alpha1.Pressure{}) {
		return nil
	}
	return &p
}

func permille(r usage.Reading) *int32 {
	if !r.OK {
		return nil
	}
	v := int32(r.Value)
	return &v
}

// worst is the higher of two pressures, resource by resource; what is missing in one is taken from the other.
func worst(a, b *v1alpha1.Pressure) *v1alpha1.Pressure {
	if a == nil {
		return b
	}
	if b == nil {
		return a
	}
	higher := func(x, y *int32) *int32 {
		if x == nil || y != nil && *y > *x {
			return y
		}
		return x
	}
	return &v1alpha1.Pressure{
		CPUSomePermille:    higher(a.CPUSomePermille, b.CPUSomePermille),
		MemorySomePermille: higher(a.MemorySomePermille, b.MemorySomePermille),
		IOSomePermille:     higher(a.IOSomePermille, b.IOSomePermille),
	}
}
