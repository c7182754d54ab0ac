package cgroup

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/plimsoll/plimsoll/pkg/qos"
)

var rewrite = flag.Bool("rewrite", false, "write the golden files anew")

// TestCapturedNodesReadTheSame reads everything of every captured tree and compares with what was read of it
// before. Whoever changes a golden file must be able to say why. The name of a tree says its mode and driver.
func TestCapturedNodesReadTheSame(t *testing.T) {
	archives, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(archives) < 5 {
		t.Fatalf("%d captured trees, %v: some are missing", len(archives), err)
	}
	covered := map[string]bool{}
	for _, archive := range archives {
		name := strings.TrimSuffix(filepath.Base(archive), ".txtar")
		t.Run(name, func(t *testing.T) {
			parts := strings.Split(name, "-")
			covered[parts[0]+" "+parts[1]] = true
			got := describe(t, filepath.Base(archive), Mode(parts[0]), Driver(parts[1]))
			golden := filepath.Join("testdata", name+".golden")
			if *rewrite {
				if err := os.WriteFile(golden, []byte(got), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatalf("%v: run the test with -rewrite", err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("what is read of %s (-before +now):\n%s", archive, diff)
			}
		})
	}
	for _, mode := range []Mode{V1, V2, Hybrid} {
		for _, driver := range []Driver{Cgroupfs, Systemd} {
			if !covered[string(mode)+" "+string(driver)] {
				t.Errorf("no tree of cgroup %s with the driver %s is captured", mode, driver)
			}
		}
	}
}

// describe is all that package cgroup reads of a tree, as text.
func describe(t *testing.T, archive string, mode Mode, driver Driver) string {
	t.Helper()
	dir := tree(t, archive)
	h := Host{ProcRoot: dir + "/proc", FSRoot: dir + "/cgroup", Mode: mode, Driver: driver, Kubepods: "/kubepods"}
	if driver == Systemd {
		h.Kubepods += ".slice"
	}
	var b strings.Builder
	node, capacity, err := h.ReadNode()
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(&b, "node %+v\ncapacity %+v\n", node, capacity)
	groups, err := h.Scan()
	if err != nil {
		t.Fatal(err)
	}
	paths := append([]string{}, groups.Tiers...)
	for _, p := range groups.Pods {
		paths = append(paths, p.Path)
		fmt.Fprintf(&b, "pod %s %s\n", p.UID, p.Tier)
		for _, c := range p.Containers {
			paths = append(paths, c.Path)
			fmt.Fprintf(&b, "  container %s of %q\n", c.ID, c.Runtime)
		}
	}
	paths = append(paths, groups.BatchBranch)
	for _, c := range groups.BatchContainers {
		paths = append(paths, c.Path)
		fmt.Fprintf(&b, "batch container %s of %q\n", c.ID, c.Runtime)
	}
	r := newReader(t, h)
	for _, p := range slices.Compact(paths) {
		s, err := r.Read(p)
		if err != nil {
			t.Fatal(err)
		}
		s.Key.ID = 0 // of the unpacked file
		fmt.Fprintf(&b, "%s\n  %s\n", p, strings.ReplaceAll(fmt.Sprintf("%+v", s), "OK:", ""))
		for _, k := range Knobs() {
			if k.Knob == qos.CPUPolicy || k.Knob == qos.CoreCookie {
				continue // is asked of this machine's threads
			}
			setting, err := h.ReadSetting(p, k.Knob)
			if errors.Is(err, fs.ErrNotExist) {
				continue // an early archive, without this hierarchy
			} else if err != nil {
				t.Errorf("%s of %s: %v", k.Knob, p, err)
			} else if setting.OK {
				fmt.Fprintf(&b, "  %s = %s\n", k.Knob, setting.Value)
			}
		}
	}
	return b.String()
}
