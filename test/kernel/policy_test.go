package kernel

import (
	"path"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/plimsoll/plimsoll/pkg/qos"
	"github.com/plimsoll/plimsoll/pkg/qos/realtime"
)

// realtimeState is what the agent would tell strategy realtime of the tree with one pod that asks, or did.
func realtimeState(tr *tree, pod string, asks bool) qos.State {
	tr.t.Helper()
	settings := func(group string) map[qos.Knob]qos.Setting {
		is := map[qos.Knob]qos.Setting{}
		for _, k := range []qos.Knob{qos.CPURealtimeRuntime, qos.CPUPolicy} {
			s, err := tr.ReadSetting(group, k)
			if err != nil {
				tr.t.Fatal(err)
			}
			is[k] = s
		}
		return is
	}
	tier, container := path.Dir(pod), path.Join(pod, containerID)
	other := path.Dir(tr.bestEffortPod())
	return qos.State{Groups: []qos.Group{
		{Path: tr.Kubepods, Kind: qos.KindTier, Settings: settings(tr.Kubepods)},
		{Path: other, Kind: qos.KindTier, Settings: settings(other)},
		{Path: tier, Kind: qos.KindTier, Settings: settings(tier)},
		{Path: pod, Kind: qos.KindPod, Namespace: "pay", Realtime: asks, Settings: settings(pod)},
		{Path: container, Kind: qos.KindContainer, Namespace: "pay", Realtime: asks, Settings: settings(container)},
	}}
}

// TestRealtimeThreadsRunBeforeAllOthers gives a pod's threads real-time priority on a CPU that it shares
// with busy work of the same weight, and takes it back.
func TestRealtimeThreadsRunBeforeAllOthers(t *testing.T) {
	tr := newTree(t)
	e := enforce(tr)
	online := path.Join(tr.burstablePod(), containerID)
	tr.make(online)
	serviceMicros := int64(600_000) // much more than what passes between the end of the burning and the reading
	if top := path.Dir(tr.Kubepods); exists(tr.Dir("cpu", top) + "/cpu.rt_runtime_us") {
		serviceMicros = 60_000                                    // within the budget of a second
		put(t, tr.Dir("cpu", top)+"/cpu.rt_runtime_us", "100000") // a host's kubepods is below the root, which has 950000
	}
	tr.confine(lastCPU(t))
	service, other := tr.start(online), tr.start(tr.bestEffortPod())
	other.tell("spin", batchThreads)

	strategy, err := realtime.Factory().New([]byte(`{"namespaces":["pay"],"nodeBudgetMicroseconds":100000,"podsBudgetMicroseconds":100000}`))
	if err != nil {
		t.Fatal(err)
	}
	// settle carries plans out until nothing is wanted any more. Taking back takes three: the threads' policy, then
	// the container's budget, then the pod's.
	settle := func(asks bool) {
		t.Helper()
		for range 4 {
			state := realtimeState(tr, tr.burstablePod(), asks)
			wanted := qos.Diff(state, strategy.Step(state))
			if len(wanted) == 0 {
				return
			}
			for _, r := range e.Apply(wanted) {
				if r.Err != nil {
					t.Fatal(r.Err)
				}
			}
		}
		state := realtimeState(tr, tr.burstablePod(), asks)
		if left := qos.Diff(state, strategy.Step(state)); len(left) > 0 {
			t.Errorf("after it was carried out four times the plan still wants %+v", left)
		}
	}
	policy := func() int {
		t.Helper()
		attr, err := unix.SchedGetAttr(service.pid, 0)
		if err != nil {
			t.Fatal(err)
		}
		return int(attr.Policy)
	}

	// othersMicros is how much the busy pod got while the service burned some.
	r := newReader(t, tr.Host)
	othersMicros := func() int64 {
		before := read(t, r, tr.bestEffortPod()).CPUMicros.Value
		service.tell("burn", serviceMicros)
		return read(t, r, tr.bestEffortPod()).CPUMicros.Value - before
	}
	// Some kernels, Linux 6.18.44 among them, favour one of two busy groups for seconds.
	eventually(t, "scheduled fairly, the busy pod competes with the service", func() bool { return othersMicros() >= serviceMicros/3 })
	settle(true)
	if got := policy(); got != unix.SCHED_RR {
		t.Fatalf("the policy is %d, want SCHED_RR, %d", got, unix.SCHED_RR)
	}
	if got := othersMicros(); got > serviceMicros/6 {
		t.Errorf("at real-time priority the busy pod gets %d us beside %d us of the service", got, serviceMicros)
	}
	// A thread that the service starts now inherits it, and the list has every thread.
	service.tell("spin", 1)
	if s, err := tr.ReadSetting(online, qos.CPUPolicy); err != nil || s.Value != qos.RoundRobin(1) {
		t.Errorf("the policy of all threads is %+v, %v, want %q", s, err, qos.RoundRobin(1))
	}

	settle(false)
	if got := policy(); got != unix.SCHED_NORMAL {
		t.Errorf("the policy is %d after the pod stopped asking, want SCHED_OTHER", got)
	}

	settle(true)
	if _, err := e.Release(); err != nil {
		t.Fatal(err)
	}
	if got := policy(); got != unix.SCHED_NORMAL {
		t.Errorf("the policy is %d after release, want SCHED_OTHER", got)
	}
	for _, g := range []string{tr.Kubepods, tr.burstablePod(), online} {
		if s, err := tr.ReadSetting(g, qos.CPURealtimeRuntime); err != nil || s.OK && s.Value != "0" {
			t.Errorf("the budget of %s is %+v, %v after release, want 0", g, s, err)
		}
	}
}
