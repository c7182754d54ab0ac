package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/plimsoll/plimsoll/pkg/usage"
)

// Capacity is what a node has.
type Capacity struct {
	MilliCPU    int64
	MemoryBytes int64
}

// ReadNode reads the counters of the whole node and its capacity from procfs. PSI that the kernel does
// not have is not OK; anything else that cannot be read is an error.
func (h Host) ReadNode() (usage.NodeSample, Capacity, error) {
	var s usage.NodeSample
	stat, err := os.ReadFile(filepath.Join(h.ProcRoot, "stat"))
	if err != nil {
		return s, Capacity{}, fmt.Errorf("reading CPU time: %w", err)
	}
	busy, cpus, ok := parseStat(stat)
	if !ok {
		return s, Capacity{}, fmt.Errorf("reading CPU time: %s/stat begins with %q", h.ProcRoot, firstLine(stat))
	}
	s.CPUBusyMicros = usage.Of(busy)

	meminfo, err := os.ReadFile(filepath.Join(h.ProcRoot, "meminfo"))
	if err != nil {
		return s, Capacity{}, fmt.Errorf("reading memory: %w", err)
	}
	// The values of /proc/meminfo are in kB, which are 1024 bytes.
	totalKiB, okTotal := parseField(meminfo, "MemTotal:")
	availableKiB, okAvailable := parseField(meminfo, "MemAvailable:")
	if !okTotal || !okAvailable {
		return s, Capacity{}, fmt.Errorf("reading memory: %s/meminfo lacks MemTotal or MemAvailable", h.ProcRoot)
	}
	s.MemoryUsedBytes = usage.Of((totalKiB - availableKiB) * 1024)

	for _, p := range []struct {
		file string
		into *usage.Reading
	}{{"cpu", &s.CPUSomeMicros}, {"memory", &s.MemorySomeMicros}, {"io", &s.IOSomeMicros}} {
		b, err := os.ReadFile(filepath.Join(h.ProcRoot, "pressure", p.file))
		if err != nil {
			continue // no PSI in this kernel, or switched off with psi=0: the reading stays absent
		}
		v, ok := parsePSISome(b)
		*p.into = usage.Reading{Value: v, OK: ok}
	}
	return s, Capacity{MilliCPU: int64(cpus) * 1000, MemoryBytes: totalKiB * 1024}, nil
}

// KernelVersion is the release of the running kernel, or empty where procfs does not tell.
func (h Host) KernelVersion() (string, error) {
	b, err := os.ReadFile(filepath.Join(h.ProcRoot, "sys/kernel/osrelease"))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("reading the kernel's version: %w", err)
	}
	return strings.TrimSpace(string(b)), nil
}

func firstLine(b []byte) string {
	line, _, _ := strings.Cut(string(b[:min(len(b), 200)]), "\n")
	return line
}
