package main

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/prometheus/procfs"
	corev1 "k8s.io/api/core/v1"

	"github.com/plimsoll/plimsoll/pkg/cgroup"
	"github.com/plimsoll/plimsoll/pkg/qos"
)

// counters are what the kernel has counted up to an instant.
type counters struct {
	at          time.Time
	busyMicros  int64
	classMicros map[string]int64
}

// The classes of the timeline; what they do not use of the node's busy time is of the others.
const (
	onlineClass = "online"
	batchClass  = "batch"
)

// meter reads the CPU time of the node and of the groups of interest.
type meter struct {
	host   cgroup.Host
	reader *cgroup.Reader
	groups map[string]string
}

func newMeter(host cgroup.Host, groups map[string]string) *meter {
	return &meter{host: host, reader: cgroup.NewReader(host), groups: groups}
}

func (m *meter) close() { m.reader.Close() }

func (m *meter) read() (counters, error) {
	node, _, err := m.host.ReadNode()
	if err != nil {
		return counters{}, fmt.Errorf("reading the node's counters: %w", err)
	}
	now := counters{at: time.Now(), busyMicros: node.CPUBusyMicros.Value, classMicros: make(map[string]int64)}
	for class, group := range m.groups {
		sample, err := m.reader.Read(group)
		if err != nil {
			return counters{}, fmt.Errorf("reading the counters of %s: %w", group, err)
		}
		if !sample.CPUMicros.OK {
			return counters{}, fmt.Errorf("reading the counters of %s: the kernel counts no CPU time there", group)
		}
		now.classMicros[class] = sample.CPUMicros.Value
	}
	return now, nil
}

// cores is the mean of cores used between two readings: of a class, or with no class of the whole node.
func cores(from, to counters, class string) float64 {
	used := to.busyMicros - from.busyMicros
	if class != "" {
		used = to.classMicros[class] - from.classMicros[class]
	}
	return float64(used) / float64(to.at.Sub(from.at).Microseconds())
}

// stolenSeconds is what the host of a virtual machine has taken of its CPUs' time.
func stolenSeconds(host cgroup.Host) (float64, error) {
	proc, err := procfs.NewFS(host.ProcRoot)
	if err != nil {
		return 0, fmt.Errorf("reading what the host took: %w", err)
	}
	stat, err := proc.Stat()
	if err != nil {
		return 0, fmt.Errorf("reading what the host took: %w", err)
	}
	return stat.CPUTotal.Steal, nil
}

// stolenPercent is the share of all CPUs' time that the host took.
func stolenPercent(seconds float64, over time.Duration, cpus int) float64 {
	return 100 * seconds / (over.Seconds() * float64(cpus))
}

// newPoint is the timeline's entry between two readings.
func newPoint(start time.Time, from, to counters) point {
	online, batch := cores(from, to, onlineClass), cores(from, to, batchClass)
	return point{
		Seconds: to.at.Sub(start).Seconds(), OnlineCores: online, BatchCores: batch,
		// The node's and the groups' counters tick differently, so the rest may come out below zero.
		OtherCores: max(0, cores(from, to, "")-online-batch),
	}
}

// podGroup finds the group that a pod's only container runs in, wherever below kubepods that is.
func podGroup(host cgroup.Host, pod *corev1.Pod) (string, error) {
	_, id, _ := strings.Cut(pod.Status.ContainerStatuses[0].ContainerID, "://")
	if id == "" {
		return "", fmt.Errorf("finding the cgroup of pod %s: its container has no id", pod.Name)
	}
	top := host.Dir("cpu", host.Kubepods)
	found := ""
	err := filepath.WalkDir(top, func(file string, entry fs.DirEntry, err error) error {
		if err != nil {
			if os.IsNotExist(err) {
				return nil // groups come and go while the tree is walked
			}
			return err
		}
		if entry.IsDir() && strings.Contains(entry.Name(), id) {
			relative, err := filepath.Rel(top, file)
			if err != nil {
				return err
			}
			found = path.Join(host.Kubepods, filepath.ToSlash(relative))
			return fs.SkipAll
		}
		return nil
	})
	if err != nil {
		return "", fmt.Errorf("finding the cgroup of pod %s: %w", pod.Name, err)
	}
	if found == "" {
		return "", fmt.Errorf("finding the cgroup of pod %s: none below %s is of container %s", pod.Name, top, id)
	}
	return found, nil
}

// checkProtected makes sure that what is measured as Plimsoll is Plimsoll.
func checkProtected(host cgroup.Host, group string) error {
	branch := host.BatchBranch()
	if !strings.HasPrefix(group, branch+"/") {
		return fmt.Errorf("batch runs in %s and not below %s: see the log of the agent (kubectl -n plimsoll-system logs daemonset/plimsoll-agent)", group, branch)
	}
	setting, err := host.ReadSetting(branch, qos.CPUIdle)
	if err != nil {
		return fmt.Errorf("reading cpu.idle of the batch branch: %w", err)
	}
	if !setting.OK || setting.Value != "1" {
		return fmt.Errorf("cpu.idle of %s is %q and not 1: see the log of the agent (kubectl -n plimsoll-system logs daemonset/plimsoll-agent)", branch, setting.Value)
	}
	return nil
}
