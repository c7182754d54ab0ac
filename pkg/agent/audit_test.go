package agent

import (
	"bufio"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/plimsoll/plimsoll/pkg/api/v1alpha1"
	"github.com/plimsoll/plimsoll/pkg/audit"
	"github.com/plimsoll/plimsoll/pkg/qos"
	"github.com/plimsoll/plimsoll/pkg/usage"
)

func newTestAuditor(t *testing.T) *auditor {
	t.Helper()
	a, err := openAudit(Options{NodeName: "node-7", StateDir: t.TempDir(), Config: v1alpha1.DefaultAgentConfiguration()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = a.log.Close() }) // it may be closed
	return a
}

// records reads the audit log of an auditor, and verifies it.
func records(t *testing.T, a *auditor, dir string) []audit.Record {
	t.Helper()
	if err := a.log.Sync(); err != nil {
		t.Fatal(err)
	}
	report, err := audit.Verify(dir)
	if err != nil || len(report.Problems) > 0 {
		t.Fatalf("audit log: %v, %+v", err, report)
	}
	files, err := filepath.Glob(filepath.Join(dir, "audit-*.jsonl"))
	if err != nil || len(files) != 1 {
		t.Fatalf("files %v, %v, want one", files, err)
	}
	f, err := os.Open(files[0])
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var all []audit.Record
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var r audit.Record
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			t.Fatal(err)
		}
		all = append(all, r)
	}
	return all
}

func TestEachWriteIsInTheAuditLogWithWhatItRestedOn(t *testing.T) {
	tree := newTree(t)
	l := newTestLoop(t, tree, v1alpha1.ModeEnforce)
	dir := t.TempDir()
	var err error
	if l.actor.auditor, err = openAudit(Options{NodeName: "node-7", StateDir: "/nowhere", AuditDir: dir, Config: l.config}); err != nil {
		t.Fatal(err)
	}
	for i := range 3 { // the second and the third find it so
		l.tick(at.Add(time.Duration(i) * time.Second))
	}
	got := records(t, l.actor.auditor, dir)
	if len(got) != 1 {
		t.Fatalf("%d records, want 1: %+v", len(got), got)
	}
	old, wanted := "0", "1"
	want := audit.Entry{
		Time: at.UTC(), Kind: audit.KindWrite, Node: "node-7", Group: "/kubepods/plimsoll-batch", Knob: "cpu.idle",
		Old: &old, New: &wanted, ReadBack: &wanted, Strategy: "batchidle", Why: "batch runs only when no online task wants the CPU",
		Inputs: got[0].Inputs, ConfigHash: l.actor.auditor.configHash,
	}
	if diff := cmp.Diff(want, got[0].Entry); diff != "" {
		t.Errorf("entry (-want +got):\n%s", diff)
	}
	if got[0].Inputs["setting.cpu.idle"] != "0" || len(want.ConfigHash) != 64 {
		t.Errorf("inputs %v, hash %q, want the setting of 0 and a hash", got[0].Inputs, want.ConfigHash)
	}
}

func TestObserveLeavesTheAuditLogEmpty(t *testing.T) {
	tree := newTree(t)
	l := newTestLoop(t, tree, v1alpha1.ModeObserve)
	l.tick(at)
	if last := l.actor.auditor.log.Last(); last.Sequence != 0 {
		t.Errorf("%d records, want none", last.Sequence)
	}
}

func TestARefusalIsRecordedOnceHoweverOftenItIsTried(t *testing.T) {
	tree := newTree(t)
	l := newTestLoop(t, tree, v1alpha1.ModeEnforce)
	tree.write(tree.host.FSRoot, "kubepods/plimsoll-batch/cpu.idle", "00") // it will read back as 10
	for i := range 4 {
		l.tick(at.Add(time.Duration(i) * time.Second))
		tree.write(tree.host.FSRoot, "kubepods/plimsoll-batch/cpu.idle", "00")
	}
	if last := l.actor.auditor.log.Last(); last.Sequence != 1 {
		t.Errorf("%d records, want 1", last.Sequence)
	}
}

func TestWhoeverUndoesAWriteAgainAndAgainIsToldOf(t *testing.T) {
	tree := newTree(t)
	l := newTestLoop(t, tree, v1alpha1.ModeEnforce)
	l.tick(at)
	held := func(now time.Time) metav1.ConditionStatus { return settingsHold(l.actor.contests.describe(now)).Status }
	now := at
	for i, want := range []metav1.ConditionStatus{metav1.ConditionTrue, metav1.ConditionTrue, metav1.ConditionFalse} {
		tree.write(tree.host.FSRoot, "kubepods/plimsoll-batch/cpu.idle", "0\n")
		now = at.Add(time.Duration(i+1) * time.Second)
		l.tick(now)
		if got := tree.idle(); got != "1" {
			t.Errorf("cpu.idle is %s a tick after it was undone, want 1", got)
		}
		if got := held(now); got != want {
			t.Errorf("after %d undoings the settings hold: %s, want %s", i+1, got, want)
		}
	}
	message := settingsHold(l.actor.contests.describe(now)).Message
	for _, part := range []string{"cpu.idle of /kubepods/plimsoll-batch", "3 times", "nobody on the batch branch"} {
		if !strings.Contains(message, part) {
			t.Errorf("message %q does not say %q", message, part)
		}
	}
	if got := testutil.ToFloat64(l.metrics.undone.WithLabelValues("batchidle", "cpu.idle")); got != 3 {
		t.Errorf("undone %v times, want 3", got)
	}
	if got := held(now.Add(contestWindow)); got != metav1.ConditionTrue {
		t.Errorf("ten minutes later the settings hold: %s, want True", got)
	}
}

func TestInputsAreWhatWasMeasured(t *testing.T) {
	s := qos.State{
		Blind: true, Node: usage.Rates{MilliCPU: usage.Of(1500)},
		Groups: []qos.Group{
			{Path: "/other", Rates: usage.Rates{MilliCPU: usage.Of(7)}},
			{Path: "/b", Rates: usage.Rates{CPUSomePermille: usage.Of(12)}, Settings: map[qos.Knob]qos.Setting{qos.CPUIdle: {Value: "0", OK: true}, qos.CPUQuota: {}}},
		},
	}
	got := inputsOf(s, qos.Change{Group: "/b", Inputs: "online.milliCPU=900 targetPermille=5"})
	want := map[string]string{
		"blind": "true", "node.milliCPU": "1500", "group.cpuSomePermille": "12", "setting.cpu.idle": "0",
		"online.milliCPU": "900", "targetPermille": "5",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("inputs (-want +got):\n%s", diff)
	}
}

func TestThePodOfAGroupIsNamed(t *testing.T) {
	r := reading{Pods: []pod{
		{UID: "u1", Info: podInfo{Namespace: "pay", Name: "api-1"}, Key: usage.GroupKey{Path: "/k/podu1"}},
		{UID: "u2", Key: usage.GroupKey{Path: "/k/podu2"}, BatchContainers: []usage.GroupKey{{Path: "/k/plimsoll-batch/c2"}}},
	}}
	f := func(group, want string) {
		t.Helper()
		if got := r.podName(group); got != want {
			t.Errorf("podName(%q) = %q, want %q", group, got, want)
		}
	}
	f("/k/podu1", "pay/api-1 (u1)")
	f("/k/podu1/c1", "pay/api-1 (u1)")
	f("/k/plimsoll-batch/c2", "(u2)")
	f("/k/plimsoll-batch", "")
	f("/k/podu11", "")
}
