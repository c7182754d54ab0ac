package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Mode is the kind of cgroup hierarchy that a host has mounted.
type Mode string

// The modes.
const (
	// V1 has one hierarchy for each controller.
	V1 Mode = "v1"
	// V2 has one unified hierarchy.
	V2 Mode = "v2"
	// Hybrid has its controllers on v1 and a v2 hierarchy without controllers beside them.
	Hybrid Mode = "hybrid"
)

// Driver is how the kubelet names groups.
type Driver string

// The drivers.
const (
	Cgroupfs Driver = "cgroupfs"
	Systemd  Driver = "systemd"
)

// Host is where the kernel's files are, and how the groups of pods are laid out in them.
type Host struct {
	// ProcRoot is where procfs is mounted, for example /proc.
	ProcRoot string
	// FSRoot is where the cgroup hierarchies are mounted, for example /sys/fs/cgroup.
	FSRoot string
	// ResctrlRoot is where resctrl is mounted, for example /sys/fs/resctrl; empty where it is not.
	ResctrlRoot string
	Mode        Mode
	Driver      Driver
	// Kubepods is the group above all pods, relative to a hierarchy's root, for example /kubepods.
	Kubepods string
}

// ErrNoKubepods means that the kubelet's top group is not where it was looked for.
var ErrNoKubepods = errors.New("no kubepods group")

// Detect finds out what is mounted at fsRoot and how the kubelet, whose setting cgroupRoot is
// kubeletRoot ("/" unless it was changed), names its groups. The error is ErrNoKubepods while the
// kubelet has not made its groups.
func Detect(procRoot, fsRoot, kubeletRoot string) (Host, error) {
	mode, err := DetectMode(fsRoot)
	if err != nil {
		return Host{}, err
	}
	h := Host{ProcRoot: procRoot, FSRoot: fsRoot, Mode: mode, ResctrlRoot: findResctrl(fsRoot)}
	names := append(strings.FieldsFunc(kubeletRoot, func(r rune) bool { return r == '/' }), "kubepods")
	candidates := []Host{h, h}
	candidates[0].Driver, candidates[0].Kubepods = Cgroupfs, "/"+path.Join(names...)
	candidates[1].Driver, candidates[1].Kubepods = Systemd, slicePath(names)
	for _, c := range candidates {
		if _, err := os.Stat(c.Dir("cpu", c.Kubepods)); err == nil {
			return c, nil
		} else if !errors.Is(err, fs.ErrNotExist) {
			return Host{}, fmt.Errorf("looking for the kubelet's groups: %w", err)
		}
	}
	return Host{}, fmt.Errorf("%w at %s or %s: is the kubelet running, and is its cgroupRoot %q?", ErrNoKubepods,
		candidates[0].Dir("cpu", candidates[0].Kubepods), candidates[1].Dir("cpu", candidates[1].Kubepods), kubeletRoot)
}

// DetectWithoutKubelet is Detect where the kubelet has not made its groups, or is not to: the host as it
// would be with the cgroupfs driver.
func DetectWithoutKubelet(procRoot, fsRoot, kubeletRoot string) (Host, error) {
	mode, err := DetectMode(fsRoot)
	if err != nil {
		return Host{}, err
	}
	return Host{
		ProcRoot: procRoot, FSRoot: fsRoot, ResctrlRoot: findResctrl(fsRoot), Mode: mode,
		Driver: Cgroupfs, Kubepods: path.Join("/", kubeletRoot, "kubepods"),
	}, nil
}

// findResctrl is where resctrl is mounted, beside the cgroup hierarchies; empty where it is not.
func findResctrl(fsRoot string) string {
	root := filepath.Join(filepath.Dir(fsRoot), "resctrl")
	if _, err := os.Stat(filepath.Join(root, "schemata")); err != nil {
		return ""
	}
	return root
}

// DetectMode finds out which hierarchies are mounted at fsRoot.
func DetectMode(fsRoot string) (Mode, error) {
	isV2 := func(dir string) (bool, error) {
		var st unix.Statfs_t
		if err := unix.Statfs(dir, &st); err != nil {
			return false, fmt.Errorf("statfs %s: %w", dir, err)
		}
		return st.Type == unix.CGROUP2_SUPER_MAGIC, nil
	}
	v2, err := isV2(fsRoot)
	if err != nil {
		return "", fmt.Errorf("detecting the cgroup mode: %w", err)
	}
	if v2 {
		return V2, nil
	}
	v2, err = isV2(filepath.Join(fsRoot, "unified"))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return V1, nil
	case err != nil:
		return "", fmt.Errorf("detecting the cgroup mode: %w", err)
	case v2:
		return Hybrid, nil
	default:
		return V1, nil
	}
}

// Dir is the directory of a group in the hierarchy that holds controller. The controller "unified" is
// the v2 hierarchy, where PSI is.
func (h Host) Dir(controller, group string) string {
	if h.Mode == V2 {
		return filepath.Join(h.FSRoot, group)
	}
	return filepath.Join(h.FSRoot, controller, group)
}

// Hierarchies is the directory of every hierarchy mounted at FSRoot.
func (h Host) Hierarchies() ([]string, error) {
	if h.Mode == V2 {
		return []string{h.FSRoot}, nil
	}
	entries, err := os.ReadDir(h.FSRoot)
	if err != nil {
		return nil, fmt.Errorf("listing cgroup hierarchies: %w", err)
	}
	var dirs []string
	for _, e := range entries {
		if e.IsDir() { // co-mounted controllers have symbolic links beside the directory
			dirs = append(dirs, filepath.Join(h.FSRoot, e.Name()))
		}
	}
	return dirs, nil
}

// BatchBranch is the group that batch containers live in, a sibling of the kubelet's tiers.
func (h Host) BatchBranch() string {
	if h.Driver == Systemd {
		base := strings.TrimSuffix(path.Base(h.Kubepods), ".slice")
		return path.Join(h.Kubepods, base+"-plimsollbatch.slice")
	}
	return path.Join(h.Kubepods, "plimsoll-batch")
}

// BatchContainerPath is what a container runtime is told as the cgroups path of a container of the batch
// branch: a path for the cgroupfs driver, slice:prefix:name for the systemd driver. The group is named as the
// runtime would have named it, by the path that it meant to use: containerd makes cri-containerd-ID.scope, CRI-O
// crio-ID.scope, and each looks for its containers by that name. Where that path says nothing it is containerd's.
func (h Host) BatchContainerPath(containerID, meant string) string {
	if h.Driver == Systemd {
		prefix := "cri-containerd"
		if parts := strings.Split(meant, ":"); len(parts) == 3 && parts[2] == containerID && !strings.Contains(parts[1], "/") {
			prefix = parts[1]
		}
		return path.Base(h.BatchBranch()) + ":" + prefix + ":" + containerID
	}
	name := containerID
	if base := path.Base(meant); strings.HasSuffix(base, "-"+containerID) {
		name = base
	}
	return path.Join(h.BatchBranch(), name)
}

// slicePath is the path of a group in systemd's naming: each slice repeats the names of those above it.
func slicePath(names []string) string {
	p, prefix := "/", ""
	for _, n := range names {
		prefix += strings.ReplaceAll(n, "-", "_")
		p = path.Join(p, prefix+".slice")
		prefix += "-"
	}
	return p
}
