package kernel

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/plimsoll/plimsoll/pkg/cgroup"
	"github.com/plimsoll/plimsoll/pkg/qos"
)

const (
	streamBlock = 64 << 10
	// streamSpan is the part of a disk that is read, in an order that no disk guesses.
	streamSpan = 64 << 20
)

// stream starts readers of a disk, which read past the page cache for ever.
func stream(argument string, read *atomic.Int64) error {
	number, name, _ := strings.Cut(argument, " ")
	readers, err := strconv.Atoi(number)
	if err != nil {
		return err
	}
	for range readers {
		f, err := os.OpenFile(name, os.O_RDONLY|unix.O_DIRECT, 0)
		if err != nil {
			return err
		}
		block, err := unix.Mmap(-1, 0, streamBlock, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE) // aligned
		if err != nil {
			return errors.Join(err, f.Close())
		}
		go func() {
			for {
				if _, err := f.ReadAt(block, rand.Int64N(streamSpan/streamBlock)*streamBlock); err != nil {
					fmt.Fprintln(os.Stderr, "reading", name, "past the page cache:", err)
					return
				}
				read.Add(1)
			}
		}()
	}
	return nil
}

// sharedDisk is a disk of the test's own on which weights count: with iocost switched on for v2, with the
// scheduler bfq for v1.
func sharedDisk(tr *tree) string {
	t := tr.t
	t.Helper()
	name := "/dev/nullb0"
	if !exists(name) {
		name = loopDisk(t)
	}
	if tr.Mode == cgroup.V2 {
		number := disk(t, name)
		setting := func(file, on, off string) {
			put(t, filepath.Join(fsRoot, file), number+" "+on)
			t.Cleanup(func() { put(t, filepath.Join(fsRoot, file), number+" "+off) })
		}
		// A slow disk, so that it and not the CPU is what they share: 2000 reads a second.
		setting("io.cost.model", "ctrl=user model=linear rbps=131072000 rseqiops=2000 rrandiops=2000 wbps=131072000 wseqiops=2000 wrandiops=2000", "ctrl=auto")
		setting("io.cost.qos", "enable=1 ctrl=user min=100.00 max=100.00", "enable=0 ctrl=auto")
		return name
	}
	scheduler := filepath.Join("/sys/block", filepath.Base(name), "queue/scheduler")
	if !strings.Contains(get(t, scheduler), "bfq") {
		t.Skipf("needs the disk scheduler bfq (Linux 4.12, CONFIG_IOSCHED_BFQ): %s has %s", name, get(t, scheduler))
	}
	put(t, scheduler, "bfq")
	t.Cleanup(func() { put(t, scheduler, "none") })
	for file, value := range map[string]string{
		"low_latency":       "0", // else new readers are favoured
		"strict_guarantees": "1", // one read at a time: the file below is fast, and shares are of a busy disk only
	} {
		put(t, filepath.Join("/sys/block", filepath.Base(name), "queue/iosched", file), value)
	}
	return name
}

// loopDisk is a disk made of a file.
func loopDisk(t testing.TB) string {
	t.Helper()
	const control = "/dev/loop-control"
	if !exists(control) {
		t.Skipf("needs %s: loop devices (Linux 3.1, CONFIG_BLK_DEV_LOOP)", control)
	}
	file, err := os.Create(filepath.Join(t.TempDir(), "disk"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }() // the disk keeps it open
	if _, err := file.Write(make([]byte, streamSpan)); err != nil {
		t.Fatal(err)
	}
	c, err := os.OpenFile(control, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	number, err := unix.IoctlRetInt(int(c.Fd()), unix.LOOP_CTL_GET_FREE)
	if err != nil {
		t.Fatalf("finding a free loop device: %v", err)
	}
	name := fmt.Sprintf("/dev/loop%d", number)
	loop, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlLoopConfigure(int(loop.Fd()), &unix.LoopConfig{Fd: uint32(file.Fd()), Info: unix.LoopInfo64{Flags: unix.LO_FLAGS_DIRECT_IO}}); err != nil {
		t.Fatalf("making %s of a file: %v", name, err)
	}
	t.Cleanup(func() {
		if err := errors.Join(unix.IoctlSetInt(int(loop.Fd()), unix.LOOP_CLR_FD, 0), loop.Close()); err != nil {
			t.Errorf("taking %s apart: %v", name, err)
		}
	})
	return name
}

func TestIOWeightsShareADisk(t *testing.T) {
	tr := newTree(t)
	tr.make(tr.BatchBranch())
	heavy, light := tr.BatchBranch()+"/aaaa", tr.BatchBranch()+"/bbbb"
	tr.make(heavy)
	tr.make(light)
	w := tr.knob(heavy, qos.IOWeight)
	w.present()
	name := sharedDisk(tr)
	// The processes count for themselves: kernels from 6.9 on count a v1 group's reads only where they may throttle them.
	processes := map[string]*process{heavy: tr.start(heavy), light: tr.start(light)}
	for _, p := range processes {
		p.tell("stream", "32 "+name)
	}
	reads := func(group string) int64 { return processes[group].tell("streamed", 0) }
	const enough = 2000
	windows := 5
	if tr.Mode != cgroup.V2 { // the guest's time is its own
		windows = 9
	}
	// ratio is how many reads the one does for each of the other: the median of some measurements, of which the
	// first may be of before a change. Where the machine has other work, single ones are off by a factor.
	ratio := func() float64 {
		var all []float64
		for range windows {
			h, l := reads(heavy), reads(light)
			var dh, dl int64
			eventually(t, "the groups read", func() bool {
				dh, dl = reads(heavy)-h, reads(light)-l
				return dh+dl > enough
			})
			all = append(all, float64(dh)/float64(max(dl, 1)))
		}
		slices.Sort(all)
		return all[windows/2]
	}
	original := w.raw()
	// Where others use the CPUs and the disk, a whole measurement may be of them: a weight that does nothing fails each.
	const tries = 4
	for try := 1; ; try++ {
		before := ratio()
		w.set("1000")
		tr.knob(light, qos.IOWeight).set("100")
		weighted := ratio()
		w.restore(original)
		after := ratio()
		t.Logf("equal weights share the disk %.2f and %.2f to 1, weights 1000 and 100 %.2f to 1", before, after, weighted)
		wrong := ""
		switch {
		case tr.Mode == cgroup.V2 && (before < 0.8 || before > 1.25 || weighted < 8 || weighted > 12 || after < 0.8 || after > 1.25):
			wrong = "want 1, 10 and 1"
		// bfq shares among those that always have a read waiting, which on a machine short of CPU time they have not.
		case weighted < 2 || weighted < 1.5*before || before > 3 || after > weighted/1.3:
			wrong = "want far more with the weight than before and after"
		}
		if wrong == "" {
			return
		}
		if try == tries {
			t.Fatal(wrong)
		}
		t.Log(wrong)
	}
}
