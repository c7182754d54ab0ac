package agent

import (
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/plimsoll/plimsoll/pkg/api/v1alpha1"
	"github.com/plimsoll/plimsoll/pkg/audit"
	"github.com/plimsoll/plimsoll/pkg/qos"
)

// lentPod knows one batch pod, which was lent a core and has one container in the batch branch.
type lentPod struct{ noPods }

func (lentPod) byUID(uid string) (podInfo, bool) {
	return podInfo{Namespace: "jobs", Name: "report", Class: v1alpha1.ClassBatch, Lent: v1alpha1.Resources{MilliCPU: 1000}}, uid == "one"
}

func (lentPod) podOfContainer(id string) (string, bool) { return "one", id == "c1" }

// evictAll is a strategy that evicts every batch pod it sees, and keeps what it saw.
func evictAll(saw *[]qos.BatchPod) qos.Strategy {
	return qos.Strategy{Name: "test", Step: func(s qos.State) qos.Plan {
		*saw = s.BatchPods
		var p qos.Plan
		for _, b := range s.BatchPods {
			p.Evictions = append(p.Evictions, qos.Eviction{Pod: b, Reason: "to see what becomes of it", Inputs: "x=1"})
		}
		return p
	}}
}

// newEvictingLoop has a tree in which the pod's own group has used a second of CPU and its container in the branch two.
func newEvictingLoop(t *testing.T, mode v1alpha1.Mode, saw *[]qos.BatchPod) (*loop, aTree) {
	t.Helper()
	tree := newTree(t)
	tree.group("/kubepods/plimsoll-batch/c1")
	l := newTestLoop(t, tree, v1alpha1.ModeObserve)
	l.sensor.pods = lentPod{}
	l.actor.strategies = []running{{Strategy: evictAll(saw), mode: mode}}
	l.actor.evictor = &evictor{waiting: make(chan wantedEviction, 1), done: make(chan evictionOutcome, 1)}
	return l, tree
}

func TestStrategiesSeeWhatABatchPodGetsAndHasDone(t *testing.T) {
	var saw []qos.BatchPod
	l, tree := newEvictingLoop(t, v1alpha1.ModeObserve, &saw)
	use := func(own, container int) {
		tree.write(tree.host.FSRoot, "kubepods/burstable/podone/cpu.stat", fmt.Sprintf("usage_usec %d\n", own))
		tree.write(tree.host.FSRoot, "kubepods/plimsoll-batch/c1/cpu.stat", fmt.Sprintf("usage_usec %d\n", container))
		tree.write(tree.host.FSRoot, "kubepods/plimsoll-batch/c1/cpu.pressure", fmt.Sprintf("some avg10=0 total=%d\nfull avg10=0 total=0\n", container*2))
	}
	use(1_000_000, 2_000_000)
	l.tick(at)
	if len(saw) != 1 || saw[0].MilliCPU.OK {
		t.Fatalf("at the first tick: %+v, want one pod without a rate", saw)
	}
	use(1_100_000, 2_300_000)
	l.tick(at.Add(time.Second))
	p := saw[0]
	if p.UID != "one" || p.Namespace != "jobs" || p.Name != "report" || p.RequestMilliCPU != 1000 ||
		p.MilliCPU.Value != 400 || !p.MilliCPU.OK || p.CPUSomePermille.Value != 600 || p.DoneCPUMicros.Value != 3_400_000 {
		t.Errorf("a pod that used 0.1 + 0.3 s in a second and waited 0.6 s: %+v", p)
	}
	if c := l.actor.changes; len(c) != 1 || c[0].Knob != evictKnob || c[0].Outcome != v1alpha1.OutcomeObserved || c[0].Value != "jobs/report" {
		t.Errorf("changes %+v, want the eviction, observed and told of once", c)
	}
	if len(l.actor.evictor.waiting) != 0 {
		t.Error("a strategy that observes evicts")
	}
}

func TestAnEvictionIsTriedAndToldOf(t *testing.T) {
	var saw []qos.BatchPod
	l, _ := newEvictingLoop(t, v1alpha1.ModeEnforce, &saw)
	dir := t.TempDir()
	auditor, err := openAudit(Options{NodeName: "node-7", StateDir: dir, Config: l.config})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = auditor.log.Close() }) // it may be closed
	l.actor.auditor = auditor
	l.tick(at)
	w := <-l.actor.evictor.waiting
	if w.Pod.Name != "report" || w.strategy != "test" || w.inputs["x"] != "1" {
		t.Errorf("wanted %+v", w)
	}
	l.actor.evictor.done <- evictionOutcome{w, errors.New("the budget allows none")}
	l.tick(at.Add(time.Second))
	if c := l.actor.changes; len(c) != 1 || c[0].Outcome != v1alpha1.OutcomeRefused || c[0].Error != "the budget allows none" {
		t.Fatalf("changes %+v, want it refused", c)
	}
	w = <-l.actor.evictor.waiting // it asks again
	l.actor.evictor.done <- evictionOutcome{wantedEviction: w}
	l.tick(at.Add(2 * time.Second))
	if c := l.actor.changes; len(c) != 2 || c[0].Outcome != v1alpha1.OutcomeApplied {
		t.Errorf("changes %+v, want it applied", c)
	}
	if l.actor.evicted != 1 {
		t.Errorf("%d evictions, want the one that was not refused", l.actor.evicted)
	}
	all := records(t, auditor, filepath.Join(dir, "audit"))
	if len(all) != 2 || all[0].Kind != audit.KindEviction || all[0].Error != "the budget allows none" || all[1].Error != "" || all[1].Pod != "jobs/report (one)" {
		t.Errorf("audit log %+v, want both evictions", all)
	}
}
