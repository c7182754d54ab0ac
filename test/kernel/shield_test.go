package kernel

import (
	"testing"

	"github.com/plimsoll/plimsoll/pkg/qos"
)

// batchThreads is twice the CPUs that a small machine has. With one batch thread for each CPU the
// kernel's wake-up balancing hides what cpu.idle does.
const batchThreads = 4

// TestCPUIdleShieldsTheOnlineSide puts an online pod and batch work on the same CPU and counts who got
// it. It compares CPU time with CPU time, so the load of the machine around it does not matter.
func TestCPUIdleShieldsTheOnlineSide(t *testing.T) {
	tr := newTree(t)
	e := enforce(tr)
	group := container(tr)
	tr.confine(lastCPU(t))
	r := newReader(t, tr.Host)
	batch, online := tr.start(group), tr.start(tr.burstablePod())
	batch.tell("spin", batchThreads)

	// share is how much of what both got the online pod got, while it burned some.
	share := func() float64 {
		const onlineMicros = 1_000_000
		used := func() (online, batch int64) {
			return read(t, r, tr.burstablePod()).CPUMicros.Value, read(t, r, tr.BatchBranch()).CPUMicros.Value
		}
		onlineBefore, batchBefore := used()
		online.tell("burn", onlineMicros)
		onlineAfter, batchAfter := used()
		return float64(onlineAfter-onlineBefore) / float64(onlineAfter-onlineBefore+batchAfter-batchBefore)
	}

	// Siblings of equal weight halve the CPU: without that the test could not tell anything.
	if got := share(); got > 0.7 {
		t.Fatalf("without cpu.idle the online side gets %.3f of the CPU: batch does not compete", got)
	}
	apply(tr, e)
	if got := share(); got < 0.9 {
		t.Errorf("with cpu.idle the online side gets %.3f of the CPU, want 0.9", got)
	}

	// The flag shields only; it takes nothing away that nobody wants.
	before := read(t, r, tr.BatchBranch()).CPUMicros.Value
	eventually(t, "batch uses the idle CPU", func() bool {
		return read(t, r, tr.BatchBranch()).CPUMicros.Value > before+200_000
	})
	if s, err := tr.ReadSetting(tr.BatchBranch(), qos.CPUIdle); err != nil || s.Value != "1" {
		t.Errorf("cpu.idle is %+v, %v, want 1", s, err)
	}
}
