package cgroup

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/plimsoll/plimsoll/pkg/qos"
)

// KnobSpec says what one knob is called in the kernel, and translates its value.
type KnobSpec struct {
	Knob qos.Knob
	// Summary is what it does, in one line.
	Summary string
	// Unit and Range describe the neutral value, which is what strategies, NodeUtilization and the audit speak.
	Unit, Range string
	// V2 and V1 are where it is. One without files is not there: the knob is Unsupported on such a host.
	V2, V1 KnobFiles
	// Action is true where writing does something once and nothing can be read back.
	Action bool
	// Rules is what the kernel insists on beyond the range, and what follows for the order of writing.
	Rules string
	// AlsoWrittenBy names who else writes it on groups that we write it on.
	AlsoWrittenBy string
	// Undo is how a person puts it back by hand.
	Undo string

	codec codec
}

// KnobFiles is how one generation of cgroups spells a knob.
type KnobFiles struct {
	// Controller is the hierarchy of v1 that has the files; empty on v2.
	Controller string
	Files      []string
	// Format is the text in the files.
	Format string
	// Since is the first kernel that has them.
	Since string
}

// Raw is the text of each of a knob's files, in the order of KnobFiles.Files, without the newline at its
// end. It is what a journal keeps: the neutral value may be rounder than what the kernel holds.
type Raw []string

// FileText is one write(2): a text and the file, relative to the group, that it goes to.
type FileText struct {
	File, Text string
}

// Shift is what a change of value does to a group.
type Shift string

// The shifts.
const (
	Unchanged Shift = "unchanged"
	// Wider gives the group more: more CPU, memory, disk, tasks, or more protection from others.
	Wider Shift = "wider"
	// Tighter gives it less.
	Tighter Shift = "tighter"
	// Mixed gives it something and takes something else away, as a move to other CPUs does.
	Mixed Shift = "mixed"
)

// codec translates the values of one knob. All but canonical are given canonical values.
type codec struct {
	// canonical checks a neutral value and rounds it as the kernel does in that mode.
	canonical func(mode Mode, value string) (string, error)
	// encode makes the writes that bring a knob from what its files hold now to value.
	encode func(mode Mode, value string, now Raw) ([]FileText, error)
	// decode gives the neutral value of what the files hold.
	decode func(mode Mode, raw Raw) (string, error)
	shift  func(from, to string) Shift
	// lossless is true where decode keeps all that restoring needs.
	lossless bool
}

// ErrUnknownKnob means that the knob table has no such knob.
var ErrUnknownKnob = errors.New("unknown knob")

// ErrUnsupported means that this kind of host has no such knob.
var ErrUnsupported = errors.New("not supported on this host")

// Knob is the table's entry of a knob.
func Knob(knob qos.Knob) (KnobSpec, error) {
	for _, k := range Knobs() {
		if k.Knob == knob {
			return k, nil
		}
	}
	return KnobSpec{}, fmt.Errorf("%w: %s", ErrUnknownKnob, clip(string(knob)))
}

// In is where the knob is on a host of that mode.
func (k KnobSpec) In(mode Mode) KnobFiles {
	if mode == V2 {
		return k.V2
	}
	return k.V1
}

// Canonical checks a neutral value and returns it as the kernel will read it back: rounded, and spelt
// in one way. What is outside the range, or cannot be said in that mode, is an error that names the
// knob, the value and the range.
func (k KnobSpec) Canonical(mode Mode, value string) (string, error) {
	v, err := k.codec.canonical(mode, value)
	if err != nil {
		return "", fmt.Errorf("%s: value %q: %w", k.Knob, clip(value), err)
	}
	return v, nil
}

// Encode returns the writes, in order, that set a neutral value where the files hold now (which ReadRaw
// gives; it decides the order of two writes and which devices' limits must go). No state between two of
// the writes is wider than both the old value and the new one.
func (k KnobSpec) Encode(mode Mode, value string, now Raw) ([]FileText, error) {
	if len(k.In(mode).Files) == 0 {
		return nil, fmt.Errorf("%s: %w: cgroup %s has no such file", k.Knob, ErrUnsupported, mode)
	}
	v, err := k.Canonical(mode, value)
	if err != nil {
		return nil, err
	}
	w, err := k.codec.encode(mode, v, now)
	if err != nil {
		return nil, fmt.Errorf("%s: value %q: %w", k.Knob, clip(value), err)
	}
	return w, nil
}

// Decode gives the neutral value of what a knob's files hold. Text that the kernel would not write is an
// error that names the file and the text.
func (k KnobSpec) Decode(mode Mode, raw Raw) (string, error) {
	files := k.In(mode).Files
	if k.Action || len(raw) != len(files) || len(files) == 0 {
		return "", fmt.Errorf("%s: %w: nothing to read on cgroup %s", k.Knob, ErrUnsupported, mode)
	}
	v, err := k.codec.decode(mode, raw)
	if err != nil {
		return "", fmt.Errorf("%s: %s says %q: %w", k.Knob, strings.Join(files, ", "), clip(strings.Join(raw, ", ")), err)
	}
	return v, nil
}

