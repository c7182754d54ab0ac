package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/plimsoll/plimsoll/pkg/qos"
)

// KnobSpec says what one knob is called in the kernel.
type KnobSpec struct {
	Knob  qos.Knob
	Unit  string
	Range string
	// V2File, and V1Controller with V1File, are where it is.
	V2File, V1Controller, V1File string
	// Since is the first kernel that has it.
	Since string
	// AlsoWrittenBy names who else writes it on groups that we write it on.
	AlsoWrittenBy string
	// Undo is how a person puts it back by hand.
	Undo string
}

// Knobs is every knob that a strategy may claim.
func Knobs() []KnobSpec {
	return []KnobSpec{
		{
			Knob: qos.CPUIdle, Unit: "flag", Range: "0 or 1",
			V2File: "cpu.idle", V1Controller: "cpu", V1File: "cpu.idle",
			Since: "5.15", AlsoWrittenBy: "nobody on the batch branch", Undo: "write 0",
		},
	}
}

// ErrUnknownKnob means that the knob table has no such knob.
var ErrUnknownKnob = errors.New("unknown knob")

// KnobFile is the file of a group's knob.
func (h Host) KnobFile(group string, knob qos.Knob) (string, error) {
	for _, k := range Knobs() {
		if k.Knob != knob {
			continue
		}
		if h.Mode == V2 {
			return filepath.Join(h.Dir("", group), k.V2File), nil
		}
		return filepath.Join(h.Dir(k.V1Controller, group), k.V1File), nil
	}
	return "", fmt.Errorf("%w: %s", ErrUnknownKnob, knob)
}

// ReadSetting reads a knob of a group. A setting that is not OK was not read; it is Unsupported where
// the group is there and the kernel gives it no such file.
func (h Host) ReadSetting(group string, knob qos.Knob) (qos.Setting, error) {
	file, err := h.KnobFile(group, knob)
	if err != nil {
		return qos.Setting{}, err
	}
	b, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		if _, statErr := os.Stat(filepath.Dir(file)); statErr == nil {
			return qos.Setting{Unsupported: true}, nil
		}
	}
	if err != nil {
		return qos.Setting{}, fmt.Errorf("reading %s of %s: %w", knob, group, err)
	}
	return qos.Setting{Value: strings.TrimSpace(string(b)), OK: true}, nil
}
