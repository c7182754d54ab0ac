package cgroup

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/plimsoll/plimsoll/pkg/qos"
)

// sysfs writes the files of CPUs: of each the list of its core's threads, and its NUMA node.
func sysfs(t *testing.T, online, threadsFile string, cores []string, nodes []int) string {
	t.Helper()
	root := t.TempDir()
	put := func(name, text string) {
		t.Helper()
		file := filepath.Join(root, "devices/system/cpu", name)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put("online", online)
	for id, threads := range cores {
		put(fmt.Sprintf("cpu%d/topology/%s", id, threadsFile), threads)
		if nodes != nil {
			put(fmt.Sprintf("cpu%d/node%d/cpulist", id, nodes[id]), "")
		}
	}
	return root
}

func TestTopologyIsReadAndReadAgainWhenCPUsComeOrGo(t *testing.T) {
	cores := []string{"0,2", "1,3", "0,2", "1,3"}
	want := []qos.CPU{{ID: 0}, {ID: 1, Core: 1, Node: 1}, {ID: 2}, {ID: 3, Core: 1, Node: 1}}
	root := sysfs(t, "0-3", "core_cpus_list", cores, []int{0, 1, 0, 1})
	topology := NewTopology(root)
	for range 2 {
		got, err := topology.CPUs()
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%v; CPUs (-want +got):\n%s", err, diff)
		}
	}
	if err := os.WriteFile(filepath.Join(root, "devices/system/cpu/online"), []byte("0-2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := topology.CPUs(); err != nil || len(got) != 3 {
		t.Errorf("CPU 3 is offline: %v, %v, want three", got, err)
	}
}

func TestTopologyOfAnOlderKernelWithoutNUMA(t *testing.T) {
	got, err := NewTopology(sysfs(t, "0-1", "thread_siblings_list", []string{"0", "1"}, nil)).CPUs()
	if diff := cmp.Diff([]qos.CPU{{ID: 0}, {ID: 1, Core: 1}}, got); err != nil || diff != "" {
		t.Errorf("%v; CPUs (-want +got):\n%s", err, diff)
	}
}

func TestATopologyThatCannotBeReadIsAnError(t *testing.T) {
	for name, tc := range map[string]struct {
		root, want string
	}{
		"no sysfs":                 {t.TempDir(), "online"},
		"a strange list":           {sysfs(t, "x", "core_cpus_list", nil, nil), "which CPUs are online"},
		"a CPU without a topology": {sysfs(t, "0-1", "core_cpus_list", []string{"0"}, nil), "cpu1/topology"},
		"a core without its CPU":   {sysfs(t, "0", "core_cpus_list", []string{"1"}, nil), `CPU 0: the kernel says "1"`},
	} {
		if got, err := NewTopology(tc.root).CPUs(); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, error %v, want one with %q", name, got, err, tc.want)
		}
	}
}
