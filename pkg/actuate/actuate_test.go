package actuate

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/plimsoll/plimsoll/pkg/cgroup"
	"github.com/plimsoll/plimsoll/pkg/qos"
)

// host is a host of plain files with an empty batch branch. What only a kernel does, the tests in
// test/kernel cover.
func host(t *testing.T) cgroup.Host {
	t.Helper()
	h := cgroup.Host{FSRoot: t.TempDir(), Mode: cgroup.V2, Driver: cgroup.Cgroupfs, Kubepods: "/kubepods"}
	if err := os.MkdirAll(h.Dir("cpu", branch), 0o750); err != nil {
		t.Fatal(err)
	}
	set(t, h, branch, "0\n")
	return h
}

func idleFile(h cgroup.Host, group string) string {
	return filepath.Join(h.Dir("cpu", group), "cpu.idle")
}

func set(t *testing.T, h cgroup.Host, group, value string) {
	t.Helper()
	if err := os.WriteFile(idleFile(h, group), []byte(value), 0o600); err != nil {
		t.Fatal(err)
	}
}

func wantValue(t *testing.T, h cgroup.Host, group, want string) {
	t.Helper()
	got, err := h.ReadSetting(group, qos.CPUIdle)
	if err != nil || got.Value != want {
		t.Errorf("cpu.idle of %s = %+v, %v, want %q", group, got, err, want)
	}
}

func change(value string) qos.Change {
	return qos.Change{Group: branch, Knob: qos.CPUIdle, Value: value, Reason: "test"}
}

func TestAnOriginalThatCannotBeJournaledKeepsTheChangeFromBeingWritten(t *testing.T) {
	h := host(t)
	dir := filepath.Join(t.TempDir(), "state")
	a := New(h, open(t, dir))
	// A directory without the right to write would not stop root; one that is not there stops anybody.
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	results := a.Apply([]qos.Change{change("1")})
	if len(results) != 1 {
		t.Fatalf("%d results, want 1", len(results))
	}
	wantError(t, results[0].Err, "cpu.idle", branch, "journaling what was there", dir)
	wantValue(t, h, branch, "0")
}

func TestOneChangeThatFailsDoesNotStopTheOthers(t *testing.T) {
	h := host(t)
	a := New(h, open(t, t.TempDir()))
	gone := qos.Change{Group: "/gone", Knob: qos.CPUIdle, Value: "1"}
	unknown := qos.Change{Group: branch, Knob: "no.such", Value: "1"}
	results := a.Apply([]qos.Change{unknown, change("1"), gone})

	var order []qos.Change
	for _, r := range results {
		order = append(order, r.Change)
		switch r.Change {
		case gone:
			if !errors.Is(r.Err, fs.ErrNotExist) {
				t.Errorf("a group that is gone: %v, want fs.ErrNotExist", r.Err)
			}
		case unknown:
			if !errors.Is(r.Err, cgroup.ErrUnknownKnob) {
				t.Errorf("an unknown knob: %v, want ErrUnknownKnob", r.Err)
			}
		default:
			if r.Err != nil || r.ReadBack != "1" {
				t.Errorf("result %+v, want 1 read back", r)
			}
		}
	}
	// What cannot be compared counts as widening: after what tightens, and a parent first.
	if diff := cmp.Diff([]qos.Change{change("1"), gone, unknown}, order); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
	wantValue(t, h, branch, "1")
}

func TestAKnobThatTheKernelDoesNotHaveIsNotMade(t *testing.T) {
	h := host(t)
	if err := os.Remove(idleFile(h, branch)); err != nil {
		t.Fatal(err)
	}
	j := open(t, t.TempDir())
	results := New(h, j).Apply([]qos.Change{change("1")})
	wantError(t, results[0].Err, branch, "not supported", "cpu.idle")
	if _, err := os.Stat(idleFile(h, branch)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the knob's file was made: %v", err)
	}
	wantOriginals(t, j)
}

// The kernel may take a write and make something else of it.
func TestAValueThatIsNotReadBackIsAnError(t *testing.T) {
	h := host(t)
	set(t, h, branch, "00") // a plain file keeps what is behind the written byte
	results := New(h, open(t, t.TempDir())).Apply([]qos.Change{change("1")})
	wantError(t, results[0].Err, "reading it back", "cpu.idle", "10")
}

