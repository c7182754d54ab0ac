package localcluster

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// CgroupMode is how the host mounts its control groups.
type CgroupMode string

// The modes. Hybrid has its controllers on v1 and an empty v2 beside them.
const (
	CgroupV1     CgroupMode = "v1"
	CgroupV2     CgroupMode = "v2"
	CgroupHybrid CgroupMode = "hybrid"
)

// V1 reports whether the controllers are on version 1, which kubelets refuse unless told otherwise.
func (m CgroupMode) V1() bool { return m != CgroupV2 }

func (m CgroupMode) String() string {
	if m == CgroupHybrid {
		return "v1, with an empty v2 beside it (hybrid)"
	}
	return string(m)
}

// hierarchy is one mounted tree of groups.
type hierarchy struct {
	path        string
	v2          bool
	controllers []string // of a v1 hierarchy; empty for a named one
}

// wantedControllers must be there for the kubelet to start.
func wantedControllers() []string { return []string{"cpu", "cpuset", "memory", "pids"} }

// parseHierarchies reads the text of /proc/self/mountinfo. A hierarchy that is mounted twice is listed once.
func parseHierarchies(mountinfo string) []hierarchy {
	var hs []hierarchy
	seen := map[string]bool{}
	sc := bufio.NewScanner(strings.NewReader(mountinfo))
	for sc.Scan() {
		left, right, ok := strings.Cut(sc.Text(), " - ")
		l, r := strings.Fields(left), strings.Fields(right)
		if !ok || len(l) < 5 || len(r) < 3 || !strings.HasPrefix(r[0], "cgroup") || seen[l[2]] {
			continue
		}
		seen[l[2]] = true // the device number stands for the hierarchy
		h := hierarchy{path: l[4], v2: r[0] == "cgroup2"}
		if !h.v2 {
			for opt := range strings.SplitSeq(r[2], ",") {
				if !slices.Contains([]string{"rw", "ro", "xattr", "clone_children", "noprefix"}, opt) && !strings.Contains(opt, "=") {
					h.controllers = append(h.controllers, opt)
				}
			}
		}
		hs = append(hs, h)
	}
	return hs
}

func hierarchies(procRoot string) ([]hierarchy, error) {
	b, err := os.ReadFile(filepath.Join(procRoot, "self", "mountinfo"))
	if err != nil {
		return nil, fmt.Errorf("reading the mounted cgroup hierarchies: %w", err)
	}
	return parseHierarchies(string(b)), nil
}

func modeOf(hs []hierarchy) (CgroupMode, error) {
	v1, v2 := false, false
	for _, h := range hs {
		v1 = v1 || len(h.controllers) > 0
		v2 = v2 || h.v2
	}
	switch {
	case v1 && v2:
		return CgroupHybrid, nil
	case v1:
		return CgroupV1, nil
	case v2:
		return CgroupV2, nil
	}
	return "", errors.New("no cgroup hierarchy is mounted: mount cgroup2 on /sys/fs/cgroup, or use --control-plane-only")
}

