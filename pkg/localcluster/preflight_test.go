package localcluster

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const (
	mountV1     = "30 29 0:26 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n31 29 0:27 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n32 29 0:28 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n33 29 0:29 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n"
	mountNamed  = "34 29 0:30 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n"
	mountBeside = "35 29 0:31 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
)

// procWith makes a /proc whose one process, self, has these mounts.
func procWith(t *testing.T, mountinfo string) string {
	t.Helper()
	root := t.TempDir()
	if err := os.Mkdir(filepath.Join(root, "self"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "self", "mountinfo"), []byte(mountinfo), 0o644); err != nil {
		t.Fatal(err)
	}
	return root
}

// v2Mount makes a cgroup v2 root with these controllers, and the line that mounts it.
func v2Mount(t *testing.T, controllers string) string {
	t.Helper()
	root := t.TempDir()
	if err := os.WriteFile(filepath.Join(root, "cgroup.controllers"), []byte(controllers+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	return "40 29 0:40 / " + root + " rw - cgroup2 cgroup2 rw,nsdelegate\n"
}

func TestPreflightSaysWhatIsWrongAndWhatToDo(t *testing.T) {
	good := func(t *testing.T) (host, Options) {
		return host{
			procRoot: procWith(t, mountV1+mountNamed), euid: 0, free: func(int) bool { return true },
			freeBytes: func(string) (uint64, error) { return 100 << 30, nil }, overlay: func(string) error { return nil },
		}, Options{Dir: filepath.Join(t.TempDir(), "c"), Port: 6443}
	}
	for name, tc := range map[string]struct {
		change func(t *testing.T, h *host, o *Options)
		want   string // "" is no error
	}{
		"a good machine": {func(*testing.T, *host, *Options) {}, ""},
		"not root":       {func(_ *testing.T, h *host, _ *Options) { h.euid = 1000 }, "containers and cgroups need root: run it with sudo, or use --control-plane-only"},
		"not root, control plane only": {func(_ *testing.T, h *host, o *Options) {
			h.euid, o.ControlPlaneOnly, h.procRoot = 1000, true, "/nonexistent"
		}, ""},
		"port taken": {func(_ *testing.T, h *host, _ *Options) { h.free = func(p int) bool { return p != 6443 } },
			"port 6443 is taken by another process: stop it, or choose another with --port"},
		"disk full": {func(t *testing.T, h *host, o *Options) {
			h.freeBytes = func(string) (uint64, error) { return 700 << 20, nil }
			o.Dir = "/proc/none"
		}, "only 700 MiB free on /proc, 3072 MiB needed: free some space, or choose another place with --dir"},
		"disk full enough for a control plane": {func(_ *testing.T, h *host, o *Options) {
			h.freeBytes = func(string) (uint64, error) { return 700 << 20, nil }
			o.ControlPlaneOnly = true
		}, ""},
		"no overlayfs": {func(_ *testing.T, h *host, o *Options) {
			h.overlay = func(string) error { return syscall.ENODEV }
			o.Dir = "/proc/none"
		}, "no overlayfs on /proc (no such device): run `modprobe overlay`, or put --dir on ext4 or xfs"},
		"no cgroups": {func(t *testing.T, h *host, _ *Options) { h.procRoot = procWith(t, "") },
			"no cgroup hierarchy is mounted: mount cgroup2 on /sys/fs/cgroup, or use --control-plane-only"},
		"cgroup v2": {func(t *testing.T, h *host, _ *Options) {
			h.procRoot = procWith(t, v2Mount(t, "cpuset cpu io memory hugetlb pids"))
		}, ""},
		"cgroup v2 without delegated controllers": {func(t *testing.T, h *host, _ *Options) { h.procRoot = procWith(t, v2Mount(t, "cpu pids")) },
			"cgroup v2 without delegated controllers: cpuset, memory: run on the host itself, delegate them (systemd: Delegate=yes), or use --control-plane-only"},
		"a v1 controller missing": {func(t *testing.T, h *host, _ *Options) {
			h.procRoot = procWith(t, strings.ReplaceAll(mountV1, "rw,pids", "rw,misc"))
		}, "cgroup v1 controllers not mounted: pids: mount them below /sys/fs/cgroup, or use --control-plane-only"},
	} {
		t.Run(name, func(t *testing.T) {
			h, o := good(t)
			tc.change(t, &h, &o)
			got := ""
			if _, _, err := h.preflight(o); err != nil {
				got = err.Error()
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("error (-want +got):\n%s", diff)
			}
			if strings.Contains(got, "\n") {
				t.Error("the error is more than one line")
			}
		})
	}
}

func TestCgroupModeIsDetected(t *testing.T) {
	for name, tc := range map[string]struct {
		mounts string
		want   CgroupMode
		wantV1 bool
	}{
		"v1":                               {mountV1 + mountNamed, CgroupV1, true},
		"hybrid":                           {mountV1 + mountNamed + mountBeside, CgroupHybrid, true},
		"v2":                               {mountBeside, CgroupV2, false},
		"v2 with a named v1 for systemd":   {mountBeside + mountNamed, CgroupV2, false},
		"hierarchies mounted twice":        {mountV1 + strings.ReplaceAll(mountV1, "/sys/fs", "/mnt"), CgroupV1, true},
		"other file systems between them":  {"22 1 8:1 / / rw - ext4 /dev/sda rw\n" + mountBeside, CgroupV2, false},
		"optional fields before the dash":  {"35 29 0:31 / /sys/fs/cgroup rw shared:4 master:1 - cgroup2 cgroup2 rw\n", CgroupV2, false},
		"a line cut short is passed over":  {"1 2 3\n" + mountV1, CgroupV1, true},
		"a v2 beside only one controller ": {mountBeside + "31 29 0:27 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n", CgroupHybrid, true},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := modeOf(parseHierarchies(tc.mounts))
			if err != nil || got != tc.want || got.V1() != tc.wantV1 {
				t.Errorf("got %q (%v), want %q", got, err, tc.want)
			}
		})
	}
	if hs := parseHierarchies(mountV1 + strings.ReplaceAll(mountV1, "/sys/fs", "/mnt")); len(hs) != 4 {
		t.Errorf("%d hierarchies, want 4: the same ones at another place do not count", len(hs))
	}
}