func TestReleasePutsBackOnlyTheGroupsThatWereChanged(t *testing.T) {
	h := host(t)
	const child, gone = branch + "/5f3e", branch + "/gone"
	for _, g := range []string{child, gone} {
		if err := os.Mkdir(h.Dir("cpu", g), 0o750); err != nil {
			t.Fatal(err)
		}
		set(t, h, g, "0\n")
	}
	dir := t.TempDir()
	a := New(h, open(t, dir))
	for _, r := range a.Apply([]qos.Change{
		change("1"), {Group: child, Knob: qos.CPUIdle, Value: "1"}, {Group: gone, Knob: qos.CPUIdle, Value: "1"},
	}) {
		if r.Err != nil {
			t.Fatal(r.Err)
		}
	}
	if err := os.RemoveAll(h.Dir("cpu", gone)); err != nil {
		t.Fatal(err)
	}
	// The child's group is another one by now, with the same path. Its old directory stays, so that the
	// file system cannot give its number away again.
	if err := os.Rename(h.Dir("cpu", child), h.Dir("cpu", branch+"/old")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(h.Dir("cpu", child), 0o750); err != nil {
		t.Fatal(err)
	}
	set(t, h, child, "1\n")

	// As after a restart.
	j := reopen(t, a.journal)
	results, err := New(h, j).Release()
	if err != nil {
		t.Fatal(err)
	}
	if len(results) != 1 || results[0].Change.Group != branch || results[0].Change.Value != "0" {
		t.Errorf("results %+v, want the branch's 0 alone", results)
	}
	wantValue(t, h, branch, "0")
	wantValue(t, h, child, "1")
	wantOriginals(t, reopen(t, j))
}

func TestAReleaseThatFailsCanBeRunAgain(t *testing.T) {
	h := host(t)
	dir := t.TempDir()
	a := New(h, open(t, dir))
	a.Apply([]qos.Change{change("1")})
	saved := idleFile(h, branch) + ".saved"
	if err := os.Rename(idleFile(h, branch), saved); err != nil {
		t.Fatal(err)
	}
	results, err := a.Release()
	wantError(t, err, "cpu.idle")
	if len(results) != 1 || results[0].Err == nil {
		t.Errorf("results %+v, want one with an error", results)
	}
	if err := os.Rename(saved, idleFile(h, branch)); err != nil {
		t.Fatal(err)
	}
	if _, err := New(h, reopen(t, a.journal)).Release(); err != nil {
		t.Fatal(err)
	}
	wantValue(t, h, branch, "0")
}

func TestTheBranchIsMadeInEveryHierarchyThatHasKubepods(t *testing.T) {
	h := cgroup.Host{FSRoot: t.TempDir(), Mode: cgroup.V1, Driver: cgroup.Cgroupfs, Kubepods: "/kubepods"}
	for _, d := range []string{"cpu/kubepods", "cpuacct/kubepods", "memory/kubepods", "pids"} {
		if err := os.MkdirAll(filepath.Join(h.FSRoot, d), 0o750); err != nil {
			t.Fatal(err)
		}
	}
	a := New(h, open(t, t.TempDir()))
	for range 2 { // twice is harmless
		if err := a.EnsureBatchBranch(); err != nil {
			t.Fatal(err)
		}
	}
	for controller, want := range map[string]bool{"cpu": true, "cpuacct": true, "memory": true, "pids": false} {
		_, err := os.Stat(h.Dir(controller, branch))
		if got := err == nil; got != want {
			t.Errorf("branch in %s: %v, want %v", controller, got, want)
		}
	}
	if _, err := a.Release(); err != nil {
		t.Fatal(err)
	}
	for _, controller := range []string{"cpu", "cpuacct", "memory"} {
		if _, err := os.Stat(h.Dir(controller, branch)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the branch is still in %s: %v", controller, err)
		}
	}
}

func TestWithoutKubepodsTheBranchIsNotMade(t *testing.T) {
	h := cgroup.Host{FSRoot: t.TempDir(), Mode: cgroup.V2, Driver: cgroup.Cgroupfs, Kubepods: "/kubepods"}
	err := New(h, open(t, t.TempDir())).EnsureBatchBranch()
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error %v, want fs.ErrNotExist", err)
	}
	wantError(t, err, "making the batch branch")
}

