package kernel

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/plimsoll/plimsoll/pkg/cgroup"
	"github.com/plimsoll/plimsoll/pkg/usage"
)

func newReader(t testing.TB, h cgroup.Host) *cgroup.Reader {
	t.Helper()
	r := cgroup.NewReader(h)
	t.Cleanup(r.Close)
	return r
}

func read(t testing.TB, r *cgroup.Reader, group string) usage.GroupSample {
	t.Helper()
	s, err := r.Read(group)
	if err != nil {
		t.Fatal(err)
	}
	if !s.CPUMicros.OK || !s.WorkingSetBytes.OK {
		t.Fatalf("sample of %s: %+v, want CPU and memory", group, s)
	}
	return s
}

// near reports whether got is want, give or take a share of it and a constant.
func near(got, want int64, share float64, constant int64) bool {
	off := got - want
	return float64(max(off, -off)) <= float64(want)*share+float64(constant)
}

func TestCPUTimeIsWhatTheProcessUsed(t *testing.T) {
	tr := newTree(t)
	r := newReader(t, tr.Host)
	p := tr.start(tr.bestEffortPod())
	usedBefore, before := p.tell("burn", 1), read(t, r, tr.bestEffortPod())
	usedAfter, after := p.tell("burn", 400_000), read(t, r, tr.bestEffortPod())
	want, got := usedAfter-usedBefore, after.CPUMicros.Value-before.CPUMicros.Value
	if !near(got, want, 0.05, 20_000) {
		t.Errorf("the group's CPU time grew by %d us, the process used %d us", got, want)
	}
	// Every group above saw at least as much.
	for _, above := range []string{tr.Kubepods + "/besteffort", tr.Kubepods} {
		if s := read(t, r, above); s.CPUMicros.Value < got {
			t.Errorf("%s used %d us, less than the %d us of the pod in it", above, s.CPUMicros.Value, got)
		}
	}
	if s := read(t, r, tr.burstablePod()); s.CPUMicros.Value > 1000 {
		t.Errorf("a pod without a process used %d us", s.CPUMicros.Value)
	}
}

func TestTheWorkingSetIsWhatTheProcessHolds(t *testing.T) {
	tr := newTree(t)
	r := newReader(t, tr.Host)
	p := tr.start(tr.burstablePod())
	before := read(t, r, tr.burstablePod()).WorkingSetBytes.Value
	const bytes = 64 << 20
	p.tell("hold", bytes)
	grown := read(t, r, tr.burstablePod()).WorkingSetBytes.Value - before
	if !near(grown, bytes, 0.05, 2<<20) {
		t.Errorf("the working set grew by %d, the process holds %d more", grown, bytes)
	}
}

// File pages that were read once can be dropped at any time: they are no reason to lend less.
func TestTheWorkingSetIsWithoutFilesReadOnce(t *testing.T) {
	tr := newTree(t)
	r := newReader(t, tr.Host)
	file := uncachedFile(t)
	p := tr.start(tr.burstablePod())
	p.tell("burn", 1)
	usageFile := filepath.Join(tr.Dir("memory", tr.burstablePod()), "memory.usage_in_bytes")
	if tr.Mode == cgroup.V2 {
		usageFile = filepath.Join(tr.Dir("memory", tr.burstablePod()), "memory.current")
	}
	charged := func() int64 {
		n, err := strconv.ParseInt(get(t, usageFile), 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	before, chargedBefore := read(t, r, tr.burstablePod()).WorkingSetBytes.Value, charged()
	p.tell("read", file)
	if grown := charged() - chargedBefore; grown < readBytes*9/10 {
		t.Fatalf("the kernel charged %d bytes for reading %d: there is nothing to leave out", grown, readBytes)
	}
	if grown := read(t, r, tr.burstablePod()).WorkingSetBytes.Value - before; grown > readBytes/4 {
		t.Errorf("the working set grew by %d for reading %d bytes once", grown, readBytes)
	}
}

// uncachedFile is a file of readBytes or more on a disk, with none of it in memory.
func uncachedFile(t testing.TB) string {
	t.Helper()
	if disk := "/dev/nullb0"; exists(disk) { // a machine without disks may have one that stores nothing
		return disk
	}
	f, err := os.Create(filepath.Join(t.TempDir(), "file"))
	if err != nil {
		t.Fatal(err)
	}
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &st); err != nil {
		t.Fatal(err)
	}
	if st.Type == unix.TMPFS_MAGIC || st.Type == unix.RAMFS_MAGIC {
		t.Skip("needs a temporary directory on a disk: set TMPDIR")
	}
	_, err = f.Write(make([]byte, readBytes))
	// Written pages stay in memory, where they are charged to us, unless they are on the disk and not needed.
	err = errors.Join(err, f.Sync(), unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED), f.Close())
	if err != nil {
		t.Fatal(err)
	}
	return f.Name()
}

