package systemdnode

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// groupsBelow is a group and those below it, each with what may be written to it: without what counts, which controllers
// groups below have, which the first pod of a tier settles for good, the tiers' weights, which the kubelet looks after
// once a minute, and huge pages, of which kubepods has 0 or no limit depending on when the kubelet last wrote it.
func groupsBelow(t *testing.T, dir string) []string {
	t.Helper()
	var all []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil //nolint:nilerr // it has vanished
		}
		if d.IsDir() {
			all = append(all, path+"/")
			return nil
		}
		switch name := d.Name(); {
		case strings.HasSuffix(name, ".pressure"), strings.HasSuffix(name, ".peak"), name == "cgroup.procs", name == "cgroup.threads",
			name == "cgroup.subtree_control", strings.HasPrefix(name, "cpu.weight"), strings.HasPrefix(name, "hugetlb."):
			return nil
		}
		info, err := d.Info()
		if err != nil || info.Mode().Perm()&0o600 != 0o600 {
			return nil //nolint:nilerr // it has vanished
		}
		if b, err := os.ReadFile(path); err == nil {
			all = append(all, path+"="+strings.TrimSpace(string(b)))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func resources(cpu, memory string) corev1.ResourceList {
	list := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu)}
	if memory != "" {
		list[corev1.ResourceMemory] = resource.MustParse(memory)
	}
	return list
}

// mostAgents is how many agents ran at once, at most, until ctx ended; guards and releases are none.
func mostAgents(ctx context.Context) int {
	most := 0
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	for {
		names, _ := filepath.Glob("/proc/[0-9]*/cmdline") // the pattern is a good one
		agents := 0
		for _, name := range names {
			b, _ := os.ReadFile(name) // empty where the process is gone
			if args := strings.Split(string(b), "\x00"); strings.HasSuffix(args[0], "/plimsoll-agent") && len(args) > 1 && strings.HasPrefix(args[1], "--") {
				agents++
			}
		}
		most = max(most, agents)
		select {
		case <-ctx.Done():
			return most
		case <-ticker.C:
		}
	}
}

// logWrites shows when agents have set cpu.idle.
func logWrites(t *testing.T) {
	t.Helper()
	logs, _ := filepath.Glob("/var/log/pods/" + namespace + "_plimsoll-agent-*/agent/*.log") // the pattern is a good one
	for _, name := range logs {
		b, _ := os.ReadFile(name)
		for line := range strings.Lines(string(b)) {
			if strings.Contains(line, "cpu.idle") {
				t.Log(strings.TrimSpace(line))
			}
		}
	}
}
