package actuate

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/plimsoll/plimsoll/pkg/cgroup"
	"github.com/plimsoll/plimsoll/pkg/qos"
)

// recordedBoot is the boot that the recorded journals are of.
const recordedBoot = "11111111-2222-3333-4444-555555555555"

// testdata/journal-N.json is what an agent of format N wrote; the recordings are never changed. An agent that
// writes another format has another number, and adds its file.
func TestTheJournalOfEveryFormatIsRead(t *testing.T) {
	const group, id = "/kubepods/plimsoll-batch", 11233698
	idle := Original{Group: group, GroupID: id, Knob: qos.CPUIdle, Raw: cgroup.Raw{"0"}}
	weight := Original{Group: group, GroupID: id, Knob: qos.CPUWeight, Raw: cgroup.Raw{"1024"}}
	want := map[int][]Original{1: {idle}, 2: {weight, idle}}
	for version := 1; version <= journalVersion; version++ {
		t.Run(fmt.Sprint("format ", version), func(t *testing.T) {
			recorded, err := os.ReadFile(filepath.Join("testdata", fmt.Sprintf("journal-%d.json", version)))
			if err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			file := filepath.Join(dir, "journal.json")
			if err := os.WriteFile(file, recorded, 0o600); err != nil {
				t.Fatal(err)
			}
			j, err := OpenJournal(dir, recordedBoot)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = j.Close() }()
			if diff := cmp.Diff(want[version], j.Originals()); diff != "" {
				t.Errorf("originals (-want +got):\n%s", diff)
			}
			// The newest is what this agent would have written: an agent of before could read it, or refuses its number.
			if err := j.save(j.Originals()); err != nil {
				t.Fatal(err)
			}
			written, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if version == journalVersion && !bytes.Equal(recorded, written) {
				t.Errorf("the format changed, and its number %d did not (-recorded +written):\n%s", journalVersion, cmp.Diff(string(recorded), string(written)))
			}
		})
	}
}