func TestUpDoesNotMakeAnInstanceAmongSomebodysFiles(t *testing.T) {
	dir := t.TempDir()
	if err := checkDirUsable(dir); err != nil {
		t.Errorf("an empty folder: %v", err)
	}
	if err := checkDirUsable(filepath.Join(dir, "new", "folder")); err != nil {
		t.Errorf("a new folder: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "letter"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := checkDirUsable(dir); err == nil || !strings.Contains(err.Error(), "holds other files") {
		t.Errorf("a folder in use: got error %v, want one that says so", err)
	}
}

func TestDownRemovesNothingThatIsNotOurs(t *testing.T) {
	dir := t.TempDir()
	letter := filepath.Join(dir, "letter")
	if err := os.WriteFile(letter, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	err := Down(t.Context(), dir, nil)
	if err == nil || !strings.Contains(err.Error(), "nothing is removed") {
		t.Errorf("got error %v, want one that says that nothing is removed", err)
	}
	if _, err := os.Stat(letter); err != nil {
		t.Errorf("the file is gone: %v", err)
	}
	if err := Down(t.Context(), filepath.Join(dir, "none"), nil); err != nil {
		t.Errorf("down of what is not there: %v", err)
	}
}

func TestOptionsAreValidatedAllAtOnce(t *testing.T) {
	_, err := Options{Dir: "/" + strings.Repeat("x", 100), Port: 80, SimulatedNodes: -1, NodeName: "Not A Name", CgroupRoot: "/system.slice"}.withDefaults()
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{"--dir", "--port 80", "--simulated-nodes -1", `--node-name "Not A Name"`, `--cgroup-root "/system.slice"`} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not say %q: %v", want, err)
		}
	}
	o, err := Options{Dir: t.TempDir()}.withDefaults()
	if err != nil || o.Port != DefaultPort || o.NodeName != DefaultNodeName || !strings.HasPrefix(o.CgroupRoot, "/plimsoll-local-") {
		t.Errorf("defaults: %+v, %v", o, err)
	}
}

func TestADirectoryHasOneName(t *testing.T) {
	dir := t.TempDir()
	real, link := filepath.Join(dir, "real"), filepath.Join(dir, "link")
	if err := errors.Join(os.Mkdir(real, 0o755), os.Symlink(real, link)); err != nil {
		t.Fatal(err)
	}
	a, err := canonicalDir(filepath.Join(link, "not", "yet"))
	if err != nil {
		t.Fatal(err)
	}
	b, err := canonicalDir(filepath.Join(real, "not", "yet"))
	if err != nil {
		t.Fatal(err)
	}
	if a != b || DefaultCgroupRoot(a) != DefaultCgroupRoot(b) {
		t.Errorf("%s and %s, want one name", a, b)
	}
}