// lastCPU is the highest CPU that is online; the lower ones tend to have more to do.
func lastCPU(t *testing.T) string {
	t.Helper()
	cpus := get(t, "/sys/devices/system/cpu/online") // 0-3 or 0,2-5
	return cpus[strings.LastIndexAny(cpus, ",-")+1:]
}

func TestPressureIsReadWhereTheKernelHasIt(t *testing.T) {
	tr := newTree(t)
	needs(t, exists("/proc/pressure/cpu"), "PSI", 4, 20)
	group := tr.bestEffortPod()
	tr.confine(lastCPU(t))
	r := newReader(t, tr.Host)
	p := tr.start(group)
	before := read(t, r, group)
	if tr.Mode == cgroup.V1 {
		if before.CPUSomeMicros.OK || before.MemorySomeMicros.OK || before.IOSomeMicros.OK {
			t.Errorf("pressure of a group on plain v1: %+v, want none", before)
		}
		return
	}
	p.tell("spin", 2) // two threads on one CPU: one of them always waits
	eventually(t, "the CPU pressure grows", func() bool {
		s := read(t, r, group)
		return s.CPUSomeMicros.OK && s.MemorySomeMicros.OK && s.IOSomeMicros.OK && s.CPUSomeMicros.Value > before.CPUSomeMicros.Value+100_000
	})
}

// Fast ticks of the agent look at a pod only where tasks of its tier have waited.
func TestWhenAPodWaitsSoDoesItsTier(t *testing.T) {
	tr := newTree(t)
	needs(t, tr.Mode != cgroup.V1 && exists("/proc/pressure/cpu"), "PSI of groups", 4, 20)
	pod := tr.bestEffortPod()
	tier := path.Dir(pod)
	tr.confine(lastCPU(t))
	r := newReader(t, tr.Host)
	p := tr.start(pod)
	p.tell("spin", 2) // two threads on one CPU: one of them always waits
	for range 20 {
		tierBefore, podBefore := read(t, r, tier), read(t, r, pod)
		eventually(t, "the pod waits for a quarter of a tenth of a second", func() bool {
			return read(t, r, pod).CPUSomeMicros.Value >= podBefore.CPUSomeMicros.Value+25_000
		})
		if now := read(t, r, tier); now.CPUSomeMicros.Value <= tierBefore.CPUSomeMicros.Value {
			t.Fatalf("the pod waited for 25 ms, and the pressure of its tier stayed at %d us", now.CPUSomeMicros.Value)
		}
	}
}

// A host that has no v2 hierarchy has no pressure of groups; this one does as if.
func TestPlainV1HasNoPressureOfGroups(t *testing.T) {
	tr := newTree(t)
	if tr.Mode == cgroup.V2 {
		t.Skip("needs v1 controllers: this machine is pure cgroup v2")
	}
	h := tr.Host
	h.Mode = cgroup.V1
	s := read(t, newReader(t, h), tr.bestEffortPod())
	if s.CPUSomeMicros.OK || s.MemorySomeMicros.OK || s.IOSomeMicros.OK {
		t.Errorf("sample %+v, want no pressure", s)
	}
}

func TestAReadingAllocatesNothing(t *testing.T) {
	tr := newTree(t)
	r := newReader(t, tr.Host)
	group := tr.bestEffortPod()
	if got := testing.AllocsPerRun(100, func() { read(t, r, group) }); got != 0 {
		t.Errorf("a reading allocates %v times, want 0", got)
	}
}