// number is a knob's file of a group.
func number(t *testing.T, h cgroup.Host, group, file, value string) {
	t.Helper()
	if err := os.MkdirAll(h.Dir("", group), 0o750); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(h.Dir("", group), file), []byte(value), 0o600); err != nil {
		t.Fatal(err)
	}
}

// A plan that gives with one hand and takes with the other must not only give.
func TestWhatWidensIsHeldBackWhereTighteningFailed(t *testing.T) {
	h := host(t)
	const child, sibling = branch + "/5f3e", "/kubepods/burstable"
	for _, g := range []string{branch, child, sibling} {
		number(t, h, g, "pids.max", "100")
	}
	number(t, h, child, "cpu.idle", "00") // reads back as 10: what was wanted is not so
	widen := func(group string) qos.Change { return qos.Change{Group: group, Knob: qos.PIDsMax, Value: "900"} }
	results := New(h, open(t, t.TempDir())).Apply([]qos.Change{
		widen(branch), widen(child), widen(sibling), {Group: child, Knob: qos.CPUIdle, Value: "1"},
	})
	for _, r := range results {
		switch {
		case r.Change.Knob == qos.CPUIdle:
			if r.Err == nil {
				t.Error("the tightening worked: this test shows nothing")
			}
		case r.Change.Group == sibling:
			if r.Err != nil || r.ReadBack != "900" {
				t.Errorf("a group that is not related: %+v, want 900", r)
			}
		default:
			if !errors.Is(r.Err, ErrHeld) || r.Written {
				t.Errorf("widening %s: %+v, want it held back", r.Change.Group, r)
			}
		}
	}
}

func TestAWriteThatSomebodyElseUndidIsToldOf(t *testing.T) {
	h := host(t)
	a := New(h, open(t, t.TempDir()))
	apply := func() Result { return a.Apply([]qos.Change{change("1")})[0] }
	if r := apply(); r.Undone || r.Before != "0" || !r.Written {
		t.Errorf("the first write: %+v", r)
	}
	if r := apply(); r.Undone || r.Written || r.Err != nil || r.ReadBack != "1" {
		t.Errorf("a change that is so already: %+v, want nothing written", r)
	}
	set(t, h, branch, "0\n")
	if r := apply(); !r.Undone || !r.Written || r.Err != nil {
		t.Errorf("after somebody set it back: %+v, want it undone and written", r)
	}
}

func TestAValueOutOfRangeIsNotWritten(t *testing.T) {
	h := host(t)
	r := New(h, open(t, t.TempDir())).Apply([]qos.Change{change("7")})[0]
	wantError(t, r.Err, "cpu.idle", `"7"`, "0 to 1", branch)
	if r.Written {
		t.Error("it was written")
	}
	wantValue(t, h, branch, "0")
}

// The kernel sets the weight to its default when cpu.idle goes back to 0.
func TestTheWeightIsRememberedWithTheFlagThatMovesIt(t *testing.T) {
	h := host(t)
	number(t, h, branch, "cpu.weight", "37")
	a := New(h, open(t, t.TempDir()))
	a.Apply([]qos.Change{change("1")})
	number(t, h, branch, "cpu.weight", "99")
	if _, err := a.Release(); err != nil {
		t.Fatal(err)
	}
	if s, err := h.ReadSetting(branch, qos.CPUWeight); err != nil || s.Value != "37" {
		t.Errorf("cpu.weight %+v, %v, want 37", s, err)
	}
}

// Between looking at a group and writing to it, another one may have taken its name.
func TestAGroupThatTookTheNameOfAnotherIsNotWrittenTo(t *testing.T) {
	h := host(t)
	dir := h.Dir("", branch)
	id, err := inode(dir)
	if err != nil {
		t.Fatal(err)
	}
	writes := []cgroup.FileText{{File: "cpu.idle", Text: "1"}}
	if err := writeAll(step{dir: dir, id: id + 1}, writes); !errors.Is(err, ErrVanished) {
		t.Errorf("writing to another group: %v, want ErrVanished", err)
	}
	wantValue(t, h, branch, "0")
	if err := writeAll(step{dir: dir, id: id}, writes); err != nil {
		t.Error(err)
	}
	wantValue(t, h, branch, "1")
}
