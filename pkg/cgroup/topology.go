package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/plimsoll/plimsoll/pkg/qos"
)

// Topology reads which CPUs are threads of one core, and of which NUMA node, below sysfs. It is not safe for
// concurrent use.
type Topology struct {
	root string
	// online is the kernel's list when cpus were read: CPUs come and go.
	online string
	cpus   []qos.CPU
}

// NewTopology reads below root, for example /sys.
func NewTopology(root string) *Topology { return &Topology{root: root} }

// CPUs is the CPUs that are online. They are read again when those are others.
func (t *Topology) CPUs() ([]qos.CPU, error) {
	online, err := t.text("online")
	if err != nil {
		return nil, err
	}
	if online == t.online {
		return t.cpus, nil
	}
	ids, err := qos.ParseCPUs(online)
	if err != nil {
		return nil, fmt.Errorf("reading which CPUs are online: %w", err)
	}
	cpus := make([]qos.CPU, 0, len(ids))
	for _, id := range ids {
		c := qos.CPU{ID: id}
		if c.Core, err = t.core(id); err != nil {
			return nil, err
		}
		if c.Node, err = t.node(id); err != nil {
			return nil, err
		}
		cpus = append(cpus, c)
	}
	t.online, t.cpus = online, cpus
	return cpus, nil
}

// core is the lowest CPU of the core of a CPU. core_cpus_list is the file's name since Linux 5.3.
func (t *Topology) core(id int) (int, error) {
	list, err := t.text(fmt.Sprintf("cpu%d/topology/core_cpus_list", id))
	if errors.Is(err, fs.ErrNotExist) {
		list, err = t.text(fmt.Sprintf("cpu%d/topology/thread_siblings_list", id))
	}
	if err != nil {
		return 0, err
	}
	threads, err := qos.ParseCPUs(list)
	if err != nil || !slices.Contains(threads, id) {
		return 0, fmt.Errorf("reading the core of CPU %d: the kernel says %q", id, clip(list))
	}
	return threads[0], nil
}

// node is the NUMA node of a CPU, by the link in its folder. A kernel without NUMA has none, and one node.
func (t *Topology) node(id int) (int, error) {
	dir := filepath.Join(t.root, "devices/system/cpu", fmt.Sprintf("cpu%d", id))
	entries, err := os.ReadDir(dir)
	if err != nil {
		return 0, fmt.Errorf("reading the NUMA node of CPU %d: %w", id, err)
	}
	for _, e := range entries {
		if digits, ok := strings.CutPrefix(e.Name(), "node"); ok {
			if n, err := strconv.Atoi(digits); err == nil {
				return n, nil
			}
		}
	}
	return 0, nil
}

func (t *Topology) text(name string) (string, error) {
	b, err := os.ReadFile(filepath.Join(t.root, "devices/system/cpu", name))
	if err != nil {
		return "", fmt.Errorf("reading the CPUs' topology: %w", err)
	}
	return strings.TrimSpace(string(b)), nil
}

// AllowedCPUs is the CPUs that the group above all pods may use.
func (h Host) AllowedCPUs() ([]int, error) {
	file := "cpuset.cpus"
	if h.Mode == V2 {
		file = "cpuset.cpus.effective"
	}
	list, err := readKnob(filepath.Join(h.Dir("cpuset", h.Kubepods), file))
	if err != nil {
		return nil, fmt.Errorf("reading which CPUs pods may use: %w", err)
	}
	cpus, err := qos.ParseCPUs(list)
	if err != nil {
		return nil, fmt.Errorf("reading which CPUs pods may use: %s of %s: %w", file, h.Kubepods, err)
	}
	return cpus, nil
}
