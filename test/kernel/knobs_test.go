package kernel

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/plimsoll/plimsoll/pkg/cgroup"
	"github.com/plimsoll/plimsoll/pkg/qos"
)

// knob is one knob of one group of a test.
type knob struct {
	tr    *tree
	spec  cgroup.KnobSpec
	group string
}

func (tr *tree) knob(group string, name qos.Knob) knob {
	tr.t.Helper()
	spec, err := cgroup.Knob(name)
	if err != nil {
		tr.t.Fatal(err)
	}
	return knob{tr, spec, group}
}

// present skips a test of a knob that this host does not have, and fails it where it should have it.
func (k knob) present() {
	t := k.tr.t
	t.Helper()
	in := k.spec.In(k.tr.Mode)
	if k.spec.Knob == qos.CoreCookie {
		coreScheduling(t)
	}
	if len(in.Files) == 0 {
		t.Skipf("needs %s, which cgroup %s does not have", k.spec.Knob, k.tr.Mode)
	}
	dir, err := k.tr.KnobDir(k.group, k.spec.Knob)
	there := err == nil && exists(filepath.Join(dir, in.Files[0]))
	if !there {
		lacks(t, k.tr.Mode, k.spec.Knob, in.Since)
	}
	var major, minor int
	if _, err := fmt.Sscanf(in.Since, "%d.%d", &major, &minor); err != nil {
		t.Fatalf("%s came with Linux %q: %v", k.spec.Knob, in.Since, err)
	}
	needs(t, there, string(k.spec.Knob), major, minor)
}

func (k knob) raw() cgroup.Raw {
	k.tr.t.Helper()
	raw, err := k.tr.ReadRaw(k.group, k.spec.Knob)
	if err != nil {
		k.tr.t.Fatal(err)
	}
	return raw
}

func (k knob) write(writes []cgroup.FileText) {
	k.tr.t.Helper()
	dir, err := k.tr.KnobDir(k.group, k.spec.Knob)
	if err != nil {
		k.tr.t.Fatal(err)
	}
	for _, w := range writes {
		put(k.tr.t, filepath.Join(dir, w.File), w.Text)
	}
}

// set writes a value, and wants to read it back as the table says that the kernel rounds it.
func (k knob) set(value string) {
	k.tr.t.Helper()
	writes, err := k.spec.Encode(k.tr.Mode, value, k.raw())
	if err != nil {
		k.tr.t.Fatal(err)
	}
	k.write(writes)
	want, err := k.spec.Canonical(k.tr.Mode, value)
	if err != nil {
		k.tr.t.Fatal(err)
	}
	got, err := k.tr.ReadSetting(k.group, k.spec.Knob)
	if err != nil || got.Value != want {
		k.tr.t.Errorf("%s: wrote %q as %q, the kernel says %+v, %v, want %q", k.spec.Knob, value, writes, got, err, want)
	}
}

// restore brings back what was, to the letter.
func (k knob) restore(original cgroup.Raw) {
	k.tr.t.Helper()
	writes, err := k.spec.Restore(k.tr.Mode, original, k.raw())
	if err != nil {
		k.tr.t.Fatal(err)
	}
	k.write(writes)
	if got := k.raw(); !slices.Equal(got, original) {
		k.tr.t.Errorf("%s is %q after it was restored, it was %q", k.spec.Knob, got, original)
	}
}

// disk is a disk that can be throttled: that of uncachedFile.
func disk(t testing.TB, file string) string {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(file, &st); err != nil {
		t.Fatal(err)
	}
	number := st.Dev
	if st.Mode&unix.S_IFMT == unix.S_IFBLK {
		number = st.Rdev
	}
	return fmt.Sprintf("%d:%d", unix.Major(number), unix.Minor(number))
}

