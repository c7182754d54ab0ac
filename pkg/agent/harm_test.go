package agent

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/plimsoll/plimsoll/pkg/actuate"
	"github.com/plimsoll/plimsoll/pkg/api/v1alpha1"
	"github.com/plimsoll/plimsoll/pkg/cgroup"
	"github.com/plimsoll/plimsoll/pkg/qos"
	"github.com/plimsoll/plimsoll/pkg/usage"
)

// load is a tree whose counters grow as a node's do, second by second.
type load struct {
	aTree
	busy, pods, branch, pod, pressure int64
}

const onlinePod, batchContainer = "kubepods/burstable/podone", "kubepods/plimsoll-batch/5f3e9a1c0b7d"

func newLoad(t *testing.T) *load {
	tree := newTree(t)
	tree.group(batchContainer)
	tree.write(tree.host.FSRoot, "kubepods/plimsoll-batch/cpu.max", "max 100000\n")
	l := &load{aTree: tree}
	l.run(0, 0, 0, 0)
	return l
}

// run lets a time go by in which the pod used so much CPU and waited so much of it, and the branch used so much.
func (l *load) run(elapsed time.Duration, podMilliCPU, waitPermille, batchMilliCPU int64) {
	micros := elapsed.Microseconds() / 1000
	l.pod, l.branch = l.pod+podMilliCPU*micros, l.branch+batchMilliCPU*micros
	l.pressure += waitPermille * micros
	l.pods = l.pod + l.branch
	l.busy = l.pods
	ticks := l.busy / 10_000
	l.proc("stat", fmt.Sprintf("cpu  %d 0 0 900 0 0 0 0 0 0\ncpu0 %d 0 0 450 0 0 0 0 0 0\ncpu1 0 0 0 450 0 0 0 0 0 0\n", ticks, ticks))
	usage := func(group string, micros int64) {
		l.write(l.host.FSRoot, group+"/cpu.stat", fmt.Sprintf("usage_usec %d\n", micros))
	}
	usage("kubepods", l.pods)
	usage("kubepods/plimsoll-batch", l.branch)
	usage(batchContainer, l.branch)
	usage(onlinePod, l.pod)
	l.write(l.host.FSRoot, onlinePod+"/cpu.pressure", fmt.Sprintf("some avg10=0 total=%d\nfull avg10=0 total=0\n", l.pressure))
}

