package agent

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/plimsoll/plimsoll/pkg/actuate"
	"github.com/plimsoll/plimsoll/pkg/api/v1alpha1"
	"github.com/plimsoll/plimsoll/pkg/audit"
)

func TestAReleaseIsInTheAuditLogAndCanBeRunAgain(t *testing.T) {
	tree := newTree(t)
	o := Options{
		NodeName: "node-7", ProcRoot: tree.host.ProcRoot,
		StateDir: t.TempDir(), Config: v1alpha1.DefaultAgentConfiguration(),
	}
	tree.proc("sys/kernel/random/boot_id", "a-boot\n")
	done, err := release(o, tree.host)
	if err != nil || len(done.Results) != 0 || len(done.Notes) != 1 || !strings.Contains(done.Notes[0], "there is no "+o.StateDir) {
		t.Fatalf("without a journal: %+v, %v, want a note", done, err)
	}

	journal, err := openJournal(o)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := release(o, tree.host); !errors.Is(err, actuate.ErrJournalLocked) {
		t.Errorf("while an agent runs: %v, want ErrJournalLocked", err)
	}
	l := newTestLoop(t, tree, v1alpha1.ModeEnforce)
	l.actor.actuator = actuate.New(tree.host, journal)
	l.tick(at)
	if err := journal.Close(); err != nil {
		t.Fatal(err)
	}
	// An empty branch of plain files cannot be removed as one of the kernel's can.
	tree.write(tree.host.FSRoot, "kubepods/plimsoll-batch/c1/cpu.idle", "0\n")
	for i, want := range []int{1, 0} {
		done, err = release(o, tree.host)
		if err != nil || len(done.Results) != want || tree.idle() != "0" {
			t.Fatalf("release %d: %+v, %v, cpu.idle %s, want %d results and 0", i+1, done, err, tree.idle(), want)
		}
	}
	report, err := audit.Verify(filepath.Join(o.StateDir, "audit"))
	if err != nil || len(report.Problems) > 0 || report.Records != 1 {
		t.Errorf("audit log %+v, %v, want one record", report, err)
	}
	b, err := os.ReadFile(filepath.Join(o.StateDir, "audit", "audit-00000000000000000001.jsonl"))
	if err != nil || !strings.Contains(string(b), `"strategy":"release"`) || !strings.Contains(string(b), `"old":"1","new":"0","readBack":"0"`) {
		t.Errorf("audit log %s, %v, want the release", b, err)
	}
}
