package kernel

import (
	"strconv"
	"testing"
	"time"

	"github.com/plimsoll/plimsoll/pkg/cgroup"
	"github.com/plimsoll/plimsoll/pkg/qos"
	"github.com/plimsoll/plimsoll/pkg/qos/batchcap"
	"github.com/plimsoll/plimsoll/pkg/usage"
)

// capState is what the agent would tell strategy batchcap of the tree, on a node of four cores whose service
// uses one.
func capState(tr *tree, now time.Time, excessPermille int64) qos.State {
	tr.t.Helper()
	quota, err := tr.ReadSetting(tr.BatchBranch(), qos.CPUQuota)
	if err != nil {
		tr.t.Fatal(err)
	}
	return qos.State{
		Now: now,
		CPU: qos.CPUUse{CapacityMilliCPU: 4000, OnlineMilliCPU: usage.Of(1000), SystemMilliCPU: usage.Of(0), BatchMilliCPU: usage.Of(1000)},
		Groups: []qos.Group{
			{Path: tr.BatchBranch(), Kind: qos.KindBatchBranch, Settings: map[qos.Knob]qos.Setting{qos.CPUQuota: quota}},
			{Path: tr.BatchBranch() + "/" + containerID, Kind: qos.KindBatchContainer},
			{Path: tr.burstablePod(), Kind: qos.KindPod, Online: true, Harm: usage.Harm{ExcessPermille: usage.Of(excessPermille)}},
		},
	}
}

// TestBatchcapReallyCaps has the branch's quota set by the strategy's plan and measures what busy batch work
// then gets, until a release gives it all back.
func TestBatchcapReallyCaps(t *testing.T) {
	tr := newTree(t)
	e := enforce(tr)
	group := container(tr)
	cpu := lastCPU(t)
	tr.confine(cpu)
	original, err := tr.ReadRaw(tr.BatchBranch(), qos.CPUQuota)
	if err != nil {
		t.Fatal(err)
	}
	batch := tr.start(group)
	batch.tell("spin", batchThreads)
	r := newReader(t, tr.Host)

	// stopped is in how many of a period's ends the branch was stopped, of those in which it ran.
	stopped := func() (periods, throttled, usedMicros int64) {
		before := read(t, r, tr.BatchBranch())
		eventually(t, "batch to use half a second of CPU", func() bool {
			return read(t, r, tr.BatchBranch()).CPUMicros.Value > before.CPUMicros.Value+500_000
		})
		after := read(t, r, tr.BatchBranch())
		return after.Periods.Value - before.Periods.Value, after.ThrottledPeriods.Value - before.ThrottledPeriods.Value,
			after.CPUMicros.Value - before.CPUMicros.Value
	}
	if periods, _, _ := stopped(); periods != 0 {
		t.Fatalf("%d periods of a quota before there is one", periods)
	}

	// 200 of 1000 of four cores, less the service's 1000, is below the floor of 50: 200 thousandths of a core.
	strategy, err := batchcap.Factory().New([]byte(`{"safeLinePermille":200}`))
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	settle := func(excess int64, want string) {
		t.Helper()
		state := capState(tr, now, excess)
		for _, r := range e.Apply(qos.Diff(state, strategy.Step(state))) {
			if r.Err != nil {
				t.Fatal(r.Err)
			}
		}
		if s, err := tr.ReadSetting(tr.BatchBranch(), qos.CPUQuota); err != nil || s.Value != want {
			t.Fatalf("the quota is %+v, %v, want %s", s, err, want)
		}
	}
	settle(0, "max")
	settle(400, "1000/5000") // 800 of the usual 4000 is too little for the kernel
	periods, throttled, used := stopped()
	// A fifth of a CPU in each period of 5 ms: half a second of CPU takes 500 of them. However busy the machine, batch
	// never gets more than its quota of the periods that went by, and a period's worth at either end.
	if most := (periods + 2) * 1000; used > most+most/10 || throttled == 0 {
		t.Errorf("batch got %d us in %d periods of 1000 us each, and was stopped in %d", used, periods, throttled)
	}

	// A quota of the container's own may not be above the branch's on v1, and is the smaller of the two on v2.
	err = tryPut(quotaFile(tr, group), quotaFor(tr, 50_000))
	if refused := err != nil; refused != (tr.Mode != cgroup.V2) {
		t.Errorf("a container's quota above the branch's: %v, want it refused on v1 only", err)
	}

	if _, err := e.Release(); err != nil {
		t.Fatal(err)
	}
	if raw, err := tr.ReadRaw(tr.BatchBranch(), qos.CPUQuota); err != nil || len(raw) != len(original) || raw[0] != original[0] {
		t.Errorf("after release the quota is %q, %v, want %q", raw, err, original)
	}
}

func quotaFile(tr *tree, group string) string {
	if tr.Mode == cgroup.V2 {
		return tr.Dir("", group) + "/cpu.max"
	}
	return tr.Dir("cpu", group) + "/cpu.cfs_quota_us"
}

// quotaFor is the text for a quota of so many microseconds in 100 ms.
func quotaFor(tr *tree, micros int) string {
	if tr.Mode == cgroup.V2 {
		return strconv.Itoa(micros) + " 100000"
	}
	return strconv.Itoa(micros)
}
