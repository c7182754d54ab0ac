package kernel

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/plimsoll/plimsoll/pkg/actuate"
	"github.com/plimsoll/plimsoll/pkg/audit"
	"github.com/plimsoll/plimsoll/pkg/cgroup"
	"github.com/plimsoll/plimsoll/pkg/qos"
)

// writer is an Actuator on a batch tree, with its journal in stateDir.
type writer struct {
	*actuate.Actuator
	t        testing.TB
	tr       *tree
	stateDir string
	branch   string
	child    string
}

func newWriter(t testing.TB) writer {
	t.Helper()
	tr, groups := batchTree(t)
	w := writer{t: t, tr: tr, stateDir: t.TempDir(), branch: groups[0], child: groups[2]}
	w.Actuator = actuate.New(tr.Host, openJournal(t, w.stateDir))
	return w
}

// set applies one change and waits for its end.
func (w writer) set(group string, knob qos.Knob, value string) actuate.Result {
	w.t.Helper()
	r := w.Apply([]qos.Change{{Group: group, Knob: knob, Value: value}})[0]
	if r.Pending {
		r = settled(w.t, w.Actuator)[0]
	}
	return r
}

// must sets what the kernel has to take.
func (w writer) must(group string, knob qos.Knob, value string) {
	w.t.Helper()
	if r := w.set(group, knob, value); r.Err != nil {
		w.t.Fatal(r.Err)
	}
}

// refused wants an outcome with one of the errnos, that says what was written, and a knob that is as before.
func (w writer) refused(group string, knob qos.Knob, value string, errnos ...error) {
	w.t.Helper()
	before, err := w.tr.ReadRaw(group, knob)
	if err != nil {
		w.t.Fatal(err)
	}
	r := w.set(group, knob, value)
	is := false
	for _, e := range errnos {
		is = is || errors.Is(r.Err, e)
	}
	if !is {
		w.t.Errorf("setting %s of %s to %s: %v, want one of %v", knob, group, value, r.Err, errnos)
		return
	}
	if !strings.Contains(r.Err.Error(), string(knob)) || !strings.Contains(r.Err.Error(), group) || !strings.Contains(r.Err.Error(), `"`) {
		w.t.Errorf("error %q does not name the knob, the group and the data", r.Err)
	}
	after, err := w.tr.ReadRaw(group, knob)
	if err != nil || strings.Join(after, "\n") != strings.Join(before, "\n") {
		w.t.Errorf("%s of %s was %q and is %q, %v after a write that the kernel refused", knob, group, before, after, err)
	}
}

func TestWhatTheKernelRefusesIsToldOfWithErrnoAndData(t *testing.T) {
	t.Run("a burst above the quota", func(t *testing.T) {
		w := newWriter(t)
		w.must(w.branch, qos.CPUQuota, "50000")
		w.refused(w.branch, qos.CPUBurst, "60000", unix.EINVAL)
	})
	t.Run("a quota below the burst", func(t *testing.T) {
		w := newWriter(t)
		w.must(w.branch, qos.CPUQuota, "50000")
		w.must(w.branch, qos.CPUBurst, "40000")
		w.refused(w.branch, qos.CPUQuota, "30000", unix.EINVAL)
	})
	t.Run("a weight while the flag is set", func(t *testing.T) {
		w := newWriter(t)
		needs(t, exists(idleFile(w.tr)), "cpu.idle", 5, 15)
		w.must(w.branch, qos.CPUIdle, "1")
		w.refused(w.branch, qos.CPUWeight, "50", unix.EINVAL)
	})
	t.Run("a CPU that there is not", func(t *testing.T) {
		w := newWriter(t)
		w.refused(w.branch, qos.CPUSetCPUs, "8000", unix.EINVAL, unix.ERANGE, unix.EACCES, unix.ENODEV)
	})
	t.Run("a device that there is not", func(t *testing.T) {
		w := newWriter(t)
		w.refused(w.branch, qos.IOMax, "4000:99 rbps=1048576", unix.ENODEV)
	})
}

