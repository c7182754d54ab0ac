package qos

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/plimsoll/plimsoll/pkg/usage"
)

func TestARecordingIsReadAsItWasWritten(t *testing.T) {
	want := Recording{
		Version: RecordingVersion, Node: "n1",
		Strategies: []RecordedStrategy{{Name: "batchidle", Mode: "Enforce", Args: []byte(`{}`)}},
		State: State{
			Now: time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC), Node: usage.Rates{Window: time.Second, MilliCPU: usage.Of(7)},
			Groups: []Group{{Path: "/kubepods/plimsoll-batch", Kind: KindBatchBranch, Settings: map[Knob]Setting{CPUIdle: {Value: "0", OK: true}}}},
		},
	}
	data, err := want.Encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := ParseRecording(data)
	if err != nil {
		t.Fatal(err)
	}
	got.Strategies[0].Args = []byte(`{}`)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestARecordingThatCannotBeReplayedIsRefused(t *testing.T) {
	f := func(text, want string) {
		t.Helper()
		if _, err := ParseRecording([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want it to contain %q", text, err, want)
		}
	}
	f(`{"version":2}`, "version: 2: must be 1")
	f(`{}`, "version: 0: must be 1")
	f(`[`, "decoding")
	f(`{"version":1,"pulse":3}`, `unknown field "pulse"`)
	f(`{"version":1,"state":{}}`, "state.Now: must be set")
}