// checkControllers refuses a host whose kubelet would fail later and with less to say.
func checkControllers(hs []hierarchy, mode CgroupMode) error {
	var have []string
	for _, h := range hs {
		if mode.V1() {
			have = append(have, h.controllers...)
		} else if h.v2 {
			b, err := os.ReadFile(filepath.Join(h.path, "cgroup.controllers"))
			if err != nil {
				return fmt.Errorf("reading the cgroup controllers: %w", err)
			}
			have = strings.Fields(string(b))
		}
	}
	var missing []string
	for _, c := range wantedControllers() {
		if !slices.Contains(have, c) {
			missing = append(missing, c)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	if mode.V1() {
		return fmt.Errorf("cgroup v1 controllers not mounted: %s: mount them below /sys/fs/cgroup, or use --control-plane-only", strings.Join(missing, ", "))
	}
	return fmt.Errorf("cgroup v2 without delegated controllers: %s: run on the host itself, delegate them (systemd: Delegate=yes), or use --control-plane-only", strings.Join(missing, ", "))
}

// realtimeBudget is the file of a group of controller cpu, cgroup v1 with CONFIG_RT_GROUP_SCHED, that holds how
// many microseconds of each second its real-time tasks may run.
const realtimeBudget = "cpu.rt_runtime_us"

// realtimeMicros is how much of each second real-time tasks of an instance may run on each CPU: most of
// what the kernel lets all groups have together, 950,000.
const realtimeMicros = "830000"

// makeGroups creates the instance's root and its child "system" in every hierarchy, and answers which v2 controllers it had
// to switch on at the top for that.
func makeGroups(hs []hierarchy, mode CgroupMode, root string) (switchedOn []string, err error) {
	for _, h := range hs {
		dir := filepath.Join(h.path, root)
		if h.v2 && mode == CgroupV2 {
			if switchedOn, err = enableControllers(h.path); err != nil {
				return switchedOn, err
			}
		}
		for _, d := range []string{dir, filepath.Join(dir, "system")} {
			if err := os.Mkdir(d, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
				return switchedOn, fmt.Errorf("making a cgroup: %w", err)
			}
			if slices.Contains(h.controllers, "cpuset") {
				// A new v1 cpuset is empty and takes no process.
				for _, f := range []string{"cpuset.cpus", "cpuset.mems"} {
					if err := copyKernelFile(filepath.Join(filepath.Dir(d), f), filepath.Join(d, f)); err != nil {
						return switchedOn, err
					}
				}
			}
			if slices.Contains(h.controllers, "cpu") && d == dir {
				// Where the kernel counts real-time tasks by group, a group starts without any. What cannot be
				// had, because another instance has it, nobody may need.
				_ = writeKernelFile(filepath.Join(d, realtimeBudget), realtimeMicros)
			}
			if h.v2 && mode == CgroupV2 && d == dir {
				if _, err := enableControllers(d); err != nil {
					return switchedOn, err
				}
			}
		}
	}
	return switchedOn, nil
}

// enableControllers switches on what there is for the children of dir.
func enableControllers(dir string) (switchedOn []string, err error) {
	have, err := os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
	if err != nil {
		return nil, fmt.Errorf("reading the cgroup controllers: %w", err)
	}
	control := filepath.Join(dir, "cgroup.subtree_control")
	on, err := os.ReadFile(control)
	if err != nil {
		return nil, fmt.Errorf("reading the delegated cgroup controllers: %w", err)
	}
	for c := range strings.FieldsSeq(string(have)) {
		if slices.Contains(strings.Fields(string(on)), c) {
			continue
		}
		if err := writeKernelFile(control, "+"+c); err != nil {
			if slices.Contains(wantedControllers(), c) {
				return switchedOn, fmt.Errorf("cgroup v2 does not let %s be delegated here (%w): run on the host itself rather than in a container, or use --control-plane-only", c, err)
			}
			continue
		}
		switchedOn = append(switchedOn, c)
	}
	return switchedOn, nil
}

// disableControllers takes back what makeGroups switched on. Who has come to use one meanwhile keeps it.
func disableControllers(hs []hierarchy, controllers []string) {
	for _, h := range hs {
		for _, c := range controllers {
			if h.v2 {
				_ = writeKernelFile(filepath.Join(h.path, "cgroup.subtree_control"), "-"+c)
			}
		}
	}
}

// joinSystemGroup moves the calling process.
func joinSystemGroup(hs []hierarchy, root string) error {
	for _, h := range hs {
		if err := writeKernelFile(filepath.Join(h.path, root, "system", "cgroup.procs"), strconv.Itoa(os.Getpid())); err != nil {
			return err
		}
	}
	return nil
}

// groupTree lists dir and all groups below it, children first. What vanishes meanwhile is left out.
func groupTree(dir string) []string {
	var dirs []string
	_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			dirs = append(dirs, path)
		}
		return nil
	})
	slices.Reverse(dirs)
	return dirs
}

// groupPIDs lists the processes in the tree of dir, after undoing what keeps a killed process from
// exiting: a frozen group does not run at all, and an idle one does not on a machine that is busy.
func groupPIDs(dir string) []int {
	var pids []int
	for _, d := range groupTree(dir) {
		for file, value := range map[string]string{"freezer.state": "THAWED", "cgroup.freeze": "0", "cpu.idle": "0"} {
			if _, err := os.Stat(filepath.Join(d, file)); err == nil {
				_ = writeKernelFile(filepath.Join(d, file), value)
			}
		}
		b, err := os.ReadFile(filepath.Join(d, "cgroup.procs"))
		if err != nil {
			continue
		}
		for f := range strings.FieldsSeq(string(b)) {
			if pid, err := strconv.Atoi(f); err == nil && pid > 0 {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

// removeGroups deletes the tree of root from every hierarchy. A group stays busy for a moment after its last process, and
// the kernel counts the real-time budget of a deleted group for a while: it is given back before.
func removeGroups(hs []hierarchy, root string, timeout time.Duration) error {
	deadline := time.Now().Add(timeout)
	for {
		var errs []error
		for _, h := range hs {
			for _, d := range groupTree(filepath.Join(h.path, root)) {
				_ = writeKernelFile(filepath.Join(d, realtimeBudget), "0")
				if err := os.Remove(d); err != nil && !errors.Is(err, fs.ErrNotExist) {
					errs = append(errs, fmt.Errorf("removing a cgroup: %w", err))
				}
			}
		}
		if len(errs) == 0 || time.Now().After(deadline) {
			return errors.Join(errs...)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func copyKernelFile(from, to string) error {
	b, err := os.ReadFile(from)
	if err != nil {
		return fmt.Errorf("reading a kernel setting: %w", err)
	}
	return writeKernelFile(to, strings.TrimSpace(string(b)))
}

// writeKernelFile writes in one call and without O_CREAT: for a file that is missing a kernel file
// system answers EACCES to the latter. Package os would wait for ever on EAGAIN.
func writeKernelFile(path, value string) error {
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("opening %s: %w", path, err)
	}
	defer unix.Close(fd)
	for {
		_, err := unix.Write(fd, []byte(value))
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil {
			return fmt.Errorf("writing %q to %s: %w", value, path, err)
		}
		return nil
	}
}
