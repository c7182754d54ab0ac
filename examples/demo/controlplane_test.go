package main

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/plimsoll/plimsoll/pkg/cgroup"
)

func TestSystemSharesAreASixteenthOfThePodsOnSmallMachines(t *testing.T) {
	for cpus, want := range map[int]int{1: 64, 2: 128, 16: 1024, 96: 1024} {
		if got := systemShares(cpus); got != want {
			t.Errorf("systemShares(%d) = %d, want %d", cpus, got, want)
		}
	}
}

func TestTheControlPlaneGetsItsWeightBack(t *testing.T) {
	for file, before := range map[string]string{"cpu.shares": "2000", "cpu.weight": "777"} {
		host := cgroup.Host{FSRoot: t.TempDir(), Mode: cgroup.V2}
		path := filepath.Join(host.FSRoot, "cluster", "system", file)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(before), 0o644); err != nil {
			t.Fatal(err)
		}
		restore, err := holdSystem(host, "/cluster")
		if err != nil {
			t.Fatal(err)
		}
		held, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		// A kernel file takes the whole write; an ordinary one keeps what is behind it.
		want := strconv.Itoa(systemShares(onlineCPUs()))
		if file == "cpu.weight" {
			want = strconv.Itoa(max(systemShares(onlineCPUs())*100/1024, 1))
		}
		if !strings.HasPrefix(string(held), want) {
			t.Errorf("%s is %s during a window, want %s", file, held, want)
		}
		if err := restore(); err != nil {
			t.Fatal(err)
		}
		after, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if string(after) != before {
			t.Errorf("%s is %s after a window, want %s", file, after, before)
		}
	}
	if _, err := holdSystem(cgroup.Host{FSRoot: t.TempDir(), Mode: cgroup.V2}, "/cluster"); err == nil {
		t.Error("no group and no error")
	}
}
