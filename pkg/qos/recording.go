package qos

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// RecordingVersion is the version of Recording that this code writes and reads.
const RecordingVersion = 1

// Recording is one State as the strategies of a node saw it, with what they were told: enough to run them
// again somewhere else.
type Recording struct {
	Version int    `json:"version"`
	Node    string `json:"node"`
	// Strategies are those that are not Off, in the order in which they stepped.
	Strategies []RecordedStrategy `json:"strategies"`
	State      State              `json:"state"`
}

// RecordedStrategy is a strategy as a node ran it.
type RecordedStrategy struct {
	Name string `json:"name"`
	// Mode is Observe or Enforce.
	Mode string          `json:"mode"`
	Args json.RawMessage `json:"args,omitempty"`
}

// Encode is the recording as a file.
func (r Recording) Encode() ([]byte, error) {
	r.Version = RecordingVersion
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encoding the State: %w", err)
	}
	return append(b, '\n'), nil
}

// ParseRecording reads what Encode wrote. A field that it does not know is an error: what a strategy saw would
// be missing.
func ParseRecording(data []byte) (Recording, error) {
	var r Recording
	var version struct {
		Version int `json:"version"`
	}
	if err := json.Unmarshal(data, &version); err != nil {
		return r, fmt.Errorf("decoding a recorded State: %w", err)
	}
	if version.Version != RecordingVersion {
		return r, fmt.Errorf("version: %d: must be %d, or the recording is of another version of Plimsoll: replay it with that one's plimsoll", version.Version, RecordingVersion)
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&r); err != nil {
		return r, fmt.Errorf("decoding a recorded State: %w", err)
	}
	if r.State.Now.IsZero() {
		return r, fmt.Errorf("state.Now: must be set: it is the time that the strategies decide by")
	}
	return r, nil
}
