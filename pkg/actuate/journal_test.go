package actuate

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/plimsoll/plimsoll/pkg/qos"
)

const branch = "/kubepods/plimsoll-batch"

func open(t *testing.T, dir string) *Journal {
	t.Helper()
	j, err := OpenJournal(dir)
	if err != nil {
		t.Fatal(err)
	}
	return j
}

func remember(t *testing.T, j *Journal, originals ...Original) {
	t.Helper()
	for _, o := range originals {
		if err := j.Remember(o); err != nil {
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
	first := Original{Group: branch, GroupID: 7, Knob: qos.CPUIdle, Value: "0"}
	second := Original{Group: branch + "/5f3e", GroupID: 8, Knob: qos.CPUIdle, Value: "1"}
	remember(t, open(t, dir), first, second)
	wantOriginals(t, open(t, dir), first, second)

	j := open(t, dir)
	if err := j.Clear(); err != nil {
		t.Fatal(err)
	}
	wantOriginals(t, open(t, dir))
}

// What comes after our first write is our own value: only the first is the original.
func TestOnlyTheFirstValueOfAGroupIsTheOriginal(t *testing.T) {
	dir := t.TempDir()
	j := open(t, dir)
	first := Original{Group: branch, GroupID: 7, Knob: qos.CPUIdle, Value: "0"}
	later := first
	later.Value = "1"
	remember(t, j, first, later)
	wantOriginals(t, j, first)
	wantOriginals(t, open(t, dir), first)
}

func TestAReCreatedGroupHasAnOriginalOfItsOwn(t *testing.T) {
	j := open(t, t.TempDir())
	old := Original{Group: branch, GroupID: 7, Knob: qos.CPUIdle, Value: "0"}
	other := Original{Group: branch, GroupID: 7, Knob: "cpu.quota", Value: "max"}
	recreated := Original{Group: branch, GroupID: 9, Knob: qos.CPUIdle, Value: "1"}
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
			_, err := OpenJournal(dir)
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
	f("of a later agent", `{"version":2,"originals":[]}`, "version 2", "this agent knows 1", "use the agent that wrote it")
	f("without a version", `{}`, "version 0")
}

func TestAJournalThatIsADirectoryIsRefused(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "journal.json"), 0o750); err != nil {
		t.Fatal(err)
	}
	_, err := OpenJournal(dir)
	wantError(t, err, "reading the journal", "is a directory")
}

func TestAStateDirectoryThatCannotBeMadeIsRefused(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := OpenJournal(filepath.Join(file, "state"))
	wantError(t, err, "making the state directory", file)
}

func TestWritingTheJournalLeavesNothingElseBehind(t *testing.T) {
	dir := t.TempDir()
	j := open(t, dir)
	remember(t, j, Original{Group: branch, GroupID: 7, Knob: qos.CPUIdle, Value: "0"})
	wantFiles(t, dir, "journal.json")

	// The new file cannot take the place of a directory that is not empty.
	if err := os.Remove(filepath.Join(dir, "journal.json")); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(dir, "journal.json/in-the-way"), 0o750); err != nil {
		t.Fatal(err)
	}
	err := j.Remember(Original{Group: branch, GroupID: 9, Knob: qos.CPUIdle, Value: "1"})
	wantError(t, err, "writing the journal")
	wantFiles(t, dir, "journal.json")
	wantOriginals(t, j, Original{Group: branch, GroupID: 7, Knob: qos.CPUIdle, Value: "0"})
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
	want := Original{Group: branch, GroupID: 7, Knob: qos.CPUIdle, Value: "0"}
	remember(t, j, want)
	j.Originals()[0].Value = "1"
	wantOriginals(t, j, want)
}
