package kernel

import (
	"bufio"
	"compress/gzip"
	"io"
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/plimsoll/plimsoll/pkg/cgroup"
	"github.com/plimsoll/plimsoll/pkg/qos"
)

// option is what a kernel may be built without, whatever its version.
func option(mode cgroup.Mode, k qos.Knob) string {
	switch k {
	case qos.IOLatency:
		return "CONFIG_BLK_CGROUP_IOLATENCY"
	case qos.IOWeight:
		if mode == cgroup.V2 {
			return "CONFIG_BLK_CGROUP_IOCOST"
		}
		return "CONFIG_BFQ_GROUP_IOSCHED"
	case qos.CPURealtimeRuntime:
		return "CONFIG_RT_GROUP_SCHED"
	default:
		return ""
	}
}

// lacks skips a test of a knob that this kernel was built without, and fails it where the kernel's own
// configuration says that it has it. It returns where the knob is not one of those: then the version decides.
func lacks(t testing.TB, mode cgroup.Mode, k qos.Knob, since string) {
	t.Helper()
	if k == qos.ResctrlSchemata {
		// The kernel registers the file system where the CPU has something to allocate.
		if strings.Contains(get(t, procRoot+"/filesystems"), "resctrl") {
			t.Fatal("this kernel and CPU have resctrl and it is not mounted: mount -t resctrl resctrl /sys/fs/resctrl")
		}
		t.Skipf("needs %s: a CPU that allocates cache or bandwidth, and CONFIG_X86_CPU_RESCTRL (Linux %s)", k, since)
	}
	if o := option(mode, k); o != "" {
		withoutOption(t, string(k), o, since)
	}
}

// withoutOption skips a test for want of a build option, and fails it where the kernel says that it has it.
func withoutOption(t testing.TB, feature, option, since string) {
	t.Helper()
	value, known := configured(t, option)
	switch {
	case value == "y":
		t.Fatalf("no %s, although this kernel was built with %s", feature, option)
	case value == "m":
		t.Skipf("needs %s: %s is a module of this kernel, which is not loaded", feature, option)
	case known:
		t.Skipf("needs %s: this kernel was built without %s (Linux %s)", feature, option, since)
	default:
		t.Skipf("needs %s: %s (Linux %s); this kernel does not tell how it was built", feature, option, since)
	}
}

// configured is the value of an option of the running kernel, empty where it is not set.
func configured(t testing.TB, option string) (value string, known bool) {
	t.Helper()
	text, err := kernelConfig(get(t, procRoot+"/sys/kernel/osrelease"))
	if err != nil {
		return "", false
	}
	for line := range strings.Lines(text) {
		if v, ok := strings.CutPrefix(strings.TrimSpace(line), option+"="); ok {
			return v, true
		}
	}
	return "", true
}

func kernelConfig(release string) (text string, err error) {
	if b, err := os.ReadFile("/boot/config-" + release); err == nil {
		return string(b), nil
	}
	f, err := os.Open(procRoot + "/config.gz")
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }() // read-only
	r, err := gzip.NewReader(bufio.NewReader(f))
	if err != nil {
		return "", err
	}
	b, err := io.ReadAll(r)
	return string(b), err
}

// A test that rests on the configuration must not rest on one that was not found.
func TestTheKernelTellsHowItWasBuilt(t *testing.T) {
	if _, known := configured(t, "CONFIG_CGROUPS"); !known {
		t.Skipf("needs the kernel's configuration: CONFIG_IKCONFIG_PROC (Linux 2.6), or a file /boot/config-RELEASE")
	}
	if v, _ := configured(t, "CONFIG_CGROUPS"); v != "y" {
		t.Errorf("CONFIG_CGROUPS is %q in a kernel with control groups", v)
	}
	if v, _ := configured(t, "CONFIG_CGROUP"); v != "" {
		t.Errorf("CONFIG_CGROUP, which does not exist, is %q", v)
	}
}

// What the table says of core.cookie is the kernel's: two processes can have cookies, and not the same.
func TestEachProcessCanHaveACoreCookieOfItsOwn(t *testing.T) {
	coreScheduling(t)
	tr := newTree(t)
	group := container(tr)
	cookies := []uint64{0}
	for range 2 {
		p := tr.start(group)
		const wholeProcess = unix.PR_SCHED_CORE_SCOPE_THREAD_GROUP
		if err := unix.Prctl(unix.PR_SCHED_CORE, unix.PR_SCHED_CORE_CREATE, uintptr(p.pid), wholeProcess, 0); err != nil {
			t.Fatal(err)
		}
		cookie, err := cgroup.Cookie(p.pid)
		if err != nil || slices.Contains(cookies, cookie) {
			t.Errorf("cookie %d, %v; want another than %d", cookie, err, cookies)
		}
		cookies = append(cookies, cookie)
	}
}