// The Reader asks once for each file, and takes a short answer for all of it.
func TestTheKernelGivesEachCounterFileInOneRead(t *testing.T) {
	tr := newTree(t)
	files := map[string][]string{
		"cpuacct": {"cpuacct.usage"}, "memory": {"memory.usage_in_bytes", "memory.stat"},
		"unified": {"cpu.pressure", "memory.pressure", "io.pressure"},
	}
	if tr.Mode == cgroup.V2 {
		files = map[string][]string{"": {"cpu.stat", "memory.current", "memory.stat", "cpu.pressure", "memory.pressure", "io.pressure"}}
	}
	if tr.Mode == cgroup.V1 {
		delete(files, "unified")
	}
	buf := make([]byte, 16<<10)
	for controller, names := range files {
		for _, name := range names {
			file := filepath.Join(tr.Dir(controller, tr.bestEffortPod()), name)
			fd, err := unix.Open(file, unix.O_RDONLY|unix.O_CLOEXEC, 0)
			if err != nil {
				t.Fatal(err)
			}
			n, err := unix.Pread(fd, buf, 0)
			_ = unix.Close(fd) // read-only
			if err != nil {
				t.Fatal(err)
			}
			if whole := get(t, file); len(whole)+1 != n {
				t.Errorf("one read of %s gives %d bytes of %d", file, n, len(whole)+1)
			}
		}
	}
}

func TestAGroupThatVanishesIsGoneAndItsSuccessorIsAnother(t *testing.T) {
	tr := newTree(t)
	r := newReader(t, tr.Host)
	group := tr.Kubepods + "/besteffort/podvanishing"
	tr.make(group)
	first := read(t, r, group)
	drop := func() {
		t.Helper()
		for _, h := range tr.hierarchies {
			if err := os.Remove(filepath.Join(h, group)); err != nil {
				t.Fatal(err)
			}
		}
	}
	drop() // while the Reader holds its files
	if s, err := r.Read(group); !errors.Is(err, fs.ErrNotExist) || s != (usage.GroupSample{}) {
		t.Fatalf("Read = %+v, %v, want nothing and fs.ErrNotExist", s, err)
	}
	tr.make(group)
	second := read(t, r, group)
	drop()
	tr.make(group) // again while its files are held
	third := read(t, r, group)
	if first.Key.ID == second.Key.ID || second.Key.ID == third.Key.ID || first.Key.Path != third.Key.Path {
		t.Errorf("keys %+v, %+v and %+v, want one path and three IDs", first.Key, second.Key, third.Key)
	}
}

func TestGroupsThatComeAndGoLeaveNoFileOpen(t *testing.T) {
	tr := newTree(t)
	r := newReader(t, tr.Host)
	open := func() int {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	before := open()
	group := tr.Kubepods + "/besteffort/podpassing"
	tr.make(group)
	for i := range 50 {
		read(t, r, group)
		for _, h := range tr.hierarchies {
			if err := os.Remove(filepath.Join(h, group)); err != nil {
				t.Fatal(err)
			}
		}
		if i%2 == 0 {
			if _, err := r.Read(group); !errors.Is(err, fs.ErrNotExist) {
				t.Fatalf("Read: %v, want fs.ErrNotExist", err)
			}
		}
		for _, h := range tr.hierarchies {
			if err := os.Mkdir(filepath.Join(h, group), 0o755); err != nil {
				t.Fatal(err)
			}
		}
	}
	r.Keep(nil)
	if after := open(); after != before {
		t.Errorf("%d files open, before it were %d", after, before)
	}
}

func TestScanFindsTheTreeAndItsSettings(t *testing.T) {
	tr := newTree(t)
	got, err := tr.Scan()
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Tiers) != 3 || len(got.Pods) != 2 || got.BatchBranch != "" {
		t.Errorf("groups %+v, want three tiers, two pods and no batch branch", got)
	}
	node, capacity, err := tr.ReadNode()
	if err != nil {
		t.Fatal(err)
	}
	if capacity.MilliCPU < 1000 || capacity.MemoryBytes < 64<<20 || !node.CPUBusyMicros.OK || node.MemoryUsedBytes.Value <= 0 {
		t.Errorf("node %+v with %+v: not a machine", node, capacity)
	}
}