func TestEachKnobIsWrittenReadBackAndUndone(t *testing.T) {
	tr := newTree(t)
	group := container(tr)
	cpus, mems := lastCPU(t), "0"
	file := uncachedFile(t)
	values := map[qos.Knob][]string{
		qos.CPUWeight:  {"1", "2", "57", "100", "101", "9999", "10000"},
		qos.CPUIdle:    {"1", "0"},
		qos.CPUQuota:   {"1000", "50000", "max", "5000/10000", "60000", "7000/1000", "1000/1000000", "400000", "max"},
		qos.CPUBurst:   {"0", "1", "50000", "1000000"},
		qos.CPUSetCPUs: {cpus},
		qos.CPUSetMems: {mems},
		qos.MemoryMin:  {"0", "1", "4096", "1000000", "max"}, qos.MemoryLow: {"0", "5000", "max"},
		qos.MemoryHigh: {"0", "1048576", "9223372036854771711", "9223372036854771712", "max"},
		qos.MemoryMax:  {"1048577", "9223372036854767616", "9223372036854775807", "max"},
		qos.IOWeight:   {"1", "50", "1000"},
		qos.IOLatency:  {disk(t, file) + " target=5000", "none"},
		qos.IOMax:      {disk(t, file) + " rbps=1048576", disk(t, file) + " wbps=2 riops=5 wiops=1000000", "max"},
		qos.PIDsMax:    {"0", "1", "4194304", "max"},
	}
	if tr.Mode == cgroup.V2 {
		values[qos.CPUSetCPUs] = append(values[qos.CPUSetCPUs], "inherit")
	}
	for _, spec := range cgroup.Knobs() {
		t.Run(string(spec.Knob), func(t *testing.T) {
			own := *tr
			own.t = t
			k := own.knob(group, spec.Knob)
			k.present()
			if spec.Knob == qos.CPURealtimeRuntime || spec.Knob == qos.CPUPolicy {
				t.Skipf("%s needs budgets in every group above, and tasks: see the tests of real-time priority", spec.Knob)
			}
			if spec.Knob == qos.CoreCookie {
				t.Skipf("%s is a property of tasks: see the tests of core scheduling", spec.Knob)
			}
			if spec.Action {
				t.Skipf("%s cannot be read back: see the test of what it does", spec.Knob)
			}
			if len(values[spec.Knob]) == 0 {
				t.Fatal("no value is tried")
			}
			original := k.raw()
			for _, v := range values[spec.Knob] {
				k.set(v)
			}
			k.restore(original)
		})
	}
}

// The rules that the table tells of are the kernel's.
func TestTheKernelRefusesWhatTheTableSaysItDoes(t *testing.T) {
	tr := newTree(t)
	group := container(tr)
	quota, burst, weight, idle := tr.knob(group, qos.CPUQuota), tr.knob(group, qos.CPUBurst), tr.knob(group, qos.CPUWeight), tr.knob(group, qos.CPUIdle)
	refused := func(what string, k knob, value string) {
		t.Helper()
		writes, err := k.spec.Encode(tr.Mode, value, k.raw())
		if err != nil {
			t.Fatal(err)
		}
		dir, err := tr.KnobDir(group, k.spec.Knob)
		if err != nil {
			t.Fatal(err)
		}
		if err := tryPut(filepath.Join(dir, writes[0].File), writes[0].Text); err == nil {
			t.Errorf("%s: the kernel took %q", what, writes)
		}
	}
	burst.present()
	quota.set("50000")
	burst.set("50000")
	refused("a quota below the burst", quota, "40000")
	refused("a burst above the quota", burst, "50001")
	burst.set("0")
	quota.set("max")
	idle.present()
	idle.set("1")
	refused("a weight beside cpu.idle", weight, "50")
	idle.set("0")
	if got, err := tr.ReadSetting(group, qos.CPUWeight); err != nil || got.Value != "100" {
		t.Errorf("the weight is %+v, %v after cpu.idle went back to 0, want the default", got, err)
	}
}

func TestAQuotaThrottlesAndItsBurstLetsThrough(t *testing.T) {
	tr := newTree(t)
	group := container(tr)
	quota, burst := tr.knob(group, qos.CPUQuota), tr.knob(group, qos.CPUBurst)
	quota.present()
	r := newReader(t, tr.Host)
	p := tr.start(group)
	// throttled is in how many periods a process that burned a little at a time was stopped.
	throttled := func() int64 {
		before := read(t, r, group)
		for range 8 {
			p.tell("burn", 14_000)
			<-time.After(300 * time.Millisecond) // three periods, in which quota is saved where it may be
		}
		after := read(t, r, group)
		if !before.ThrottledPeriods.OK || !after.ThrottledMicros.OK {
			t.Fatalf("samples %+v and %+v, want throttling", before, after)
		}
		return after.ThrottledPeriods.Value - before.ThrottledPeriods.Value
	}
	original := quota.raw()
	quota.set("10000") // 10 ms in each 100: 14 ms do not fit
	without := throttled()
	if without == 0 {
		t.Error("a process that wants more than its quota was not stopped")
	}
	burst.present()
	burst.set("10000")
	if with := throttled(); with >= without {
		t.Errorf("stopped in %d periods without a burst and in %d with it", without, with)
	}
	burst.set("0")
	quota.restore(original)
	if got := throttled(); got != 0 {
		t.Errorf("stopped in %d periods without a quota", got)
	}
}

