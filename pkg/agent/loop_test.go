package agent

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/plimsoll/plimsoll/pkg/actuate"
	"github.com/plimsoll/plimsoll/pkg/api/v1alpha1"
	"github.com/plimsoll/plimsoll/pkg/cgroup"
	"github.com/plimsoll/plimsoll/pkg/qos"
	"github.com/plimsoll/plimsoll/pkg/runtimehook"
	"github.com/plimsoll/plimsoll/pkg/usage"
)

// noPods knows no pod, as while the API server and the container runtime are both silent.
type noPods struct{}

func (noPods) byUID(string) (podInfo, bool)         { return podInfo{}, false }
func (noPods) podOfContainer(string) (string, bool) { return "", false }
func (noPods) loans() map[string]v1alpha1.Resources { return nil }
func (noPods) batchPod(string) (batchPod, bool)     { return batchPod{}, false }
func (noPods) changes() uint64                      { return 0 }
func (noPods) told() bool                           { return false }

// aTree is a cgroup v2 tree of plain files; what the kernel makes of writes is tested on real groups.
type aTree struct {
	t    *testing.T
	host cgroup.Host
}

func newTree(t *testing.T) aTree {
	tree := aTree{t, cgroup.Host{ProcRoot: t.TempDir(), FSRoot: t.TempDir(), Mode: cgroup.V2, Driver: cgroup.Cgroupfs, Kubepods: "/kubepods"}}
	tree.proc("stat", "cpu  100 0 0 900 0 0 0 0 0 0\ncpu0 100 0 0 900 0 0 0 0 0 0\n")
	tree.proc("meminfo", "MemTotal: 1000 kB\nMemAvailable: 600 kB\n")
	tree.group("/kubepods")
	tree.group("/kubepods/plimsoll-batch")
	tree.write(tree.host.FSRoot, "kubepods/plimsoll-batch/cpu.idle", "0\n")
	tree.group("/kubepods/burstable/podone")
	return tree
}

func (a aTree) write(root, name, text string) {
	a.t.Helper()
	file := filepath.Join(root, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(text), 0o644)); err != nil {
		a.t.Fatal(err)
	}
}

func (a aTree) proc(name, text string) { a.write(a.host.ProcRoot, name, text) }

func (a aTree) group(path string) {
	a.write(a.host.FSRoot, path+"/cpu.stat", "usage_usec 1\n")
	a.write(a.host.FSRoot, path+"/memory.current", "4096\n")
	a.write(a.host.FSRoot, path+"/memory.stat", "inactive_file 96\n")
}

