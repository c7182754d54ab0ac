package actuate

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/plimsoll/plimsoll/pkg/cgroup"
	"github.com/plimsoll/plimsoll/pkg/qos"
)

const branch = "/kubepods/plimsoll-batch"

// boot is the boot of the tests.
const boot = "b0075e55-1111-4222-8333-444455556666"

// open opens a journal until the test ends, or it is opened again.
func open(t *testing.T, dir string) *Journal {
	t.Helper()
	j, err := OpenJournal(dir, boot)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = j.Close() }) // it may be closed
	return j
}

// reopen opens a journal as the next agent does.
func reopen(t *testing.T, j *Journal) *Journal {
	t.Helper()
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	return open(t, filepath.Dir(j.Path()))
}

func remember(t *testing.T, j *Journal, originals ...Original) {
	t.Helper()
	for _, o := range originals {
		if err := j.Remember([]Original{o}, nil); err != nil {
			t.Fatal(err)
		}
	}
}

func wantOriginals(t *testing.T, j *Journal, want ...Original) {
	t.Helper()
	if diff := cmp.Diff(want, j.Originals()); diff != "" {
		t.Errorf("originals (-want +got):\n%s", diff)
	}
}

func wantError(t *testing.T, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want one with %q", parts)
	}
	for _, p := range parts {
		if !strings.Contains(err.Error(), p) {
			t.Errorf("error %q does not say %q", err, p)
		}
	}
}

func TestTheJournalOutlivesTheAgent(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "made/if/missing")
	first := Original{Group: branch, GroupID: 7, Knob: qos.CPUIdle, Raw: cgroup.Raw{"0"}}
	second := Original{Group: branch + "/5f3e", GroupID: 8, Knob: qos.CPUIdle, Raw: cgroup.Raw{"1"}}
	j := open(t, dir)
	if !j.Missing() {
		t.Error("a journal that was not there is not missing")
	}
	remember(t, j, first, second)
	j = reopen(t, j)
	wantOriginals(t, j, first, second)
	if j.Missing() {
		t.Error("a journal that is there is missing")
	}
	if err := j.Clear(); err != nil {
		t.Fatal(err)
	}
	wantOriginals(t, reopen(t, j))
}

// What comes after our first write is our own value: only the first is the original.
func TestOnlyTheFirstValueOfAGroupIsTheOriginal(t *testing.T) {
	dir := t.TempDir()
	j := open(t, dir)
	first := Original{Group: branch, GroupID: 7, Knob: qos.CPUIdle, Raw: cgroup.Raw{"0"}}
	later := first
	later.Raw = cgroup.Raw{"1"}
	remember(t, j, first, later)
	wantOriginals(t, j, first)
	wantOriginals(t, reopen(t, j), first)
}

func TestAReCreatedGroupHasAnOriginalOfItsOwn(t *testing.T) {
	j := open(t, t.TempDir())
	old := Original{Group: branch, GroupID: 7, Knob: qos.CPUIdle, Raw: cgroup.Raw{"0"}}
	other := Original{Group: branch, GroupID: 7, Knob: "cpu.quota", Raw: cgroup.Raw{"max"}}
	recreated := Original{Group: branch, GroupID: 9, Knob: qos.CPUIdle, Raw: cgroup.Raw{"1"}}
	remember(t, j, old, other, recreated)
	wantOriginals(t, j, other, recreated)
}

