package agent

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/plimsoll/plimsoll/pkg/api/v1alpha1"
	"github.com/plimsoll/plimsoll/pkg/qos"
)

func TestARequestedStateIsTheOneThatTheStrategiesSaw(t *testing.T) {
	dir := t.TempDir()
	config := v1alpha1.DefaultAgentConfiguration()
	config.Strategies = append(config.Strategies, v1alpha1.StrategyConfiguration{Name: "realtime", Mode: v1alpha1.ModeOff})
	state := qos.State{Now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Groups: []qos.Group{{Path: "/kubepods", Kind: qos.KindTier}}}
	l := &loop{stateDir: dir, nodeName: "n1", config: config, log: slog.New(slog.DiscardHandler)}
	ctx, stop := context.WithCancel(t.Context())
	var ticking sync.WaitGroup
	ticking.Go(func() {
		for ctx.Err() == nil {
			l.recordState(state)
		}
	})
	defer ticking.Wait()
	defer stop()
	for range 2 { // the second replaces the first
		data, err := RequestState(dir, time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		got, err := qos.ParseRecording(data)
		if err != nil {
			t.Fatal(err)
		}
		want := qos.Recording{Version: qos.RecordingVersion, Node: "n1", State: state, Strategies: []qos.RecordedStrategy{{Name: "batchidle", Mode: "Observe"}, {Name: "batchbound", Mode: "Observe"}, {Name: "batchcap", Mode: "Observe"}}}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
}

func TestAStateOfAnEarlierRequestIsNoAnswer(t *testing.T) {
	dir := t.TempDir()
	if err := writeRecording(dir, recordingOf("n1", v1alpha1.DefaultAgentConfiguration(), qos.State{Now: time.Now()})); err != nil {
		t.Fatal(err)
	}
	_, err := RequestState(dir, 10*time.Millisecond)
	if err == nil || !strings.Contains(err.Error(), "--state-dir") {
		t.Errorf("error %v, want one with the remedy", err)
	}
}
