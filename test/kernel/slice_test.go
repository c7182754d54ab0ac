package kernel

import (
	"testing"
	"time"

	"github.com/plimsoll/plimsoll/pkg/qos"
	"github.com/plimsoll/plimsoll/pkg/qos/batchidle"
	"github.com/plimsoll/plimsoll/pkg/usage"
)

// TestStarvedBatchGetsOnWithoutAQuota keeps a CPU busy with online work, so that batch gets next to nothing, and
// has the strategy give batch a slice: it gets about its weight's share, then nothing again.
func TestStarvedBatchGetsOnWithoutAQuota(t *testing.T) {
	tr := newTree(t)
	e := enforce(tr)
	group := container(tr)
	tr.confine(lastCPU(t))
	r := newReader(t, tr.Host)
	batch, online := tr.start(group), tr.start(tr.burstablePod())
	batch.tell("spin", batchThreads)

	strategy, err := batchidle.Factory().New([]byte(`{"windowSeconds":10,"sliceSeconds":10,"sliceWeight":20}`))
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	tick := func(after time.Duration, excess int64) {
		t.Helper()
		now = now.Add(after)
		settings := map[qos.Knob]qos.Setting{}
		for _, k := range strategy.Knobs {
			s, err := tr.ReadSetting(tr.BatchBranch(), k)
			if err != nil {
				t.Fatal(err)
			}
			settings[k] = s
		}
		state := qos.State{
			Now: now, CPU: qos.CPUUse{CapacityMilliCPU: 1000, BatchMilliCPU: usage.Of(1)},
			Groups: []qos.Group{
				{Path: tr.BatchBranch(), Kind: qos.KindBatchBranch, Settings: settings},
				{Path: group, Kind: qos.KindBatchContainer},
				{Path: tr.burstablePod(), Kind: qos.KindPod, Online: true, Harm: usage.Harm{ExcessPermille: usage.Of(excess)}},
			},
		}
		for _, r := range e.Apply(qos.Diff(state, strategy.Step(state))) {
			if r.Err != nil {
				t.Fatal(r.Err)
			}
		}
	}
	// share is what batch got, in thousandths, while the online pod burned some.
	share := func() int64 {
		before := read(t, r, tr.BatchBranch()).CPUMicros.Value
		const onlineMicros = 1_000_000
		online.tell("burn", onlineMicros)
		got := read(t, r, tr.BatchBranch()).CPUMicros.Value - before
		return got * 1000 / (got + onlineMicros)
	}
	setting := func(k qos.Knob) string {
		t.Helper()
		s, err := tr.ReadSetting(tr.BatchBranch(), k)
		if err != nil {
			t.Fatal(err)
		}
		return s.Value
	}
	tick(0, 0)
	shielded := share()
	if setting(qos.CPUIdle) != "1" || shielded > 100 {
		t.Fatalf("cpu.idle is %s and batch gets %d ‰: it does not starve", setting(qos.CPUIdle), shielded)
	}
	tick(10*time.Second, 0)
	if setting(qos.CPUIdle) != "0" || setting(qos.CPUWeight) != "20" {
		t.Fatalf("cpu.idle is %s and the weight %s, want a slice of weight 20", setting(qos.CPUIdle), setting(qos.CPUWeight))
	}
	slice := share() // the pod weighs 100: 20 of 120
	if slice < 80 || slice > 350 || slice < 2*shielded {
		t.Errorf("batch gets %d ‰ in a slice, want about 20 of 120, 167; shielded it got %d", slice, shielded)
	}
	tick(time.Second, 500)
	if setting(qos.CPUIdle) != "1" {
		t.Errorf("cpu.idle is %s while a pod is harmed, want 1", setting(qos.CPUIdle))
	}
	if got := share(); got > 100 {
		t.Errorf("after the slice batch gets %d ‰", got)
	}
}