func TestWeightsShareOneCPU(t *testing.T) {
	tr := newTree(t)
	tr.make(tr.BatchBranch())
	heavy, light := tr.BatchBranch()+"/aaaa", tr.BatchBranch()+"/bbbb"
	tr.make(heavy)
	tr.make(light)
	tr.confine(lastCPU(t))
	r := newReader(t, tr.Host)
	tr.start(heavy).tell("spin", 2)
	tr.start(light).tell("spin", 2)
	// ratio is how much of the CPU the one got of what the other got, over a second of CPU time.
	ratio := func() float64 {
		h, l := read(t, r, heavy).CPUMicros.Value, read(t, r, light).CPUMicros.Value
		var dh, dl int64
		eventually(t, "the groups use a second of CPU", func() bool {
			dh, dl = read(t, r, heavy).CPUMicros.Value-h, read(t, r, light).CPUMicros.Value-l
			return dh+dl > 1_000_000
		})
		return float64(dh) / float64(dl)
	}
	if got := ratio(); got < 0.75 || got > 1.33 {
		t.Errorf("groups of equal weight share the CPU %.2f to 1", got)
	}
	w := tr.knob(heavy, qos.CPUWeight)
	original := w.raw()
	w.set("400")
	tr.knob(light, qos.CPUWeight).set("100")
	want := 4.0
	if tr.Mode != cgroup.V2 { // the runtimes' scale: the ratio of shares is what counts, and it is another
		shares := func(group string) float64 {
			n, err := strconv.ParseFloat(get(t, tr.Dir("cpu", group)+"/cpu.shares"), 64)
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
		want = shares(heavy) / shares(light)
	}
	if got := ratio(); got < want*0.7 || got > want*1.4 {
		t.Errorf("weights 400 and 100 share the CPU %.2f to 1, want %.2f", got, want)
	}
	w.restore(original)
	if got := ratio(); got < 0.75 || got > 1.33 {
		t.Errorf("after the weight was restored they share it %.2f to 1", got)
	}
}

func TestACPUSetConfinesAProcess(t *testing.T) {
	tr := newTree(t)
	group := container(tr)
	p := tr.start(group)
	allowed := func(what string) string {
		status := get(t, fmt.Sprintf("/proc/%d/status", p.pid))
		_, rest, _ := strings.Cut(status, what+":\t")
		line, _, _ := strings.Cut(rest, "\n")
		return line
	}
	for name, field := range map[qos.Knob]string{qos.CPUSetCPUs: "Cpus_allowed_list", qos.CPUSetMems: "Mems_allowed_list"} {
		k := tr.knob(group, name)
		k.present()
		original, before := k.raw(), allowed(field)
		want := "0"
		if name == qos.CPUSetCPUs {
			want = lastCPU(t)
		}
		k.set(want)
		if got := allowed(field); got != want {
			t.Errorf("%s %s: the process may use %q", name, want, got)
		}
		if tr.Mode == cgroup.V2 { // a set cannot be emptied while there are tasks: what it means can be written
			dir := tr.Dir("", group)
			if err := tryPut(filepath.Join(dir, string(name)), "\n"); !errors.Is(err, unix.ENOSPC) {
				t.Errorf("emptying %s with a task in the group: %v, want ENOSPC", name, err)
			}
			k.set(get(t, filepath.Join(filepath.Dir(dir), string(name)+".effective")))
		} else {
			k.restore(original)
		}
		if got := allowed(field); got != before {
			t.Errorf("%s: the process may use %q after it was restored, before it %q", name, got, before)
		}
	}
}

func TestMemoryMaxEndsWhoTakesMore(t *testing.T) {
	tr := newTree(t)
	group := container(tr)
	k := tr.knob(group, qos.MemoryMax)
	k.present()
	r := newReader(t, tr.Host)
	before := read(t, r, group)
	p := tr.start(group)
	original := k.raw()
	k.set(strconv.Itoa(48 << 20))
	p.tell("hold", 8<<20) // fits
	p.order("hold", 96<<20)
	eventually(t, "the kernel ends the process", func() bool {
		s := read(t, r, group)
		return s.MemoryOOMKillEvents.OK && s.MemoryOOMKillEvents.Value > before.MemoryOOMKillEvents.Value &&
			s.MemoryMaxEvents.OK && s.MemoryMaxEvents.Value > before.MemoryMaxEvents.Value
	})
	k.restore(original)
	tr.start(group).tell("hold", 96<<20)
}

func TestMemoryHighSlowsWhoTakesMore(t *testing.T) {
	tr := newTree(t)
	group := container(tr)
	k := tr.knob(group, qos.MemoryHigh)
	k.present()
	r := newReader(t, tr.Host)
	p := tr.start(group)
	original := k.raw()
	k.set(strconv.Itoa(24 << 20))
	before := read(t, r, group)
	p.order("hold", 64<<20) // where nothing can be reclaimed this takes long
	eventually(t, "the kernel slows the process", func() bool {
		s := read(t, r, group)
		return s.MemoryHighEvents.Value > before.MemoryHighEvents.Value && s.MemorySomeMicros.Value > before.MemorySomeMicros.Value
	})
	k.restore(original)
	p.done()
}

func TestMemoryReclaimTakesMemoryNow(t *testing.T) {
	tr := newTree(t)
	group := container(tr)
	k := tr.knob(group, qos.MemoryReclaim)
	k.present()
	r := newReader(t, tr.Host)
	p := tr.start(group)
	p.tell("read", uncachedFile(t))
	before := read(t, r, group).MemoryCurrentBytes.Value
	if before < readBytes*9/10 {
		t.Fatalf("the group holds %d bytes after %d were read: there is nothing to take", before, readBytes)
	}
	writes, err := k.spec.Encode(tr.Mode, strconv.Itoa(readBytes/2), nil)
	if err != nil {
		t.Fatal(err)
	}
	k.write(writes)
	if after := read(t, r, group).MemoryCurrentBytes.Value; after > before-readBytes*4/10 {
		t.Errorf("the group held %d bytes, and %d after %d were to be reclaimed", before, after, readBytes/2)
	}
}

func TestPIDsMaxRefusesTasks(t *testing.T) {
	tr := newTree(t)
	group := container(tr)
	k := tr.knob(group, qos.PIDsMax)
	k.present()
	p := tr.start(group)
	refusals := func() string { return get(t, filepath.Join(tr.Dir("pids", group), "pids.events")) }
	before := refusals()
	original := k.raw()
	k.set(get(t, filepath.Join(tr.Dir("pids", group), "pids.current")))
	p.order("spin", 32) // threads, which end the process when they cannot be made
	eventually(t, "the kernel refuses a task", func() bool { return refusals() != before })
	k.restore(original)
	tr.start(group).order("spin", 32)
	r := newReader(t, tr.Host)
	eventually(t, "the group has 32 tasks and more", func() bool { return read(t, r, group).PIDs.Value > 32 })
}

func TestIOMaxSlowsADisk(t *testing.T) {
	tr := newTree(t)
	group := container(tr)
	k := tr.knob(group, qos.IOMax)
	k.present()
	p := tr.start(group)
	r := newReader(t, tr.Host)
	original := k.raw()
	const bytesPerSecond = 16 << 20 // two seconds for readBytes
	file := uncachedFile(t)
	k.set(fmt.Sprintf("%s rbps=%d", disk(t, file), bytesPerSecond))
	before, begin := read(t, r, group), time.Now()
	p.tell("read", file)
	took, after := time.Since(begin), read(t, r, group)
	if got := after.IOReadBytes.Value - before.IOReadBytes.Value; !after.IOReadBytes.OK || got < readBytes*9/10 {
		t.Fatalf("%d of %d bytes were read from the disk: there was nothing to slow", got, readBytes)
	}
	if least := time.Second * readBytes / bytesPerSecond * 8 / 10; took < least {
		t.Errorf("reading %d bytes at %d a second took %s, want %s or more", readBytes, bytesPerSecond, took, least)
	}
	k.restore(original)
}
