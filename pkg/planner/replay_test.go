package planner

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/plimsoll/plimsoll/pkg/qos"
)

func TestReplayRunsTheRealStrategiesOnARecordedState(t *testing.T) {
	was := "0"
	recording := func(idle string) qos.Recording {
		return qos.Recording{
			Node: "n1", Strategies: []qos.RecordedStrategy{{Name: "batchidle", Mode: "Enforce"}},
			State: qos.State{Now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Groups: []qos.Group{{
				Path: "/kubepods/plimsoll-batch", Kind: qos.KindBatchBranch, Settings: map[qos.Knob]qos.Setting{qos.CPUIdle: {Value: idle, OK: true}},
			}}},
		}
	}
	got, err := Replay(recording("0"))
	if err != nil {
		t.Fatal(err)
	}
	want := Replayed{Node: "n1", At: "2026-01-02T03:04:05.000Z", Plans: []StrategyDecision{{Name: "batchidle", Mode: "Enforce", Changes: []PlannedChange{
		{Group: "/kubepods/plimsoll-batch", Knob: "cpu.idle", From: &was, To: "1", Reason: "batch runs only when no online task wants the CPU"},
	}}}}
	if diff := cmp.Diff(want, got); diff != "" || !got.Differs() {
		t.Errorf("(-want +got):\n%s", diff)
	}
	got, err = Replay(recording("1"))
	if err != nil {
		t.Fatal(err)
	}
	if got.Differs() || got.Plans[0].Holds != 1 {
		t.Errorf("a State that is as it shall be: %+v, want one setting that holds and no change", got)
	}
	bad := recording("1")
	bad.Strategies[0].Name = "batchidel"
	if _, err := Replay(bad); err == nil || !strings.Contains(err.Error(), `"batchidel"`) {
		t.Errorf("an unknown strategy: error %v", err)
	}
}