func TestAJournalThatCannotBeUnderstoodIsRefusedAndLeftAlone(t *testing.T) {
	f := func(name, text string, want ...string) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			file := filepath.Join(dir, "journal.json")
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := OpenJournal(dir, boot)
			wantError(t, err, append(want, file)...)
			b, err := os.ReadFile(file)
			if err != nil || string(b) != text {
				t.Errorf("the file is now %q, %v, want %q", b, err, text)
			}
		})
	}
	remedy := "restore it from a backup, or move it away"
	f("cut off", `{"version":1,"originals":[{"group":"/kubepods/pl`, remedy)
	f("empty", "", remedy)
	f("garbage", "\x00\x00\x00\x00", remedy)
	f("two values", `{"version":1} {"version":1}`, remedy)
	f("of another type", `{"version":1,"originals":{"a":"b"}}`, remedy)
	f("two values of this version", `{"version":2} {"version":2}`, remedy)
	f("of a later agent", `{"version":3,"originals":[]}`, "version 3", "this agent knows up to 2", "use the agent that wrote it")
	f("without a version", `{}`, "version 0")
	f("a path that leads elsewhere", `{"version":2,"originals":[{"group":"/a/../../etc","groupID":1,"knob":"cpu.idle","raw":["0"]}]}`, "originals[0]", remedy)
	f("without a value", `{"version":2,"originals":[{"group":"/a","groupID":1,"knob":"cpu.idle"}]}`, "originals[0]", remedy)
}

// A power cut may tear what was not waited for until it was on the disk; the groups ended with it.
func TestATornJournalOfAnotherBootIsDropped(t *testing.T) {
	dir := t.TempDir()
	before, err := OpenJournal(dir, "another-boot")
	if err != nil {
		t.Fatal(err)
	}
	remember(t, before, Original{Group: branch, GroupID: 7, Knob: qos.CPUIdle, Raw: cgroup.Raw{"0"}})
	if err := before.Close(); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "journal.json")
	tear := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	tear(`{"version":3}`)
	_, err = OpenJournal(dir, boot)
	wantError(t, err, "version 3") // whatever boot it is of
	tear("")
	if read, err := ReadJournal(dir, boot); err != nil || !read.Torn() {
		t.Errorf("ReadJournal: torn %v, %v, want true", err == nil && read.Torn(), err)
	}
	j := open(t, dir)
	wantOriginals(t, j)
	if !j.Torn() {
		t.Error("the journal is not torn")
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	// Nothing of this boot tears it.
	_, err = OpenJournal(dir, boot)
	wantError(t, err, "cut off or damaged", file)
}

func TestAJournalThatIsADirectoryIsRefused(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "journal.json"), 0o750); err != nil {
		t.Fatal(err)
	}
	_, err := OpenJournal(dir, boot)
	wantError(t, err, "reading the journal", "is a directory")
}

func TestAStateDirectoryThatCannotBeMadeIsRefused(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := OpenJournal(filepath.Join(file, "state"), boot)
	wantError(t, err, "making the state directory", file)
}

func TestWritingTheJournalLeavesNothingElseBehind(t *testing.T) {
	dir := t.TempDir()
	j := open(t, dir)
	remember(t, j, Original{Group: branch, GroupID: 7, Knob: qos.CPUIdle, Raw: cgroup.Raw{"0"}})
	wantFiles(t, dir, "journal.json", "journal.lock")

	// The new file cannot take the place of a directory that is not empty.
	if err := os.Remove(filepath.Join(dir, "journal.json")); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(dir, "journal.json/in-the-way"), 0o750); err != nil {
		t.Fatal(err)
	}
	err := j.Remember([]Original{{Group: branch, GroupID: 9, Knob: qos.CPUIdle, Raw: cgroup.Raw{"1"}}}, nil)
	wantError(t, err, "writing the journal")
	wantFiles(t, dir, "journal.json", "journal.lock")
	wantOriginals(t, j, Original{Group: branch, GroupID: 7, Knob: qos.CPUIdle, Raw: cgroup.Raw{"0"}})
}

func wantFiles(t *testing.T, dir string, want ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}

func TestOriginalsCannotBeChangedFromOutside(t *testing.T) {
	j := open(t, t.TempDir())
	want := Original{Group: branch, GroupID: 7, Knob: qos.CPUIdle, Raw: cgroup.Raw{"0"}}
	remember(t, j, want)
	j.Originals()[0].Group = "/other"
	wantOriginals(t, j, want)
}

func TestWhatAKilledAgentLeftHalfWrittenIsRemoved(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, ".journal-123"), []byte(`{"ver`), 0o600); err != nil {
		t.Fatal(err)
	}
	wantOriginals(t, open(t, dir))
	wantFiles(t, dir, "journal.lock")
}