// Restore returns the writes, in order, that bring a knob's files from now back to exactly what
// original says.
func (k KnobSpec) Restore(mode Mode, original, now Raw) ([]FileText, error) {
	files := k.In(mode).Files
	if k.Action || len(original) != len(files) || len(files) == 0 {
		return nil, fmt.Errorf("%s: %w: nothing to restore on cgroup %s", k.Knob, ErrUnsupported, mode)
	}
	if k.codec.lossless {
		v, err := k.Decode(mode, original)
		if err != nil {
			return nil, err
		}
		return k.codec.encode(mode, v, now)
	}
	var w []FileText
	for i, f := range files {
		w = append(w, FileText{File: f, Text: orNewline(original[i])})
	}
	return w, nil
}

// Shift says what a change from one neutral value to another does to the group. A value that cannot be
// understood counts as the tightest on the left and as the widest on the right, so that a mistake is
// never taken for a tightening.
func (k KnobSpec) Shift(from, to string) Shift {
	if from == to {
		return Unchanged
	}
	f, errFrom := k.codec.canonical(V2, from)
	t, errTo := k.codec.canonical(V2, to)
	if errFrom != nil || errTo != nil {
		return Wider
	}
	return k.codec.shift(f, t)
}

// Widens says whether a change gives the group anything that it did not have. Widening changes are
// written from the parent down; all others from the child up.
func (k KnobSpec) Widens(from, to string) bool {
	s := k.Shift(from, to)
	return s == Wider || s == Mixed
}

// KnobDir is the directory that a knob's files of a group are in.
func (h Host) KnobDir(group string, knob qos.Knob) (string, error) {
	k, err := Knob(knob)
	if err != nil {
		return "", err
	}
	in := k.In(h.Mode)
	if len(in.Files) == 0 {
		return "", fmt.Errorf("%s of %s: %w: cgroup %s has no such file", knob, group, ErrUnsupported, h.Mode)
	}
	if knob == qos.ResctrlSchemata {
		if h.ResctrlRoot == "" || group != h.BatchBranch() {
			return "", fmt.Errorf("%s of %s: %w: only the batch branch has a resctrl group, where resctrl is mounted", knob, group, ErrUnsupported)
		}
		return filepath.Join(h.ResctrlRoot, resctrlGroup), nil
	}
	return h.Dir(in.Controller, group), nil
}

// KnobFile is the first file of a group's knob.
func (h Host) KnobFile(group string, knob qos.Knob) (string, error) {
	dir, err := h.KnobDir(group, knob)
	if err != nil {
		return "", err
	}
	k, err := Knob(knob)
	if err != nil {
		return "", err
	}
	return filepath.Join(dir, k.In(h.Mode).Files[0]), nil
}

// ReadRaw reads the files of a group's knob. The error is ErrUnsupported where the group is there and
// the kernel gives it no such file, and fs.ErrNotExist where the group is not there.
func (h Host) ReadRaw(group string, knob qos.Knob) (Raw, error) {
	dir, err := h.KnobDir(group, knob)
	if err != nil {
		return nil, err
	}
	k, err := Knob(knob)
	if err != nil {
		return nil, err
	}
	var raw Raw
	for _, f := range k.In(h.Mode).Files {
		text := ""
		switch {
		case k.Action: // write-only: all that can be known is whether it is there
			_, err = os.Stat(filepath.Join(dir, f))
		case knob == qos.CoreCookie:
			text, err = readCookies(dir, f)
		case IsThreadList(f):
			text, err = readPolicy(dir, f)
		default:
			text, err = readKnob(filepath.Join(dir, f))
		}
		if errors.Is(err, fs.ErrNotExist) {
			if _, statErr := os.Stat(dir); statErr == nil {
				return nil, fmt.Errorf("%s of %s: %w: there is no %s", knob, group, ErrUnsupported, f)
			}
		}
		if err != nil {
			return nil, fmt.Errorf("reading %s of %s: %w", knob, group, err)
		}
		raw = append(raw, text)
	}
	return raw, nil
}

// ReadSetting reads a knob of a group. A setting that is not OK was not read; it is Unsupported where
// the group is there and the kernel gives it no such file. An action has no value: it is neither.
func (h Host) ReadSetting(group string, knob qos.Knob) (qos.Setting, error) {
	raw, err := h.ReadRaw(group, knob)
	if errors.Is(err, ErrUnsupported) {
		return qos.Setting{Unsupported: true}, nil
	}
	if err != nil {
		return qos.Setting{}, err
	}
	k, err := Knob(knob)
	if err != nil || k.Action {
		return qos.Setting{}, err
	}
	v, err := k.Decode(h.Mode, raw)
	if err != nil {
		return qos.Setting{}, fmt.Errorf("reading %s: %w", group, err)
	}
	return qos.Setting{Value: v, OK: true}, nil
}

// maxKnobBytes is more than any knob's file holds: a line for each of a thousand disks.
const maxKnobBytes = 128 << 10

// readKnob reads a whole file of the kernel's, but no more than makes sense.
func readKnob(file string) (string, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }() // read-only: nothing can be lost
	b, err := io.ReadAll(io.LimitReader(f, maxKnobBytes+1))
	if err != nil {
		return "", err
	}
	if len(b) > maxKnobBytes {
		return "", fmt.Errorf("%s holds more than %d bytes: that is no knob", file, maxKnobBytes)
	}
	return strings.TrimSpace(string(b)), nil
}

// clip keeps a text from filling an error.
func clip(s string) string {
	const most = 120
	if len(s) <= most {
		return s
	}
	return s[:most] + "..."
}

// orNewline is the text to write for a file that was empty: write(2) of nothing does nothing.
func orNewline(text string) string {
	if text == "" {
		return "\n"
	}
	return text
}
