package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// Tier is the kubelet's QoS class of a pod, which decides where its group is.
type Tier string

// The tiers.
const (
	Guaranteed Tier = "Guaranteed"
	Burstable  Tier = "Burstable"
	BestEffort Tier = "BestEffort"
)

// Pod is the group of one pod.
type Pod struct {
	UID  string
	Path string
	// GroupID is the group's identity (see GroupID of Host): another group of the same path has another.
	GroupID uint64
	Tier    Tier
	// Containers are all groups of containers in the pod's: its sandbox, init containers, sidecars and the
	// rest. Which of them is the sandbox is not in their names; the runtime knows.
	Containers []Container
}

// Container is the group of one container.
type Container struct {
	ID string
	// Runtime is what the runtime puts before the ID: cri-containerd, crio, docker; often empty.
	Runtime string
	Path    string
	GroupID uint64
	// Monitor is true for a process that CRI-O starts beside a container, conmon; ID is the container's.
	Monitor bool
}

// Groups is every group that Plimsoll looks at, as of one scan.
type Groups struct {
	// Tiers is kubepods and those of burstable and besteffort that exist.
	Tiers []string
	Pods  []Pod
	// BatchBranch is empty where there is none yet.
	BatchBranch     string
	BatchContainers []Container
}

// child is a group directly below another.
type child struct {
	name string
	id   uint64
}

// Scan lists the groups of pods. Groups that vanish while it runs are left out.
func (h Host) Scan() (Groups, error) { return h.scan(h.children) }

// scan lists the groups of pods with a way of listing the groups below one.
func (h Host) scan(children func(group string) ([]child, error)) (Groups, error) {
	var g Groups
	for i, tier := range h.tiers() {
		below, err := children(tier)
		if errors.Is(err, fs.ErrNotExist) && i > 0 {
			continue
		}
		if err != nil {
			return Groups{}, fmt.Errorf("scanning %s: %w", tier, err)
		}
		g.Tiers = append(g.Tiers, tier)
		for _, c := range below {
			uid, ok := h.podUID(tier, c.name)
			if !ok {
				continue
			}
			p := Pod{UID: uid, Path: path.Join(tier, c.name), GroupID: c.id, Tier: [...]Tier{Guaranteed, Burstable, BestEffort}[i]}
			if p.Containers, err = h.containers(p.Path, children); errors.Is(err, fs.ErrNotExist) {
				continue
			} else if err != nil {
				return Groups{}, fmt.Errorf("scanning %s: %w", p.Path, err)
			}
			g.Pods = append(g.Pods, p)
		}
	}
	branch := h.BatchBranch()
	containers, err := h.containers(branch, children)
	if errors.Is(err, fs.ErrNotExist) {
		return g, nil
	}
	if err != nil {
		return Groups{}, fmt.Errorf("scanning %s: %w", branch, err)
	}
	g.BatchBranch, g.BatchContainers = branch, containers
	return g, nil
}

// containers lists the groups of containers below a pod's group or the batch branch.
func (h Host) containers(group string, children func(string) ([]child, error)) ([]Container, error) {
	below, err := children(group)
	if err != nil {
		return nil, err
	}
	var containers []Container
	for _, c := range below {
		runtime, id, ok := h.containerName(c.name)
		if !ok {
			continue
		}
		containers = append(containers, Container{
			ID: id, Runtime: runtime, Path: path.Join(group, c.name), GroupID: c.id, Monitor: strings.HasSuffix(runtime, "-conmon"),
		})
	}
	return containers, nil
}

// containerName takes the name of a container's group apart: ID, or RUNTIME-ID as CRI-O does, with .scope
// behind it where systemd made it. An ID is hexadecimal; anything else is not a container's.
func (h Host) containerName(name string) (runtime, id string, ok bool) {
	if h.Driver == Systemd {
		if name, ok = strings.CutSuffix(name, ".scope"); !ok {
			return "", "", false
		}
	}
	id = name
	if i := strings.LastIndexByte(name, '-'); i >= 0 {
		runtime, id = name[:i], name[i+1:]
	}
	return runtime, id, id != "" && strings.Trim(id, "0123456789abcdef") == ""
}

// tiers is kubepods, where Guaranteed pods are, and the kubelet's two tiers below it.
func (h Host) tiers() []string {
	if h.Driver == Systemd {
		base := strings.TrimSuffix(path.Base(h.Kubepods), ".slice")
		return []string{h.Kubepods, path.Join(h.Kubepods, base+"-burstable.slice"), path.Join(h.Kubepods, base+"-besteffort.slice")}
	}
	return []string{h.Kubepods, path.Join(h.Kubepods, "burstable"), path.Join(h.Kubepods, "besteffort")}
}

// children lists the groups below one, by name.
func (h Host) children(group string) ([]child, error) {
	dir := h.Dir("cpu", group)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var below []child
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		var st unix.Stat_t
		if err := unix.Stat(dir+"/"+e.Name(), &st); errors.Is(err, fs.ErrNotExist) {
			continue // vanished meanwhile
		} else if err != nil {
			return nil, fmt.Errorf("stat %s/%s: %w", dir, e.Name(), err)
		}
		below = append(below, child{e.Name(), st.Ino})
	}
	return below, nil
}

// podUID is the UID in the name of a pod's group below a tier: pod<uid>, or with systemd the tier's name
// and -pod<uid>.slice, with the dashes of the UID as underscores.
func (h Host) podUID(tier, name string) (string, bool) {
	prefix := "pod"
	if h.Driver == Systemd {
		var isSlice bool
		if name, isSlice = strings.CutSuffix(name, ".slice"); !isSlice {
			return "", false
		}
		prefix = strings.TrimSuffix(path.Base(tier), ".slice") + "-pod"
	}
	uid, ok := strings.CutPrefix(name, prefix)
	if h.Driver == Systemd {
		uid = strings.ReplaceAll(uid, "_", "-")
	}
	return uid, ok && uid != ""
}
