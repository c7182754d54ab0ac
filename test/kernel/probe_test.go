package kernel

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/plimsoll/plimsoll/pkg/actuate/probe"
	"github.com/plimsoll/plimsoll/pkg/cgroup"
)

// probeTask is the first argument that makes this test binary a task of the probe's.
const probeTask = "probe-task"

func runProbe(tr *tree) map[string]probe.Result {
	tr.t.Helper()
	self, err := os.Executable()
	if err != nil {
		tr.t.Fatal(err)
	}
	results, err := probe.Run(tr.t.Context(), probe.Options{Host: tr.Host, Task: []string{self, probeTask}})
	if err != nil {
		tr.t.Fatal(err)
	}
	byName := map[string]probe.Result{}
	for _, r := range results {
		if _, twice := byName[r.Name]; twice {
			tr.t.Errorf("%s is reported twice", r.Name)
		}
		byName[r.Name] = r
		tr.t.Logf("%-20s %-8s %s", r.Name, r.State, r.Detail)
	}
	return byName
}

// What this kernel has, and what the tests of the knobs below rely on, the probe finds.
func TestTheProbeFindsWhatThisKernelHas(t *testing.T) {
	tr := newTree(t)
	before := groupsOf(tr)
	got := runProbe(tr)

	for _, k := range cgroup.Knobs() {
		r, ok := got[string(k.Knob)]
		if !ok || r.Detail == "" || r.State != probe.Works && r.State != probe.Fails && r.State != probe.Unknown {
			t.Errorf("%s: %+v, want a state with a detail", k.Knob, r)
			continue
		}
		// What the kernel gives the groups of the tree, the probe must have found to work.
		there := len(k.In(tr.Mode).Files) > 0
		for _, f := range k.In(tr.Mode).Files {
			there = there && exists(filepath.Join(tr.Dir(k.In(tr.Mode).Controller, tr.Kubepods), f))
		}
		if k.Knob == "cpu.rt.runtime" || k.Knob == "cpu.policy" { // what they need is not to be had in a scratch group
			if there != (r.State == probe.Unknown) {
				t.Errorf("%s: %+v; the file is there: %v", k.Knob, r, there)
			}
			continue
		}
		if there != (r.State == probe.Works) && k.Knob != "core.cookie" && k.Knob != "resctrl.schemata" {
			t.Errorf("%s: %+v; the file is there: %v", k.Knob, r, there)
		}
	}
	for _, name := range []string{"psi", "psi.groups", "psi.triggers"} {
		if want := tr.Mode != cgroup.V1 || name == "psi"; (got[name].State == probe.Works) != want {
			t.Errorf("%s: %+v, want it to work: %v", name, got[name], want)
		}
	}
	if after := groupsOf(tr); !slices.Equal(before, after) {
		t.Errorf("groups before the probe %q, after it %q", before, after)
	}
}

// groupsOf lists every group of the tree in every hierarchy.
func groupsOf(tr *tree) []string {
	tr.t.Helper()
	var dirs []string
	for _, h := range tr.hierarchies {
		root := filepath.Join(h, filepath.Dir(tr.Kubepods))
		err := filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				dirs = append(dirs, path)
			}
			return err
		})
		if err != nil {
			tr.t.Fatal(err)
		}
	}
	return dirs
}

// A probe that was killed left its groups behind, with the knobs as they were then.
func TestTheProbeCleansUpBehindOneThatWasKilled(t *testing.T) {
	tr := newTree(t)
	leftover := filepath.Join(filepath.Dir(tr.Kubepods), "plimsoll-probe")
	for _, h := range tr.hierarchies {
		if err := os.MkdirAll(filepath.Join(h, leftover, "online"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	put(t, filepath.Join(tr.Dir("cpu", leftover), "cpu.idle"), "1")
	if got := runProbe(tr); got["cpu.idle"].State != probe.Works {
		t.Errorf("cpu.idle: %+v, want Works", got["cpu.idle"])
	}
	for _, dir := range groupsOf(tr) {
		if strings.Contains(dir, "plimsoll-probe") {
			t.Errorf("%s was left behind", dir)
		}
	}
}

func TestTheProbeWithoutTasksSaysThatItCannotTell(t *testing.T) {
	tr := newTree(t)
	for name, task := range map[string][]string{"none": nil, "missing": {"/no/such/program"}, "wrong": {"/bin/true"}} {
		results, err := probe.Run(t.Context(), probe.Options{Host: tr.Host, Task: task})
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range results {
			if r.Name == probe.FeatureShields && (r.State != probe.Unknown || r.Detail == "") {
				t.Errorf("%s: %+v, want Unknown and why", name, r)
			}
		}
	}
}