func (a aTree) idle() string {
	a.t.Helper()
	b, err := os.ReadFile(filepath.Join(a.host.FSRoot, "kubepods/plimsoll-batch/cpu.idle"))
	if err != nil {
		a.t.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}

func newTestLoop(t *testing.T, tree aTree, mode v1alpha1.Mode) *loop {
	t.Helper()
	config := v1alpha1.DefaultAgentConfiguration()
	config.Strategies[0].Mode = mode
	config.BlindAfterFailures = 3
	strategies, err := buildStrategies(config)
	if err != nil {
		t.Fatal(err)
	}
	journal, err := actuate.OpenJournal(t.TempDir(), "a-boot")
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	m := newMetrics()
	actuator := actuate.New(tree.host, journal)
	l := &loop{
		config:  config,
		sensor:  newSensor(tree.host, strategies, noPods{}),
		meter:   usage.NewMeter(10 * time.Second),
		actor:   newActor(strategies, actuator, m, newTestAuditor(t), log),
		hook:    runtimehook.New(runtimehook.Options{Log: log}),
		pub:     &publisher{waiting: make(chan *v1alpha1.NodeUtilizationStatus, 1)},
		metrics: m, health: &health{}, log: log, actuator: actuator,
		windows: newClassWindows(time.Second), pods: newPodWindows(), workloads: newWorkloads(), lending: newLending(config.Lending, 5*time.Second, nil), saver: newSaver(t.TempDir()),
		publishRule: PublishRule(config.Publish), branch: newBranchKeeper(tree.host),
		fixed: v1alpha1.NodeUtilizationStatus{CgroupMode: string(tree.host.Mode)},
	}
	t.Cleanup(l.close)
	return l
}

func TestTheStateIsRecordedInTheTickAfterTheRequestAndOnlyThen(t *testing.T) {
	l := newTestLoop(t, newTree(t), v1alpha1.ModeEnforce)
	l.stateDir, l.nodeName = t.TempDir(), "n1"
	l.tick(at)
	if _, err := os.ReadFile(RecordedStatePath(l.stateDir)); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("recorded without a request: %v", err)
	}
	if err := os.WriteFile(filepath.Join(l.stateDir, wantedStateFile), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for i := 1; i <= 2; i++ {
		l.tick(at.Add(time.Duration(i) * time.Second))
	}
	data, err := os.ReadFile(RecordedStatePath(l.stateDir))
	if err != nil {
		t.Fatal(err)
	}
	got, err := qos.ParseRecording(data)
	if err != nil {
		t.Fatal(err)
	}
	if want := at.Add(time.Second); !got.State.Now.Equal(want) || got.Node != "n1" || len(got.State.Groups) == 0 || got.Strategies[0].Mode != "Enforce" {
		t.Errorf("recorded %+v, want node n1 and its groups at %v", got, want)
	}
}

func TestEnforceWritesOnceAndObserveNever(t *testing.T) {
	for mode, want := range map[v1alpha1.Mode]struct {
		idle    string
		outcome v1alpha1.Outcome
	}{
		v1alpha1.ModeEnforce: {"1", v1alpha1.OutcomeApplied},
		v1alpha1.ModeObserve: {"0", v1alpha1.OutcomeObserved},
	} {
		t.Run(string(mode), func(t *testing.T) {
			tree := newTree(t)
			l := newTestLoop(t, tree, mode)
			for i := range 3 {
				l.tick(at.Add(time.Duration(i) * time.Second))
			}
			if got := tree.idle(); got != want.idle {
				t.Errorf("cpu.idle = %s, want %s", got, want.idle)
			}
			if len(l.actor.changes) != 1 || l.actor.changes[0].Outcome != want.outcome {
				t.Errorf("changes %+v, want one that is %s", l.actor.changes, want.outcome)
			}
		})
	}
}

func TestASettingThatSomebodyElseChangedIsSetAgain(t *testing.T) {
	tree := newTree(t)
	l := newTestLoop(t, tree, v1alpha1.ModeEnforce)
	l.tick(at)
	tree.write(tree.host.FSRoot, "kubepods/plimsoll-batch/cpu.idle", "0\n")
	l.tick(at.Add(time.Second))
	if got := tree.idle(); got != "1" {
		t.Errorf("cpu.idle = %s after it was changed from outside, want 1", got)
	}
	if len(l.actor.changes) != 2 {
		t.Errorf("%d changes told of, want both", len(l.actor.changes))
	}
}

func TestWhenTheNodeCannotBeReadSettingsHoldAndThenTheProtectingPlanApplies(t *testing.T) {
	tree := newTree(t)
	l := newTestLoop(t, tree, v1alpha1.ModeEnforce)
	l.tick(at)
	tree.proc("stat", "garbage\n")
	tree.write(tree.host.FSRoot, "kubepods/plimsoll-batch/cpu.idle", "0\n")

	for i, want := range []string{"0", "0", "1", "1"} { // blind from the third failure on
		l.tick(at.Add(time.Duration(i+1) * time.Second))
		if got := tree.idle(); got != want {
			t.Errorf("after %d failed readings cpu.idle = %s, want %s", i+1, got, want)
		}
	}
	for result, want := range map[string]float64{"ok": 1, "error": 2, "blind": 2} {
		if got := testutil.ToFloat64(l.metrics.ticks.WithLabelValues(result)); got != want {
			t.Errorf("ticks with result %s: %v, want %v", result, got, want)
		}
	}
	tree.proc("stat", "cpu  100 0 0 900 0 0 0 0 0 0\ncpu0 100 0 0 900 0 0 0 0 0 0\n")
	l.tick(at.Add(time.Minute))
	if l.failures != 0 {
		t.Errorf("%d failures remembered after a good reading", l.failures)
	}
}

func TestAGroupWhoseFilesVanishedIsSkippedAndCounted(t *testing.T) {
	tree := newTree(t)
	l := newTestLoop(t, tree, v1alpha1.ModeObserve)
	l.tick(at)
	if err := os.Remove(filepath.Join(tree.host.FSRoot, "kubepods/burstable/podone/cpu.stat")); err != nil {
		t.Fatal(err)
	}
	l.sensor.reader.Close() // the kernel closes what is held of a removed group; files of a test stay readable
	r, err := l.sensor.sense(at.Add(time.Second))
	if err != nil {
		t.Fatal(err)
	}
	if r.Skipped != 1 || len(r.Pods) != 0 {
		t.Errorf("skipped %d groups and kept %d pods, want 1 and 0", r.Skipped, len(r.Pods))
	}
}

func TestConditionsFollowWhatWasReadBack(t *testing.T) {
	branch := usage.GroupKey{Path: "/b", ID: 1}
	with := func(s qos.Setting) reading {
		return reading{Branch: branch, Settings: map[string]map[qos.Knob]qos.Setting{"/b": {qos.CPUIdle: s}}}
	}
	got := map[string]string{}
	for name, r := range map[string]reading{
		"in force":    with(qos.Setting{Value: "1", OK: true}),
		"lost":        with(qos.Setting{Value: "0", OK: true}),
		"unsupported": with(qos.Setting{Unsupported: true}),
		"unread":      with(qos.Setting{}),
		"no branch":   {},
	} {
		got[name] = batchProtected(r, v1alpha1.ModeEnforce).Reason
	}
	want := map[string]string{"in force": "CPUIdle", "lost": "NotInForce", "unsupported": "KernelLacksCPUIdle", "unread": "NotInForce", "no branch": "NoBatchBranch"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("reasons (-want +got):\n%s", diff)
	}
}
