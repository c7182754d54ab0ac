package cluster

import (
	"bufio"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/plimsoll/plimsoll/pkg/audit"
)

// testAuditLog wants the log of an agent that was killed, restarted, contradicted and released to be one
// chain that tells of each write.
func (n *node) testAuditLog(t *testing.T) {
	dir := filepath.Join(n.cluster.Dir(), "node", "varlib", "plimsoll", "audit")
	report, err := audit.Verify(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range report.Problems {
		t.Errorf("problem: %s", p)
	}
	files, err := filepath.Glob(filepath.Join(dir, "audit-*.jsonl"))
	if err != nil || len(files) == 0 {
		t.Fatalf("files %v, %v", files, err)
	}
	f, err := os.Open(files[0])
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	writes := map[string]int{}
	for lines := bufio.NewScanner(f); lines.Scan(); {
		t.Log(lines.Text())
		var r audit.Record
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			t.Fatal(err)
		}
		if r.Kind != audit.KindWrite {
			continue
		}
		if r.Group != n.host.BatchBranch() || r.Old == nil || r.ReadBack == nil || r.Error != "" || r.Why == "" || len(r.ConfigHash) != 64 {
			t.Errorf("record %+v, want a write of the branch with all that is known of it", r)
			continue
		}
		writes[r.Strategy+" "+r.Knob+" "+*r.Old+" to "+*r.ReadBack]++
		if r.Strategy == "batchidle" && (r.Node == "" || r.Inputs["setting.cpu.idle"] != "0") {
			t.Errorf("record %+v, want the node and the setting that it rested on", r)
		}
	}
	// One for each: set, and set again after somebody had set it back; and the release.
	if writes["batchidle cpu.idle 0 to 1"] != 2 || writes["release cpu.idle 1 to 0"] != 1 {
		t.Errorf("writes %v, want cpu.idle set twice and released once", writes)
	}
}