// A v1 cpuset must be within that above it and around those below it. On v2 both are taken, and what is
// not there is left out.
func TestCpusetsKeepToTheHierarchy(t *testing.T) {
	if runtime.NumCPU() < 2 {
		t.Skip("needs two CPUs")
	}
	w := newWriter(t)
	w.must(w.child, qos.CPUSetCPUs, "0")
	w.must(w.branch+"/"+containerID, qos.CPUSetCPUs, "0")
	w.must(w.branch, qos.CPUSetCPUs, "0")
	if w.tr.Mode == cgroup.V2 {
		w.must(w.child, qos.CPUSetCPUs, "1")
		if got := get(t, filepath.Join(w.tr.Dir("", w.child), "cpuset.cpus.effective")); got != "0" {
			t.Errorf("effective CPUs %s, want what the branch has, 0", got)
		}
		return
	}
	w.refused(w.child, qos.CPUSetCPUs, "0-1", unix.EACCES)
	w.refused(w.branch, qos.CPUSetCPUs, "1", unix.EBUSY)
	w.tr.start(w.child)
	w.refused(w.child, qos.CPUSetCPUs, "none", unix.ENOSPC)
}

// One plan that widens all and one that tightens all: in any other order of writing the kernel refuses some.
func TestAPlanForAWholeBranchIsTakenInOneGo(t *testing.T) {
	w := newWriter(t)
	plan := func(quota, burst, cpus string) {
		t.Helper()
		var changes []qos.Change
		for _, g := range []string{w.child, w.branch, w.branch + "/" + containerID} {
			changes = append(changes,
				qos.Change{Group: g, Knob: qos.CPUBurst, Value: burst}, qos.Change{Group: g, Knob: qos.CPUQuota, Value: quota},
				qos.Change{Group: g, Knob: qos.CPUSetCPUs, Value: cpus})
		}
		for _, r := range w.Apply(changes) {
			if r.Err != nil {
				t.Errorf("quota %s, burst %s, CPUs %s: %v", quota, burst, cpus, r.Err)
			}
		}
	}
	all := fmt.Sprintf("0-%d", runtime.NumCPU()-1)
	plan("60000", "50000", all)
	plan("20000", "10000", "0")
	plan("80000", "70000", all)
}

func TestAMemoryLimitBelowUseDoesNotHoldUpTheLoop(t *testing.T) {
	w := newWriter(t)
	p := w.tr.start(w.child)
	p.tell("hold", 64<<20)
	begin := time.Now()
	knob, value := qos.MemoryMax, "16777216"
	if w.tr.Mode == cgroup.V2 { // a memory.max below use would kill; reclaiming more than there is answers EAGAIN
		knob, value = qos.MemoryReclaim, "1073741824"
		_, err := w.tr.ReadRaw(w.child, knob)
		needs(t, err == nil, "memory.reclaim", 5, 19)
	}
	r := w.Apply([]qos.Change{{Group: w.child, Knob: knob, Value: value}})[0]
	took := time.Since(begin)
	if !r.Pending || r.Err != nil {
		t.Fatalf("result %+v, want it pending", r)
	}
	r = settled(t, w.Actuator)[0]
	if !errors.Is(r.Err, unix.EBUSY) && !errors.Is(r.Err, unix.EAGAIN) || !strings.Contains(r.Err.Error(), value) {
		t.Errorf("%s of %s: %v, want EBUSY or EAGAIN with the data", knob, value, r.Err)
	}
	t.Logf("the caller waited %v", took)
}

func TestAGroupThatIsGoneIsToldOf(t *testing.T) {
	w := newWriter(t)
	for _, h := range w.tr.hierarchies {
		if err := unix.Rmdir(filepath.Join(h, w.child)); err != nil {
			t.Fatal(err)
		}
	}
	r := w.set(w.child, qos.CPUQuota, "50000")
	if !errors.Is(r.Err, actuate.ErrVanished) || !errors.Is(r.Err, unix.ENOENT) || r.Written {
		t.Errorf("result %+v, want ErrVanished and ENOENT", r)
	}
	w.tr.make(w.child) // what the tree removes has to be there
}