func TestTheJournalOfTheFirstVersionIsRead(t *testing.T) {
	dir := t.TempDir()
	text := `{"version":1,"originals":[{"group":"` + branch + `","groupID":7,"knob":"cpu.idle","value":"0"}]}`
	if err := os.WriteFile(filepath.Join(dir, "journal.json"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	wantOriginals(t, open(t, dir), Original{Group: branch, GroupID: 7, Knob: qos.CPUIdle, Raw: cgroup.Raw{"0"}})
}

// After a reboot the groups are gone, and others may have their numbers.
func TestOriginalsOfAnotherBootAreDroppedAndCounted(t *testing.T) {
	dir := t.TempDir()
	j, err := OpenJournal(dir, "another-boot")
	if err != nil {
		t.Fatal(err)
	}
	remember(t, j, Original{Group: branch, GroupID: 7, Knob: qos.CPUIdle, Raw: cgroup.Raw{"0"}})
	j = reopen(t, j)
	wantOriginals(t, j)
	if j.OtherBoot() != 1 {
		t.Errorf("%d originals of another boot, want 1", j.OtherBoot())
	}
	fresh := Original{Group: branch, GroupID: 7, Knob: qos.CPUIdle, Raw: cgroup.Raw{"1"}}
	remember(t, j, fresh)
	wantOriginals(t, reopen(t, j), fresh)
}

func TestOneProcessHasTheJournal(t *testing.T) {
	j := open(t, t.TempDir())
	_, err := OpenJournal(filepath.Dir(j.Path()), boot)
	if !errors.Is(err, ErrJournalLocked) {
		t.Errorf("opening it twice: %v, want ErrJournalLocked", err)
	}
	wantError(t, err, j.Path(), "end that one first")
	reopen(t, j)
}

func TestOriginalsOfGroupsThatAreGoneAreDropped(t *testing.T) {
	j := open(t, t.TempDir())
	gone := Original{Group: branch + "/gone", GroupID: 8, Knob: qos.CPUIdle, Raw: cgroup.Raw{"0"}}
	there := Original{Group: branch, GroupID: 7, Knob: qos.CPUIdle, Raw: cgroup.Raw{"0"}}
	fresh := Original{Group: branch + "/new", GroupID: 9, Knob: qos.CPUIdle, Raw: cgroup.Raw{"0"}}
	remember(t, j, gone, there)
	if err := j.Remember([]Original{fresh}, func(o Original) bool { return o.Group == gone.Group }); err != nil {
		t.Fatal(err)
	}
	wantOriginals(t, reopen(t, j), there, fresh)
}

func TestWhichBootThisIsComesFromTheKernel(t *testing.T) {
	id, err := BootID("/proc")
	if err != nil || len(id) != len(boot) {
		t.Errorf("BootID = %q, %v, want the length of %q", id, err, boot)
	}
	_, err = BootID(t.TempDir())
	wantError(t, err, "reading which boot this is", "boot_id")
}

// Whatever is in the file, opening it gives originals with a group, a knob and a value, or an error.
func FuzzAnythingInTheJournalIsAnErrorOrWhole(f *testing.F) {
	f.Add([]byte(`{"version":2,"bootID":"` + boot + `","originals":[{"group":"/a","groupID":1,"knob":"cpu.idle","raw":["0"]}]}`))
	f.Add([]byte(`{"version":1,"originals":[{"group":"/a","groupID":1,"knob":"cpu.idle","value":"0"}]}`))
	f.Add([]byte(`{"version":2,"originals":null}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		originals, _, err := decodeJournal(data)
		if err != nil && originals != nil {
			t.Fatalf("originals %v beside the error %v", originals, err)
		}
		for _, o := range originals {
			if !strings.HasPrefix(o.Group, "/") || o.Knob == "" || len(o.Raw) == 0 {
				t.Fatalf("original %+v", o)
			}
		}
	})
}
