package cgroup

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/plimsoll/plimsoll/pkg/usage"
)

func TestReadNode(t *testing.T) {
	h := Host{ProcRoot: filepath.Join(tree(t, "hybrid-cgroupfs.txtar"), "proc")}
	got, capacity, err := h.ReadNode()
	if err != nil {
		t.Fatal(err)
	}
	want := usage.NodeSample{
		CPUBusyMicros:    usage.Of((90423 + 115424 + 92118 + 0 + 1659 + 0) * 10_000),
		MemoryUsedBytes:  usage.Of((24683620 - 23517004) * 1024),
		CPUSomeMicros:    usage.Of(870016345),
		MemorySomeMicros: usage.Of(0),
		IOSomeMicros:     usage.Of(20809384),
		MemoryFullMicros: usage.Of(0), IOFullMicros: usage.Of(10967395),
		PerCPU: []usage.CPUSample{{CPU: 0, IdleMicros: usage.Of(1_411_060_000)}, {CPU: 1, IdleMicros: usage.Of(1_357_470_000)}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("sample (-want +got):\n%s", diff)
	}
	if want := (Capacity{MilliCPU: 2000, MemoryBytes: 24683620 * 1024}); capacity != want {
		t.Errorf("capacity %+v, want %+v", capacity, want)
	}
	if got, err := h.KernelVersion(); err != nil || got != "6.18.44" {
		t.Errorf("KernelVersion = %q, %v", got, err)
	}
}

func TestPressureThatTheKernelDoesNotHaveIsAbsentNotZero(t *testing.T) {
	h := Host{ProcRoot: filepath.Join(tree(t, "hybrid-cgroupfs.txtar"), "proc")}
	if err := os.RemoveAll(filepath.Join(h.ProcRoot, "pressure")); err != nil {
		t.Fatal(err)
	}
	got, _, err := h.ReadNode()
	if err != nil {
		t.Fatal(err)
	}
	if got.CPUSomeMicros.OK || got.MemorySomeMicros.OK || got.IOSomeMicros.OK {
		t.Errorf("pressure without PSI: %+v, want none", got)
	}
	if !got.CPUBusyMicros.OK {
		t.Error("CPU time is lost together with PSI")
	}
}

func TestANodeThatCannotBeReadIsAnErrorThatSaysWhat(t *testing.T) {
	f := func(file, text string, want ...string) {
		t.Helper()
		t.Run(file+" "+text, func(t *testing.T) {
			h := Host{ProcRoot: filepath.Join(tree(t, "hybrid-cgroupfs.txtar"), "proc")}
			name := filepath.Join(h.ProcRoot, file)
			if text == "gone" {
				if err := os.Remove(name); err != nil {
					t.Fatal(err)
				}
			} else {
				write(t, name, text)
			}
			_, _, err := h.ReadNode()
			wantError(t, err, want...)
		})
	}
	f("stat", "gone", "reading CPU time", "no such file")
	f("stat", "", "reading CPU time", `begins with ""`)
	f("stat", "cpu", "reading CPU time", `begins with "cpu"`)
	f("stat", "garbage\nmore\n", `begins with "garbage"`)
	f("meminfo", "gone", "reading memory", "no such file")
	f("meminfo", "MemTotal:       24683620 kB\n", "MemAvailable") // before Linux 3.14
	f("meminfo", "", "MemTotal")
}

func TestAHostThatHidesItsKernelVersionHasNone(t *testing.T) {
	got, err := Host{ProcRoot: t.TempDir()}.KernelVersion()
	if err != nil || got != "" {
		t.Errorf("KernelVersion = %q, %v, want none", got, err)
	}
}
