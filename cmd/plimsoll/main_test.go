package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/plimsoll/plimsoll/pkg/audit"
)

// plimsoll runs the command line, and gives its exit code and what it printed.
func plimsoll(t *testing.T, args ...string) (code int, out, problems string) {
	t.Helper()
	var o, p bytes.Buffer
	code = run(t.Context(), args, &o, &p)
	return code, o.String(), p.String()
}

func auditLog(t *testing.T, records int) (dir string) {
	t.Helper()
	dir = t.TempDir()
	l, err := audit.Open(audit.Options{Dir: dir, MaxFileBytes: 1 << 20, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	for range records {
		l.Append(audit.Entry{Time: time.Now(), Kind: audit.KindWrite, Group: "/g", Why: "because"})
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestAuditVerifyEndsWith0ForAnIntactLogAnd1ForAnother(t *testing.T) {
	dir := auditLog(t, 3)
	code, out, problems := plimsoll(t, "audit", "verify", dir)
	if code != 0 || problems != "" || !strings.Contains(out, dir+": intact: 3 records in 1 files\nlast record: 3:") || strings.Contains(out, "\x1b") {
		t.Errorf("an intact log: %d, %q, %q", code, out, problems)
	}
	file := filepath.Join(dir, "audit-00000000000000000001.jsonl")
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, bytes.Replace(b, []byte("because"), []byte("whatever"), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	code, out, problems = plimsoll(t, "audit", "verify", dir)
	if code != 1 || problems != "" || !strings.Contains(out, "problem: audit-00000000000000000001.jsonl:1: record 1 is not as it was written") {
		t.Errorf("an edited log: %d, %q, %q", code, out, problems)
	}
	code, out, _ = plimsoll(t, "audit", "verify", "-o", "json", dir)
	var r audit.Report
	if err := json.Unmarshal([]byte(out), &r); err != nil || code != 1 || len(r.Problems) != 1 || r.Problems[0].Line != 1 {
		t.Errorf("an edited log as JSON: %d, %v, %+v", code, err, r)
	}
}

func TestWhatCannotBeReadOrMeantEndsWith2AndARemedy(t *testing.T) {
	f := func(part string, args ...string) {
		t.Helper()
		code, out, problems := plimsoll(t, args...)
		if code != 2 || out != "" || !strings.Contains(problems, part) {
			t.Errorf("%q: %d, %q, %q, want 2 and %q", args, code, out, problems, part)
		}
	}
	f("--audit-dir", "audit", "verify", t.TempDir())
	f("--audit-dir", "audit", "verify", "/nowhere")
	f("want text or json", "audit", "verify", "-o", "yaml", auditLog(t, 1))
	f("want SEQUENCE:HASH", "audit", "verify", "--anchor", "7", auditLog(t, 1))
	f("unknown command", "frobnicate")
	f("accepts at most 1 arg", "audit", "verify", "a", "b")
}
