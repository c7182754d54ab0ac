package kernel

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/plimsoll/plimsoll/pkg/actuate"
	"github.com/plimsoll/plimsoll/pkg/cgroup"
	"github.com/plimsoll/plimsoll/pkg/qos"
	"github.com/plimsoll/plimsoll/pkg/qos/batchidle"
)

// enforcer is an Actuator whose batch branch is made.
type enforcer struct {
	*actuate.Actuator
	journal  *actuate.Journal
	stateDir string
}

func enforce(tr *tree) enforcer {
	tr.t.Helper()
	e := enforcer{stateDir: tr.t.TempDir()}
	e.journal = openJournal(tr.t, e.stateDir)
	e.Actuator = actuate.New(tr.Host, e.journal)
	for range 2 { // twice is harmless
		if err := e.EnsureBatchBranch(); err != nil {
			tr.t.Fatal(err)
		}
	}
	needs(tr.t, exists(idleFile(tr)), "cpu.idle", 5, 15)
	return e
}

// openJournal opens a journal of this boot, until the test ends or it is closed.
func openJournal(t testing.TB, dir string) *actuate.Journal {
	t.Helper()
	boot, err := actuate.BootID(procRoot)
	if err != nil {
		t.Fatal(err)
	}
	j, err := actuate.OpenJournal(dir, boot)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = j.Close() }) // it may be closed
	return j
}

func idleFile(tr *tree) string { return filepath.Join(tr.Dir("cpu", tr.BatchBranch()), "cpu.idle") }

// wanted is what the strategy batchidle still wants to change.
func wanted(tr *tree) []qos.Change {
	tr.t.Helper()
	s, err := tr.ReadSetting(tr.BatchBranch(), qos.CPUIdle)
	if err != nil {
		tr.t.Fatal(err)
	}
	state := qos.State{Groups: []qos.Group{{
		Path: tr.BatchBranch(), Kind: qos.KindBatchBranch, Settings: map[qos.Knob]qos.Setting{qos.CPUIdle: s},
	}}}
	return qos.Diff(state, batchidle.New(batchidle.Args{}).Step(state))
}

// apply lets batchidle have what it wants.
func apply(tr *tree, e enforcer) {
	tr.t.Helper()
	for _, r := range e.Apply(wanted(tr)) {
		if r.Err != nil {
			tr.t.Fatal(r.Err)
		}
	}
}

// container makes the group of a container in the batch branch, which a runtime would do.
func container(tr *tree) string {
	tr.t.Helper()
	tr.make(tr.BatchBranch())
	group := tr.BatchBranch() + "/" + containerID
	tr.make(group)
	return group
}

func TestANewBranchCanBeReadAtOnce(t *testing.T) {
	tr := newTree(t)
	enforce(tr)
	read(t, newReader(t, tr.Host), tr.BatchBranch())
	groups, err := tr.Scan()
	if err != nil || groups.BatchBranch != tr.BatchBranch() || len(groups.BatchContainers) != 0 {
		t.Errorf("groups %+v, %v, want an empty batch branch", groups, err)
	}
	group := container(tr)
	if groups, err = tr.Scan(); err != nil || len(groups.BatchContainers) != 1 || groups.BatchContainers[0].ID != containerID || groups.BatchContainers[0].Path != group {
		t.Errorf("groups %+v, %v, want the container %s", groups, err, containerID)
	}
}

