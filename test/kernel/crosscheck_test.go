package kernel

import (
	"testing"

	"github.com/containerd/cgroups/v3"
	"github.com/containerd/cgroups/v3/cgroup1"
	"github.com/containerd/cgroups/v3/cgroup2"

	"github.com/plimsoll/plimsoll/pkg/cgroup"
)

// stats are the counters that both readers have.
type stats struct {
	cpuMicros, memoryBytes, anonBytes, fileBytes, pids int64
}

// containerdStats is what containerd's own library reads of a group.
func containerdStats(t *testing.T, tr *tree, group string) stats {
	t.Helper()
	if tr.Mode == cgroup.V2 {
		m, err := cgroup2.Load(group)
		if err != nil {
			t.Fatal(err)
		}
		s, err := m.Stat()
		if err != nil {
			t.Fatal(err)
		}
		return stats{
			int64(s.GetCPU().GetUsageUsec()), int64(s.GetMemory().GetUsage()), int64(s.GetMemory().GetAnon()),
			int64(s.GetMemory().GetFile()), int64(s.GetPids().GetCurrent()),
		}
	}
	c, err := cgroup1.Load(cgroup1.StaticPath(group))
	if err != nil {
		t.Fatal(err)
	}
	s, err := c.Stat(cgroup1.IgnoreNotExist)
	if err != nil {
		t.Fatal(err)
	}
	return stats{
		int64(s.GetCPU().GetUsage().GetTotal() / 1000), int64(s.GetMemory().GetUsage().GetUsage()), int64(s.GetMemory().GetTotalRSS()),
		int64(s.GetMemory().GetTotalCache()), int64(s.GetPids().GetCurrent()),
	}
}

// TestAnotherReaderSaysTheSame compares the fast reader with containerd's library, which was written apart
// from it, on a group with a process that has burned CPU and holds memory and stands still meanwhile.
func TestAnotherReaderSaysTheSame(t *testing.T) {
	tr := newTree(t)
	group := tr.burstablePod()
	p := tr.start(group)
	p.tell("burn", 200_000)
	p.tell("hold", 32<<20)

	wantMode := map[cgroup.Mode]cgroups.CGMode{cgroup.V1: cgroups.Legacy, cgroup.Hybrid: cgroups.Hybrid, cgroup.V2: cgroups.Unified}
	if got := cgroups.Mode(); got != wantMode[tr.Mode] {
		t.Errorf("containerd's library finds mode %d, ours %s", got, tr.Mode)
	}
	theirs := containerdStats(t, tr, group)
	s := read(t, newReader(t, tr.Host), group)
	ours := stats{s.CPUMicros.Value, s.MemoryCurrentBytes.Value, s.AnonBytes.Value, s.FileBytes.Value, s.PIDs.Value}
	for what, pair := range map[string][3]int64{
		"CPU time in us": {ours.cpuMicros, theirs.cpuMicros, 20_000}, // its runtime wakes now and then
		"memory":         {ours.memoryBytes, theirs.memoryBytes, 1 << 20},
		"anon memory":    {ours.anonBytes, theirs.anonBytes, 1 << 20},
		"file memory":    {ours.fileBytes, theirs.fileBytes, 1 << 20},
		"tasks":          {ours.pids, theirs.pids, 1},
	} {
		if !near(pair[0], pair[1], 0, pair[2]) {
			t.Errorf("%s: %d, containerd's library says %d", what, pair[0], pair[1])
		}
	}
	if ours.anonBytes < 32<<20 || ours.pids < 1 {
		t.Errorf("counters %+v, want at least the 32 MiB and the task of the process", ours)
	}
}
