package localcluster

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// The kernel has one real-time budget to share, and an instance takes most of it.
func TestAnInstanceHasTheRealtimeBudgetOfTheOneBefore(t *testing.T) {
	hs, err := hierarchies("/proc")
	if err != nil {
		t.Fatal(err)
	}
	hs = slices.DeleteFunc(hs, func(h hierarchy) bool { return !slices.Contains(h.controllers, "cpu") })
	if len(hs) == 0 {
		t.Skip("needs a machine with controller cpu of cgroup v1")
	}
	if _, err := os.Stat(filepath.Join(hs[0].path, realtimeBudget)); err != nil {
		t.Skip("needs a kernel with CONFIG_RT_GROUP_SCHED")
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root to make cgroups")
	}
	root := func(i int) string { return fmt.Sprintf("plimsoll-budget-%d-%d", os.Getpid(), i) }
	for i := range 20 {
		_, made := makeGroups(hs, CgroupV1, root(i))
		got, read := os.ReadFile(filepath.Join(hs[0].path, root(i), realtimeBudget))
		if err := removeGroups(hs, root(i), 10*time.Second); err != nil {
			t.Fatal(err)
		}
		if made != nil || read != nil {
			t.Fatalf("making an instance's groups: %v, %v", made, read)
		}
		if i == 0 && strings.TrimSpace(string(got)) == "0" {
			t.Skip("needs a machine whose real-time budget no other group has")
		}
		if strings.TrimSpace(string(got)) != realtimeMicros {
			t.Fatalf("instance %d has a budget of %s µs, want %s", i, got, realtimeMicros)
		}
	}
}
