package kernel

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/plimsoll/plimsoll/pkg/cgroup"
	"github.com/plimsoll/plimsoll/pkg/qos"
)

// Where the machine's kernel is, for every test of this package.
const (
	procRoot = "/proc"
	fsRoot   = "/sys/fs/cgroup"
)

const (
	podUID      = "3a0fd6b1-5c1f-4d0e-9a66-0f6d2c9be111"
	containerID = "5f3e9a1c0b7d"
)

// tree is groups like those that a kubelet makes, with one pod in each tier.
type tree struct {
	cgroup.Host
	t testing.TB
	// hierarchies are the directories of those that the tests use.
	hierarchies []string
	// made is every group, in the order of making.
	made []string
	// ends end the processes that were started in it.
	ends []func()
}

func (tr *tree) burstablePod() string  { return tr.Kubepods + "/burstable/pod" + podUID }
func (tr *tree) bestEffortPod() string { return tr.Kubepods + "/besteffort/pod" + podUID }

// newTree makes the groups of a kubelet without any batch branch.
func newTree(t testing.TB) *tree {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: control groups of our own")
	}
	mode, err := cgroup.DetectMode(fsRoot)
	if err != nil {
		t.Fatal(err)
	}
	root := fmt.Sprintf("/plimsoll-test-%d", os.Getpid())
	tr := &tree{t: t, Host: cgroup.Host{ProcRoot: procRoot, FSRoot: fsRoot, Mode: mode}, hierarchies: []string{fsRoot}}
	controllers := []string{"cpu", "cpuacct", "cpuset", "memory", "blkio", "pids", "unified"}
	switch mode {
	case cgroup.V2:
		tr.enable("/")
	case cgroup.V1:
		controllers = controllers[:6]
		fallthrough
	default:
		tr.hierarchies = nil
		for _, c := range controllers {
			real, err := filepath.EvalSymlinks(filepath.Join(fsRoot, c)) // cpu and cpuacct may be mounted together
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Contains(tr.hierarchies, real) {
				tr.hierarchies = append(tr.hierarchies, real)
			}
		}
	}
	t.Cleanup(tr.remove)
	for _, g := range []string{"", "/kubepods", "/kubepods/burstable", "/kubepods/besteffort", "/kubepods/burstable/pod" + podUID, "/kubepods/besteffort/pod" + podUID} {
		tr.make(root + g)
	}
	if tr.Host, err = cgroup.Detect(procRoot, fsRoot, root); err != nil {
		t.Fatal(err)
	}
	if tr.Mode != mode || tr.Driver != cgroup.Cgroupfs || tr.Kubepods != root+"/kubepods" {
		t.Fatalf("Detect = %+v, want mode %s, driver cgroupfs and %s/kubepods", tr.Host, mode, root)
	}
	return tr
}

// enable lets the groups below a v2 group have the controllers that the tests use.
func (tr *tree) enable(group string) {
	tr.t.Helper()
	for _, c := range []string{"cpu", "cpuset", "memory", "io", "pids"} {
		dir := tr.Dir("", group)
		if !slices.Contains(strings.Fields(get(tr.t, dir+"/cgroup.controllers")), c) {
			tr.t.Skipf("needs the cgroup v2 controller %s at %s: it is not delegated to this machine, or in use by a v1 hierarchy", c, dir)
		}
		if slices.Contains(strings.Fields(get(tr.t, dir+"/cgroup.subtree_control")), c) {
			continue
		}
		put(tr.t, dir+"/cgroup.subtree_control", "+"+c)
		if group == "/" { // not ours: as it was, when the tree is gone
			tr.t.Cleanup(func() { put(tr.t, dir+"/cgroup.subtree_control", "-"+c) })
		}
	}
}

// make makes a group in each hierarchy, as a container runtime does.
func (tr *tree) make(group string) {
	tr.t.Helper()
	if parent := path.Dir(group); tr.Mode == cgroup.V2 && parent != "/" {
		tr.enable(parent)
	}
	tr.made = append(tr.made, group)
	for _, h := range tr.hierarchies {
		if err := os.Mkdir(filepath.Join(h, group), 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			tr.t.Fatal(err)
		}
	}
	if tr.Mode != cgroup.V2 { // a cpuset of v1 is born empty, and takes no process like that
		for _, f := range []string{"cpuset.cpus", "cpuset.mems"} {
			put(tr.t, filepath.Join(tr.Dir("cpuset", group), f), get(tr.t, filepath.Join(tr.Dir("cpuset", path.Dir(group)), f)))
		}
	}
}

// confine lets the whole tree run on one CPU only.
func (tr *tree) confine(cpu string) {
	tr.t.Helper()
	order := slices.Clone(tr.made)
	if tr.Mode == cgroup.V2 {
		order = order[:1] // groups below have no set of their own
	} else {
		slices.Reverse(order) // a cpuset of v1 must be within that above it
	}
	for _, g := range order {
		put(tr.t, filepath.Join(tr.Dir("cpuset", g), "cpuset.cpus"), cpu)
	}
}

// wake takes cpu.idle from every group, so that what is in them can end.
func (tr *tree) wake() {
	groups := append(slices.Clone(tr.made), tr.BatchBranch())
	for _, g := range groups {
		if s, err := tr.ReadSetting(g, qos.CPUIdle); err == nil && s.Value == "1" {
			put(tr.t, tr.Dir("cpu", g)+"/cpu.idle", "0")
		}
	}
}

// remove removes every group; the processes in them have ended by now.
func (tr *tree) remove() {
	groups := append(slices.Clone(tr.made), tr.BatchBranch())
	slices.SortFunc(groups, func(a, b string) int { return strings.Count(b, "/") - strings.Count(a, "/") })
	for _, g := range groups {
		for _, h := range tr.hierarchies {
			dir := filepath.Join(h, g)
			eventually(tr.t, "removing "+dir, func() bool { // a killed process leaves its group a moment later
				err := unix.Rmdir(dir)
				return err == nil || errors.Is(err, fs.ErrNotExist)
			})
		}
	}
}

// eventually waits for a condition.
func eventually(t testing.TB, what string, so func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(30 * time.Second); !so(); <-tick.C {
		if time.Now().After(end) {
			t.Errorf("%s: not so after 30 s", what)
			return
		}
	}
}

// get reads a kernel file.
func get(t testing.TB, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}

// put writes a kernel file.
func put(t testing.TB, file, text string) {
	t.Helper()
	if err := tryPut(file, text); err != nil {
		t.Errorf("writing %q to %s: %v", text, file, err)
	}
}

func tryPut(file, text string) error {
	fd, err := unix.Open(file, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	_, err = unix.Write(fd, []byte(text))
	return errors.Join(err, unix.Close(fd))
}

// needs skips a test on a kernel that is too old for a feature, and fails it on one that is new enough
// and does not have it: then either the kernel was built without it or we look in the wrong place.
func needs(t testing.TB, there bool, feature string, major, minor int) {
	t.Helper()
	if there {
		return
	}
	release := get(t, procRoot+"/sys/kernel/osrelease")
	var haveMajor, haveMinor int
	if _, err := fmt.Sscanf(release, "%d.%d", &haveMajor, &haveMinor); err != nil {
		t.Fatalf("reading the kernel's version %q: %v", release, err)
	}
	if haveMajor > major || haveMajor == major && haveMinor >= minor {
		t.Fatalf("no %s, which came with Linux %d.%d: this is %s", feature, major, minor, release)
	}
	t.Skipf("needs %s (Linux %d.%d or later): this is %s", feature, major, minor, release)
}

func exists(file string) bool {
	_, err := os.Stat(file)
	return err == nil
}
