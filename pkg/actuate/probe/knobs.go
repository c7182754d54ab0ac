package probe

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/plimsoll/plimsoll/pkg/cgroup"
	"github.com/plimsoll/plimsoll/pkg/qos"
)

// knobs tries every knob of the table in the scratch group: write, read back, put back.
func (s *scratch) knobs() []Result {
	var results []Result
	for _, k := range cgroup.Knobs() {
		r := Result{Name: string(k.Knob)}
		r.State, r.Detail = s.knob(k)
		results = append(results, r)
	}
	return results
}

func (s *scratch) knob(k cgroup.KnobSpec) (State, string) {
	switch k.Knob {
	case qos.CoreCookie:
		return coreScheduling()
	case qos.ResctrlSchemata:
		return s.resctrl()
	}
	in := k.In(s.host.Mode)
	if len(in.Files) == 0 {
		return Fails, fmt.Sprintf("cgroup %s has no such file", s.host.Mode)
	}
	before, err := s.host.ReadRaw(s.group, k.Knob)
	if errors.Is(err, cgroup.ErrUnsupported) {
		return Fails, fmt.Sprintf("no %s: it came with Linux %s, or the kernel was built without it, or pods' groups do not have its controller", in.Files[0], in.Since)
	}
	if err != nil {
		return Unknown, err.Error()
	}
	switch k.Knob {
	case qos.CPURealtimeRuntime:
		return Unknown, fmt.Sprintf("%s is there; it was not tried, because a group has no more than the group above it gives", in.Files[0])
	case qos.CPUPolicy:
		return Unknown, "it was not tried: it is a property of threads, and the scratch group has none"
	}
	want, err := s.tryValue(k.Knob)
	if err != nil {
		return Unknown, err.Error()
	}
	if k.Knob == qos.CPUBurst { // is taken only beside a quota
		quota, err := cgroup.Knob(qos.CPUQuota)
		if err == nil {
			_, err = s.set(quota, "50000")
		}
		if err != nil {
			return Unknown, err.Error()
		}
		defer func() { _, _ = s.set(quota, "max") }() // the group is removed anyway
	}
	got, err := s.set(k, want)
	if err == nil && k.Action || k.Action && errors.Is(err, unix.EAGAIN) { // an empty group has nothing to give
		return Works, "asked the scratch group for " + want
	}
	if err != nil {
		return Fails, err.Error()
	}
	if got != want {
		return Fails, fmt.Sprintf("wrote %q, the kernel says %q", want, got)
	}
	if err := s.restore(k, before); err != nil {
		return Fails, err.Error()
	}
	return Works, fmt.Sprintf("wrote %q and read it back", want)
}

// tryValue is a value that differs from what a new group has, in the spelling of the kernel.
func (s *scratch) tryValue(knob qos.Knob) (string, error) {
	switch knob {
	case qos.CPUSetCPUs, qos.CPUSetMems:
		return s.firstOfSet(string(knob))
	case qos.IOMax, qos.IOLatency:
		disk, err := s.disk()
		if err != nil {
			return "", err
		}
		if knob == qos.IOLatency {
			return disk + " target=50000", nil
		}
		return disk + " rbps=1073741824 wbps=max riops=max wiops=max", nil
	}
	return map[qos.Knob]string{
		qos.CPUWeight: "50", qos.CPUIdle: "1", qos.CPUQuota: "50000", qos.CPUBurst: "10000",
		qos.MemoryMin: "1048576", qos.MemoryLow: "1048576", qos.MemoryHigh: "67108864", qos.MemoryMax: "67108864",
		qos.MemoryReclaim: "1048576", qos.IOWeight: "50", qos.PIDsMax: "100",
	}[knob], nil
}

// firstOfSet is the first CPU or memory node that the scratch group may use.
func (s *scratch) firstOfSet(file string) (string, error) {
	dir := s.host.Dir("cpuset", s.group)
	if s.host.Mode == cgroup.V2 {
		file += ".effective"
	}
	b, err := os.ReadFile(filepath.Join(dir, file))
	if err != nil {
		return "", fmt.Errorf("finding what the group may use: %w", err)
	}
	first, _, _ := strings.Cut(strings.TrimSpace(string(b)), ",")
	first, _, _ = strings.Cut(first, "-")
	return first, nil
}

// disk is MAJOR:MINOR of a whole disk. Partitions and what has no medium are not taken by the throttle.
func (s *scratch) disk() (string, error) {
	b, err := os.ReadFile(filepath.Join(s.host.ProcRoot, "partitions"))
	if err != nil {
		return "", fmt.Errorf("finding a disk: %w", err)
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) == 4 && f[0] != "major" && f[2] != "0" {
			return f[0] + ":" + f[1], nil // a disk is listed before its partitions
		}
	}
	return "", errors.New("this machine has no disk")
}

// set writes a knob of the scratch group and returns what reads back.
func (s *scratch) set(k cgroup.KnobSpec, value string) (string, error) {
	now, err := s.host.ReadRaw(s.group, k.Knob)
	if err != nil {
		return "", err
	}
	writes, err := k.Encode(s.host.Mode, value, now)
	if err != nil {
		return "", err
	}
	if err := s.write(k, writes); err != nil || k.Action {
		return "", err
	}
	got, err := s.host.ReadSetting(s.group, k.Knob)
	return got.Value, err
}

func (s *scratch) restore(k cgroup.KnobSpec, before cgroup.Raw) error {
	now, err := s.host.ReadRaw(s.group, k.Knob)
	if err != nil {
		return err
	}
	writes, err := k.Restore(s.host.Mode, before, now)
	if err != nil {
		return err
	}
	return s.write(k, writes)
}

func (s *scratch) write(k cgroup.KnobSpec, writes []cgroup.FileText) error {
	dir, err := s.host.KnobDir(s.group, k.Knob)
	if err != nil {
		return err
	}
	for _, w := range writes {
		if err := writeFile(filepath.Join(dir, w.File), w.Text); err != nil {
			return err
		}
	}
	return nil
}

func (s *scratch) resctrl() (State, string) {
	if s.host.ResctrlRoot == "" {
		return Fails, "resctrl is not mounted: the CPU has no allocation of cache or bandwidth, or nobody mounted it"
	}
	b, err := os.ReadFile(filepath.Join(s.host.ResctrlRoot, "schemata"))
	if err != nil {
		return Unknown, err.Error()
	}
	return Works, "the default group has " + strings.Join(strings.Fields(string(b)), " ")
}
