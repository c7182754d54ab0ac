package cgroup

import (
	"errors"
	"io/fs"
	"path/filepath"
	"testing"

	"github.com/plimsoll/plimsoll/pkg/qos"
)

func TestEveryKnobSaysWhereItIsAndHowToUndoIt(t *testing.T) {
	seen := map[qos.Knob]bool{}
	for _, k := range Knobs() {
		if seen[k.Knob] {
			t.Errorf("knob %s is in the table twice", k.Knob)
		}
		seen[k.Knob] = true
		for what, text := range map[string]string{
			"summary": k.Summary, "unit": k.Unit, "range": k.Range, "rules": k.Rules, "other writers": k.AlsoWrittenBy, "undo": k.Undo,
		} {
			if text == "" {
				t.Errorf("knob %s does not say its %s", k.Knob, what)
			}
		}
		for mode, in := range map[Mode]KnobFiles{V1: k.V1, V2: k.V2} {
			if len(in.Files) > 0 && (in.Format == "" || in.Since == "") {
				t.Errorf("knob %s does not say its format or first kernel on %s", k.Knob, mode)
			}
			if len(in.Files) > 0 && mode == V1 && in.Controller == "" && k.Knob != qos.ResctrlSchemata {
				t.Errorf("knob %s does not say its v1 controller", k.Knob)
			}
		}
	}
}

func TestAKnobHasAFileInEachMode(t *testing.T) {
	f := func(mode Mode, want string) {
		t.Helper()
		got, err := Host{FSRoot: "/fs", Mode: mode}.KnobFile("/kubepods/plimsoll-batch", qos.CPUIdle)
		if err != nil || got != want {
			t.Errorf("%s: KnobFile = %q, %v, want %q", mode, got, err, want)
		}
	}
	f(V1, "/fs/cpu/kubepods/plimsoll-batch/cpu.idle")
	f(Hybrid, "/fs/cpu/kubepods/plimsoll-batch/cpu.idle")
	f(V2, "/fs/kubepods/plimsoll-batch/cpu.idle")
	_, err := Host{}.KnobFile("/g", "no.such")
	if !errors.Is(err, ErrUnknownKnob) {
		t.Errorf("error %v, want ErrUnknownKnob", err)
	}
}

func TestReadSettingTellsUnsupportedFromGone(t *testing.T) {
	h := Host{FSRoot: t.TempDir(), Mode: V2}
	write(t, filepath.Join(h.FSRoot, "idle/cpu.idle"), "1\n")
	write(t, filepath.Join(h.FSRoot, "old-kernel/cpu.weight"), "100\n")

	f := func(group string, want qos.Setting) {
		t.Helper()
		got, err := h.ReadSetting(group, qos.CPUIdle)
		if err != nil || got != want {
			t.Errorf("ReadSetting(%s) = %+v, %v, want %+v", group, got, err, want)
		}
	}
	f("/idle", qos.Setting{Value: "1", OK: true})
	f("/old-kernel", qos.Setting{Unsupported: true})

	got, err := h.ReadSetting("/gone", qos.CPUIdle)
	if !errors.Is(err, fs.ErrNotExist) || got != (qos.Setting{}) {
		t.Errorf("ReadSetting of a group that is gone = %+v, %v, want nothing and fs.ErrNotExist", got, err)
	}
	wantError(t, err, "cpu.idle", "/gone")
	_, err = h.ReadSetting("/idle", "no.such")
	wantError(t, err, "unknown knob: no.such")
}