// A container may end and another one of its name begin while a plan is carried out. What is written then
// is either journaled for that very group, or not written.
func TestGroupsThatComeAndGoAreNeverLeftAsWeSetThem(t *testing.T) {
	w := newWriter(t)
	dir := w.tr.Dir("cpu", w.child)
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
				_ = unix.Rmdir(dir) // it is empty
				_ = os.Mkdir(dir, 0o755)
			}
		}
	}()
	var wrote, vanished, other int
	for range 2000 {
		switch r := w.set(w.child, qos.CPUQuota, "50000"); {
		case r.Err == nil:
			wrote++
		case errors.Is(r.Err, actuate.ErrVanished), errors.Is(r.Err, unix.ENODEV), errors.Is(r.Err, unix.ENOENT), errors.Is(r.Err, actuate.ErrMoved),
			errors.Is(r.Err, cgroup.ErrUnsupported):
			vanished++
		default:
			other++
			t.Errorf("error %v", r.Err)
		}
	}
	close(stop)
	<-done
	t.Logf("%d written, %d vanished", wrote, vanished)
	if _, err := w.Release(); err != nil {
		t.Fatal(err)
	}
	if s, err := w.tr.ReadSetting(w.child, qos.CPUQuota); err != nil || s.Value != "max" {
		t.Errorf("quota %+v, %v after the release, want max", s, err)
	}
}

func TestAWriteThatIsNotAllowedIsToldOf(t *testing.T) {
	t.Run("a read-only mount", func(t *testing.T) {
		w := newWriter(t)
		w.must(w.branch, qos.CPUQuota, "50000") // the original is journaled
		dir := w.tr.Dir("cpu", w.branch)
		if err := unix.Mount(dir, dir, "", unix.MS_BIND, ""); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) }) // it may be unmounted
		if err := unix.Mount("", dir, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
			t.Fatal(err)
		}
		w.refused(w.branch, qos.CPUQuota, "20000", unix.EROFS)
		if err := unix.Unmount(dir, 0); err != nil {
			t.Fatal(err)
		}
		w.must(w.branch, qos.CPUQuota, "20000")
	})
	t.Run("a user that may not", func(t *testing.T) {
		w := newWriter(t)
		w.must(w.branch, qos.CPUQuota, "50000")
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		if _, err := unix.SetfsuidRetUid(65534); err != nil { // the rights to files of this thread only
			t.Fatal(err)
		}
		r := w.set(w.branch, qos.CPUQuota, "20000")
		if _, err := unix.SetfsuidRetUid(0); err != nil {
			t.Fatal(err)
		}
		if !errors.Is(r.Err, unix.EACCES) || !strings.Contains(r.Err.Error(), "cpu.quota") {
			t.Errorf("result %+v, want EACCES", r)
		}
		if s, err := w.tr.ReadSetting(w.branch, qos.CPUQuota); err != nil || s.Value != "50000" {
			t.Errorf("quota %+v, %v, want 50000", s, err)
		}
	})
}

func TestSomebodyElseWhoUndoesAWriteIsNoticed(t *testing.T) {
	w := newWriter(t)
	needs(t, exists(idleFile(w.tr)), "cpu.idle", 5, 15)
	w.must(w.branch, qos.CPUIdle, "1")
	put(t, idleFile(w.tr), "0")
	if r := w.set(w.branch, qos.CPUIdle, "1"); !r.Undone || r.Err != nil || get(t, idleFile(w.tr)) != "1" {
		t.Errorf("result %+v, want it undone and 1 again", r)
	}
}