func (l *load) quota() string {
	l.t.Helper()
	b, err := os.ReadFile(filepath.Join(l.host.FSRoot, "kubepods/plimsoll-batch/cpu.max"))
	if err != nil {
		l.t.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}

func newCapLoop(t *testing.T, tree aTree, mode v1alpha1.Mode) *loop {
	l := newTestLoop(t, tree, mode)
	c := v1alpha1.DefaultAgentConfiguration()
	c.Strategies = []v1alpha1.StrategyConfiguration{{Name: "batchcap", Mode: mode, Args: []byte(`{"periodMicroseconds":10000}`)}} // as long a text as the one before: a plain file keeps the rest
	strategies, err := buildStrategies(c)
	if err != nil {
		t.Fatal(err)
	}
	l.actor.strategies = strategies
	l.sensor.knobs[qos.KindBatchBranch] = knobsOf(strategies, qos.KindBatchBranch)
	return l
}

func TestHarmToAServiceCapsBatchInTheNextFastTick(t *testing.T) {
	tree := newLoad(t)
	l := newCapLoop(t, tree.aTree, v1alpha1.ModeEnforce)
	now := at
	l.tick(now)
	for range 3 { // calm: the service uses 0.8 cores of two and waits little
		now = now.Add(time.Second)
		tree.run(time.Second, 800, 20, 1100)
		l.tick(now)
	}
	if got := tree.quota(); got != "max 100000" {
		t.Fatalf("the quota is %s while nobody is harmed, want none", got)
	}
	now = now.Add(fastTick)
	tree.run(fastTick, 800, 20, 1100)
	l.actFast(now)
	if got := tree.quota(); got != "max 100000" {
		t.Fatalf("the quota is %s after a calm fast tick, want none", got)
	}
	now = now.Add(fastTick)
	tree.run(fastTick, 800, 600, 1100)
	l.actFast(now)
	// 800 of 1000 of two cores, less the service's 800, less half a dead band of 60: 1600 - 800 - 30
	if got, want := tree.quota(), "7700 10000"; got != want {
		t.Errorf("the quota is %s in the fast tick that saw the harm, want %s", got, want)
	}
	now = now.Add(fastTick)
	tree.run(fastTick, 800, 600, 700)
	l.actFast(now)
	if n := len(l.actor.changes); n != 1 {
		t.Errorf("%d changes, want one: the next fast tick knows what is in force", n)
	}
}

func TestObserveShowsTheSamePlansAndWritesNothing(t *testing.T) {
	plans := map[v1alpha1.Mode][]string{}
	for _, mode := range []v1alpha1.Mode{v1alpha1.ModeEnforce, v1alpha1.ModeObserve} {
		tree := newLoad(t)
		l := newCapLoop(t, tree.aTree, mode)
		now := at
		for i := range 60 {
			now = now.Add(time.Second)
			wait := int64(20)
			if i > 5 && i < 9 {
				wait = 700
			}
			tree.run(time.Second, 800, wait, 1100)
			l.tick(now)
		}
		for _, c := range l.actor.changes {
			plans[mode] = append(plans[mode], c.Time.String()+" "+c.Value)
		}
		if mode == v1alpha1.ModeObserve && tree.quota() != "max 100000" {
			t.Errorf("mode Observe wrote %s", tree.quota())
		}
	}
	enforced, observed := strings.Join(plans[v1alpha1.ModeEnforce], "\n"), strings.Join(plans[v1alpha1.ModeObserve], "\n")
	if len(plans[v1alpha1.ModeEnforce]) < 3 || enforced != observed {
		t.Errorf("Enforce set\n%s\nand Observe would have set\n%s\nwant several changes, and the same", enforced, observed)
	}
}

func TestFastTicksAreForStrategiesThatWantThemWhileThereIsBatch(t *testing.T) {
	tree := newLoad(t)
	l := newTestLoop(t, tree.aTree, v1alpha1.ModeEnforce)
	for i := range l.actor.strategies {
		l.actor.strategies[i].Fast = false
	}
	l.tick(at)
	tree.write(tree.host.FSRoot, "kubepods/plimsoll-batch/cpu.idle", "0\n")
	l.last.Settings["/kubepods/plimsoll-batch"][qos.CPUIdle] = qos.Setting{Value: "0", OK: true}
	l.actFast(at.Add(fastTick))
	if got := tree.idle(); got != "0" {
		t.Errorf("a strategy was asked in a fast tick that did not ask for it: cpu.idle = %s", got)
	}
}

func TestAWriteIsKnownToTheNextFastTick(t *testing.T) {
	tree := newTree(t)
	l := newTestLoop(t, tree, v1alpha1.ModeObserve)
	l.last = reading{Settings: map[string]map[qos.Knob]qos.Setting{"/b": {}}}
	l.wrote(actuate.Result{Change: qos.Change{Group: "/b", Knob: qos.CPUQuota}, ReadBack: "5000"})
	l.wrote(actuate.Result{Change: qos.Change{Group: "/other", Knob: qos.CPUQuota}, ReadBack: "5000"})
	if got := l.last.Settings["/b"][qos.CPUQuota]; got != (qos.Setting{Value: "5000", OK: true}) {
		t.Errorf("the setting is %+v", got)
	}
}

func TestOnlyWhatStillIsIsPretended(t *testing.T) {
	tree := newTree(t)
	l := newTestLoop(t, tree, v1alpha1.ModeObserve)
	s := qos.State{Groups: []qos.Group{{Path: "/b"}}}
	p := pretended(nil).with([]qos.Change{{Group: "/b", Knob: qos.CPUQuota, Value: "5"}, {Group: "/c", Knob: qos.CPUIdle, Value: "1"}})
	l.actor.pretended["x"] = p
	l.actor.forget(s)
	if got := p.over(s).Groups[0].Settings[qos.CPUQuota]; len(p) != 1 || got != (qos.Setting{Value: "5", OK: true}) {
		t.Errorf("%v shows %+v", p, got)
	}
	if s.Groups[0].Settings != nil {
		t.Error("the State itself was changed")
	}
}

func TestFastTicksReadThrottlingOfPodsThatAQuotaCanStop(t *testing.T) {
	for _, tt := range []struct {
		stat string
		want cgroup.Counters
	}{
		{"usage_usec 5\n", cgroup.CPUPressure | cgroup.CPUTime | cgroup.Throttling}, // not known
		{"usage_usec 5\nnr_periods 0\nnr_throttled 0\nthrottled_usec 0\n", cgroup.CPUPressure | cgroup.CPUTime},
		{"usage_usec 5\nnr_periods 9\nnr_throttled 0\nthrottled_usec 0\n", cgroup.CPUPressure | cgroup.CPUTime | cgroup.Throttling},
	} {
		tree := newLoad(t)
		tree.write(tree.host.FSRoot, onlinePod+"/cpu.stat", tt.stat)
		l := newTestLoop(t, tree.aTree, v1alpha1.ModeObserve)
		l.tick(at)
		read := map[string]cgroup.Counters{}
		l.harm.fast(at.Add(fastTick), &l.last, func(group string, counters cgroup.Counters) (usage.GroupSample, error) {
			read[group] = counters
			return l.sensor.reader.ReadOnly(group, counters)
		}, l.lastState)
		if got := read["/"+onlinePod]; got != tt.want {
			t.Errorf("with %q a fast tick reads %b of the pod, want %b", tt.stat, got, tt.want)
		}
	}
}
