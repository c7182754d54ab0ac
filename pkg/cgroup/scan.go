package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
)

// Pod is the group of one pod.
type Pod struct {
	UID  string
	Path string
}

// BatchContainer is the group of one container in the batch branch.
type BatchContainer struct {
	ID   string
	Path string
}

// Groups is every group that Plimsoll looks at, as of one scan.
type Groups struct {
	// Tiers is kubepods and those of burstable and besteffort that exist.
	Tiers []string
	Pods  []Pod
	// BatchBranch is empty where there is none yet.
	BatchBranch     string
	BatchContainers []BatchContainer
}

// Scan lists the groups of pods. Groups that vanish while it runs are left out.
func (h Host) Scan() (Groups, error) {
	var g Groups
	for i, tier := range h.tiers() {
		children, err := h.children(tier)
		if errors.Is(err, fs.ErrNotExist) && i > 0 {
			continue
		}
		if err != nil {
			return Groups{}, fmt.Errorf("scanning %s: %w", tier, err)
		}
		g.Tiers = append(g.Tiers, tier)
		for _, name := range children {
			if uid, ok := h.podUID(tier, name); ok {
				g.Pods = append(g.Pods, Pod{UID: uid, Path: path.Join(tier, name)})
			}
		}
	}
	branch := h.BatchBranch()
	children, err := h.children(branch)
	if errors.Is(err, fs.ErrNotExist) {
		return g, nil
	}
	if err != nil {
		return Groups{}, fmt.Errorf("scanning %s: %w", branch, err)
	}
	g.BatchBranch = branch
	for _, name := range children {
		id := name
		if h.Driver == Systemd {
			id = strings.TrimSuffix(strings.TrimPrefix(name, "cri-containerd-"), ".scope")
		}
		g.BatchContainers = append(g.BatchContainers, BatchContainer{ID: id, Path: path.Join(branch, name)})
	}
	return g, nil
}

// tiers is kubepods, where Guaranteed pods are, and the kubelet's two tiers below it.
func (h Host) tiers() []string {
	if h.Driver == Systemd {
		base := strings.TrimSuffix(path.Base(h.Kubepods), ".slice")
		return []string{h.Kubepods, path.Join(h.Kubepods, base+"-burstable.slice"), path.Join(h.Kubepods, base+"-besteffort.slice")}
	}
	return []string{h.Kubepods, path.Join(h.Kubepods, "burstable"), path.Join(h.Kubepods, "besteffort")}
}

func (h Host) children(group string) ([]string, error) {
	entries, err := os.ReadDir(h.Dir("cpu", group))
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() {
			names = append(names, e.Name())
		}
	}
	return names, nil
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