// smallDisk mounts a file system that is soon full.
func smallDisk(t *testing.T, options string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	if os.Geteuid() != 0 {
		t.Skip("needs root: a mount")
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, options); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// fill writes a file until there is no space.
func fill(t *testing.T, dir string) (file string) {
	t.Helper()
	file = filepath.Join(dir, "filler")
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for chunk := make([]byte, 512); ; {
		if _, err := f.Write(chunk); errors.Is(err, unix.ENOSPC) {
			return file
		} else if err != nil {
			t.Fatal(err)
		}
	}
}

func TestWithoutSpaceForTheJournalTheKernelIsLeftAlone(t *testing.T) {
	tr, groups := batchTree(t)
	dir := smallDisk(t, "size=64k")
	a := actuate.New(tr.Host, openJournal(t, dir))
	change := []qos.Change{{Group: groups[0], Knob: qos.CPUQuota, Value: "50000"}}
	filler := fill(t, dir)
	r := a.Apply(change)[0]
	if !errors.Is(r.Err, unix.ENOSPC) || !strings.Contains(r.Err.Error(), "journaling") || r.Written {
		t.Errorf("result %+v, want ENOSPC of the journal", r)
	}
	if s, err := tr.ReadSetting(groups[0], qos.CPUQuota); err != nil || s.Value != "max" {
		t.Errorf("quota %+v, %v, want max: it was written without its original", s, err)
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	if r := a.Apply(change)[0]; r.Err != nil {
		t.Errorf("with space again: %v", r.Err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 2 {
		t.Errorf("files %v, %v, want the journal and its lock", entries, err)
	}
}

func TestAFullDiskCostsAuditRecordsAndSaysSo(t *testing.T) {
	dir := smallDisk(t, "size=64k")
	log, err := audit.Open(audit.Options{Dir: dir, MaxFileBytes: 1 << 20, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	add := func() {
		log.Append(audit.Entry{Time: time.Now(), Kind: audit.KindWrite, Why: strings.Repeat("x", 700)})
	}
	add()
	filler := fill(t, dir)
	for range 20 { // the page that is begun has room for some
		add()
	}
	lost, why := log.Lost()
	if lost == 0 || lost > 20 || !errors.Is(why, unix.ENOSPC) {
		t.Fatalf("lost %d of 20, %v, want most of them and ENOSPC", lost, why)
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	add()
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	report, err := audit.Verify(dir)
	if err != nil || len(report.Problems) > 0 {
		t.Fatalf("audit log %+v, %v, want it intact", report, err)
	}
	// A record of the loss is short, and may have fitted where no other did.
	var told int64
	for _, n := range report.Notes {
		var some int64
		if _, err := fmt.Sscanf(n.What, "%d records could not be written", &some); err != nil {
			t.Errorf("note %v: %v", n, err)
		}
		told += some
	}
	if told != lost {
		t.Errorf("the log tells of %d lost records, want %d", told, lost)
	}
	// The first, what fitted, the records of losses, and the last.
	if want := 1 + 20 - int(lost) + len(report.Notes) + 1; report.Records != want {
		t.Errorf("%d records, want %d", report.Records, want)
	}
}

func TestAnAuditLogOpensOnAFullDiskAndBeginsWhenThereIsSpace(t *testing.T) {
	dir := smallDisk(t, "nr_inodes=2") // the folder and the filler
	fillInodes, err := os.Create(filepath.Join(dir, "filler"))
	if err != nil {
		t.Fatal(err)
	}
	defer fillInodes.Close()
	log, err := audit.Open(audit.Options{Dir: filepath.Join(dir, "audit"), MaxFileBytes: 1 << 20, Now: time.Now})
	if err != nil {
		t.Fatalf("opening on a full disk: %v", err)
	}
	add := func() { log.Append(audit.Entry{Time: time.Now(), Kind: audit.KindWrite}) }
	add()
	if lost, why := log.Lost(); lost != 1 || !errors.Is(why, unix.ENOSPC) {
		t.Errorf("lost %d, %v, want 1 and ENOSPC", lost, why)
	}
	if err := unix.Mount("", dir, "", unix.MS_REMOUNT, "nr_inodes=100"); err != nil {
		t.Fatal(err)
	}
	add()
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	report, err := audit.Verify(filepath.Join(dir, "audit"))
	if err != nil || len(report.Problems) > 0 || report.Records != 2 || len(report.Notes) != 1 {
		t.Errorf("audit log %+v, %v, want the loss and one record", report, err)
	}
}
