package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/plimsoll/plimsoll/pkg/api/v1alpha1"
	"github.com/plimsoll/plimsoll/pkg/qos"
)

// recordedStateFile is where the agent puts a State when wantedStateFile asks it for one. A file asks and not a signal:
// in a pod that shares the host's process IDs a signal could reach somebody else.
const (
	recordedStateFile = "state.json"
	wantedStateFile   = "state.wanted"
)

// RecordedStatePath is the file in the state directory that a request for the State ends in.
func RecordedStatePath(stateDir string) string { return filepath.Join(stateDir, recordedStateFile) }

// recordState writes what the strategies are about to see, if somebody asked for it.
func (l *loop) recordState(s qos.State) {
	if l.stateDir == "" || os.Remove(filepath.Join(l.stateDir, wantedStateFile)) != nil {
		return // nobody asked
	}
	if err := writeRecording(l.stateDir, recordingOf(l.nodeName, l.config, s)); err != nil {
		l.log.Error("recording the State", "error", err)
		return
	}
	l.log.Info("recorded the State", "file", RecordedStatePath(l.stateDir))
}

// recordingOf is a State with what the strategies that see it were told.
func recordingOf(node string, c *v1alpha1.AgentConfiguration, s qos.State) qos.Recording {
	r := qos.Recording{Node: node, State: s}
	for _, strategy := range c.Strategies {
		if strategy.Mode != v1alpha1.ModeOff {
			r.Strategies = append(r.Strategies, qos.RecordedStrategy{Name: strategy.Name, Mode: string(strategy.Mode), Args: strategy.Args})
		}
	}
	return r
}

// writeRecording replaces the file by rename, so that a reader never sees half of one.
func writeRecording(dir string, r qos.Recording) error {
	data, err := r.Encode()
	if err != nil {
		return err
	}
	next := RecordedStatePath(dir) + ".next"
	if err := os.WriteFile(next, data, 0o600); err != nil {
		return fmt.Errorf("recording the State: %w", err)
	}
	if err := os.Rename(next, RecordedStatePath(dir)); err != nil {
		return fmt.Errorf("recording the State: %w", err)
	}
	return nil
}

// RequestState has a running agent record its State, and returns the file's content. patience is how long its next
// tick may take.
func RequestState(stateDir string, patience time.Duration) ([]byte, error) {
	path := RecordedStatePath(stateDir)
	// The one of an earlier request must not be taken for the answer.
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("removing the State that was recorded before: %w", err)
	}
	wanted := filepath.Join(stateDir, wantedStateFile)
	if err := os.WriteFile(wanted, nil, 0o600); err != nil {
		return nil, fmt.Errorf("asking the agent for its State: %w", err)
	}
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	for {
		data, err := os.ReadFile(path)
		if err == nil || !errors.Is(err, fs.ErrNotExist) {
			return data, err
		}
		select {
		case <-ticker.C:
		case <-deadline.C:
			_ = os.Remove(wanted) // what nobody waits for need not be recorded
			return nil, fmt.Errorf("the agent has not recorded its State in %s within %s: is that its --state-dir, and does it go round (/healthz)?", path, patience)
		}
	}
}