func TestBatchIdleIsWrittenReadBackAndSettles(t *testing.T) {
	tr := newTree(t)
	e := enforce(tr)
	changes := wanted(tr)
	if len(changes) != 1 {
		t.Fatalf("changes %+v, want one", changes)
	}
	results := e.Apply(changes)
	if len(results) != 1 || results[0].Err != nil || results[0].ReadBack != "1" {
		t.Fatalf("results %+v, want 1 read back", results)
	}
	if got := get(t, idleFile(tr)); got != "1" {
		t.Errorf("cpu.idle of the branch is %s, want 1", got)
	}
	if again := wanted(tr); len(again) != 0 {
		t.Errorf("the second tick wants %+v, want nothing", again)
	}
	if err := e.journal.Close(); err != nil {
		t.Fatal(err)
	}
	var knobs []string
	for _, o := range openJournal(t, e.stateDir).Originals() {
		knobs = append(knobs, string(o.Knob))
		if o.Group != tr.BatchBranch() || o.GroupID == 0 || o.Knob == qos.CPUIdle && o.Raw[0] != "0" {
			t.Errorf("original %+v, want the branch's 0", o)
		}
	}
	if want := "cpu.weight cpu.idle"; strings.Join(knobs, " ") != want { // the flag moves the weight
		t.Errorf("knobs in the journal %q, want %q", knobs, want)
	}
	for _, g := range []string{tr.Kubepods, tr.Kubepods + "/burstable", tr.Kubepods + "/besteffort", tr.bestEffortPod()} {
		if s, err := tr.ReadSetting(g, qos.CPUIdle); err != nil || s.Value != "0" {
			t.Errorf("cpu.idle of %s, a group of the kubelet's, is %+v, %v, want 0", g, s, err)
		}
	}
}

func TestReleasePutsBackAndRemovesAnEmptyBranch(t *testing.T) {
	tr := newTree(t)
	e := enforce(tr)
	apply(tr, e)
	results, err := e.Release()
	if err != nil {
		t.Fatal(err)
	}
	if len(results) == 0 || results[0].Change.Knob != qos.CPUIdle || results[0].Change.Value != "0" {
		t.Errorf("results %+v, want the branch's cpu.idle of 0 first", results)
	}
	for _, r := range results {
		if r.Err != nil || r.Change.Group != tr.BatchBranch() {
			t.Errorf("result %+v, want the branch's alone, and no error", r)
		}
	}
	for _, h := range tr.hierarchies {
		if dir := filepath.Join(h, tr.BatchBranch()); exists(dir) {
			t.Errorf("%s is still there", dir)
		}
		if dir := filepath.Join(h, tr.Kubepods); !exists(dir) {
			t.Errorf("%s, which is not ours, is gone", dir)
		}
	}
	if left := e.journal.Originals(); len(left) != 0 {
		t.Errorf("journal %+v, want nothing", left)
	}
}

func TestReleaseLeavesABranchWithContainers(t *testing.T) {
	tr := newTree(t)
	e := enforce(tr)
	tr.start(container(tr))
	apply(tr, e)
	if _, err := e.Release(); err != nil {
		t.Fatal(err)
	}
	if got := get(t, idleFile(tr)); got != "0" {
		t.Errorf("cpu.idle is %s, want 0", got)
	}
}

// An agent that cannot remember the original leaves the kernel alone.
func TestAReadOnlyStateDirectoryKeepsTheKernelAsItIs(t *testing.T) {
	tr := newTree(t)
	e := enforce(tr)
	if err := unix.Mount("tmpfs", e.stateDir, "tmpfs", unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	results := e.Apply(wanted(tr))
	if err := unix.Unmount(e.stateDir, 0); err != nil {
		t.Fatal(err)
	}
	if len(results) != 1 || !errors.Is(results[0].Err, unix.EROFS) || !strings.Contains(results[0].Err.Error(), "journaling") {
		t.Errorf("results %+v, want EROFS for the journal", results)
	}
	if got := get(t, idleFile(tr)); got != "0" {
		t.Errorf("cpu.idle is %s, want 0: it was written without its original", got)
	}
}

// This is why the batch branch is ours alone: the kubelet writes the weight of its own groups every
// minute, and dies at its next start where it may not.
func TestAnIdleGroupRefusesItsWeight(t *testing.T) {
	tr := newTree(t)
	e := enforce(tr)
	file := filepath.Join(tr.Dir("cpu", tr.BatchBranch()), "cpu.shares")
	if tr.Mode == cgroup.V2 {
		file = filepath.Join(tr.Dir("cpu", tr.BatchBranch()), "cpu.weight")
	}
	put(t, file, "200")
	apply(tr, e)
	if err := tryPut(file, "100"); !errors.Is(err, unix.EINVAL) {
		t.Errorf("writing %s of an idle group: %v, want EINVAL", file, err)
	}
	if _, err := e.Release(); err != nil {
		t.Fatal(err)
	}
}
