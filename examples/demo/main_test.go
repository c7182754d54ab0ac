package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestParseRefusesWhatCannotBeRun(t *testing.T) {
	for want, args := range map[string][]string{
		"--rounds 0":           {"--rounds", "0"},
		"--round-seconds 0":    {"--round-seconds", "0"},
		"--rate 0":             {"--rate", "0"},
		"--batch-threads 0":    {"--batch-threads", "0"},
		"--out-dir":            {"--out-dir", filepath.Join(t.TempDir(), "missing")},
		"unknown argument":     {"extra"},
		"flag provided but no": {"--no-such-flag"},
	} {
		t.Run(want, func(t *testing.T) {
			if _, err := parse(args); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("parse(%q) = %v, want %q", args, err, want)
			}
		})
	}
}

func TestParseKeepsTheClusterWhenTheEnvironmentSaysSo(t *testing.T) {
	for value, want := range map[string]bool{"": false, "0": false, "1": true} {
		t.Setenv("KEEP", value)
		got, err := parse([]string{"--round-seconds", "3"})
		if err != nil {
			t.Fatal(err)
		}
		if got.keep != want {
			t.Errorf("KEEP=%q: keep is %t, want %t", value, got.keep, want)
		}
		if got.roundDuration() != 3*time.Second || got.source == "" {
			t.Errorf("round of %s in source tree %q, want 3s and this one", got.roundDuration(), got.source)
		}
	}
}

func TestCPUModelIsRead(t *testing.T) {
	file := filepath.Join(t.TempDir(), "cpuinfo")
	if err := os.WriteFile(file, []byte("processor\t: 0\nmodel name\t: Some CPU @ 2 GHz\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if got := cpuModel(file); got != "Some CPU @ 2 GHz" {
		t.Errorf("cpuModel() = %q, want the model's name", got)
	}
	if got := cpuModel(file + ".missing"); got != "unknown CPU" {
		t.Errorf("cpuModel() of a missing file = %q, want unknown CPU", got)
	}
}

func TestFreePortsAreDistinct(t *testing.T) {
	ports, err := freePorts(3)
	if err != nil {
		t.Fatal(err)
	}
	if ports[0] == ports[1] || ports[1] == ports[2] || ports[0] == ports[2] {
		t.Errorf("freePorts(3) = %v, want three different ones", ports)
	}
}
