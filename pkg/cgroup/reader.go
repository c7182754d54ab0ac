package cgroup

import (
	"errors"
	"fmt"
	"io/fs"

	"golang.org/x/sys/unix"

	"github.com/plimsoll/plimsoll/pkg/usage"
)

// counterFile says where one counter is, in each mode.
type counterFile struct {
	controller, name string
}

// The files of a group that the Reader keeps open, by what they are used for.
const (
	fileCPU = iota
	fileMemoryCurrent
	fileMemoryStat
	fileCPUPressure
	fileMemoryPressure
	fileIOPressure
	fileCount
)

// lookAgainEvery is the most readings that go by before a file that was not there is looked for again.
// The runtime makes a group in one hierarchy after the other, so it may come, and then soon.
const lookAgainEvery = 16

// counterFiles says where each counter is; the empty name is a counter that this mode does not have.
func (h Host) counterFiles() [fileCount]counterFile {
	files := [fileCount]counterFile{
		fileCPU:            {"cpuacct", "cpuacct.usage"},
		fileMemoryCurrent:  {"memory", "memory.usage_in_bytes"},
		fileMemoryStat:     {"memory", "memory.stat"},
		fileCPUPressure:    {"unified", "cpu.pressure"},
		fileMemoryPressure: {"unified", "memory.pressure"},
		fileIOPressure:     {"unified", "io.pressure"},
	}
	switch h.Mode {
	case V2:
		files[fileCPU].name = "cpu.stat"
		files[fileMemoryCurrent].name = "memory.current"
	case V1: // groups have PSI in a v2 hierarchy only
		files[fileCPUPressure], files[fileMemoryPressure], files[fileIOPressure] = counterFile{}, counterFile{}, counterFile{}
	}
	return files
}

// Reader reads the counters of groups. It keeps the files of each group open and reads them again with
// pread, so that a reading costs one system call for each file and no allocation. A file that was not
// there is looked for again from time to time. Close it, and Forget groups that are gone. It is not
// safe for concurrent use.
type Reader struct {
	host  Host
	files [fileCount]counterFile
	open  map[string]*openGroup
	buf   []byte
}

// openGroup holds the descriptors of one group; -1 is a file that was not there.
type openGroup struct {
	id  uint64
	fds [fileCount]int
	// readings is how many there were; the next look for missing files is at reading lookAt.
	readings, lookAt int
}

// NewReader returns a Reader of h's groups.
func NewReader(h Host) *Reader {
	return &Reader{host: h, files: h.counterFiles(), open: map[string]*openGroup{}, buf: make([]byte, 16<<10)}
}

// Read reads the counters of a group. A counter that the kernel does not have for it is not OK. The
// error is fs.ErrNotExist when the group has vanished: then nothing about it is known.
func (r *Reader) Read(group string) (usage.GroupSample, error) {
	// A held file of a group that was removed answers ENODEV; the path may by now be another group.
	for attempt := 0; ; attempt++ {
		g, err := r.openGroup(group)
		if err != nil {
			return usage.GroupSample{}, fmt.Errorf("opening cgroup %s: %w", group, err)
		}
		s, err := r.sample(group, g)
		if err == nil {
			return s, nil
		}
		r.Forget(group)
		if !errors.Is(err, unix.ENODEV) {
			return usage.GroupSample{}, fmt.Errorf("reading cgroup %s: %w", group, err)
		}
		if attempt > 0 {
			return usage.GroupSample{}, fmt.Errorf("reading cgroup %s, which vanished twice: %w", group, fs.ErrNotExist)
		}
	}
}

// Forget closes what is held of a group.
func (r *Reader) Forget(group string) {
	if g := r.open[group]; g != nil {
		for _, fd := range g.fds {
			if fd >= 0 {
				_ = unix.Close(fd) // read-only: nothing can be lost
			}
		}
		delete(r.open, group)
	}
}

// Keep forgets every group that is not in groups.
func (r *Reader) Keep(groups map[string]bool) {
	for g := range r.open {
		if !groups[g] {
			r.Forget(g)
		}
	}
}

// Close closes everything that is held.
func (r *Reader) Close() { r.Keep(nil) }

func (r *Reader) openGroup(group string) (*openGroup, error) {
	g := r.open[group]
	if g == nil {
		var st unix.Stat_t
		if err := unix.Stat(r.host.Dir(r.files[fileCPU].controller, group), &st); err != nil {
			return nil, err
		}
		g = &openGroup{id: st.Ino}
		for i := range g.fds {
			g.fds[i] = -1
		}
		r.open[group] = g
	}
	if g.readings++; g.readings < g.lookAt {
		return g, nil
	}
	g.lookAt = g.readings + min(g.readings, lookAgainEvery)
	for i, fd := range g.fds {
		if fd >= 0 || r.files[i].name == "" {
			continue
		}
		name := r.host.Dir(r.files[i].controller, group) + "/" + r.files[i].name
		fd, err := unix.Open(name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		switch {
		case err == nil:
			g.fds[i] = fd
		case i == fileCPU, !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.EOPNOTSUPP):
			r.Forget(group)
			return nil, fmt.Errorf("open %s: %w", name, err)
		}
	}
	return g, nil
}

func (r *Reader) sample(group string, g *openGroup) (usage.GroupSample, error) {
	s := usage.GroupSample{Key: usage.GroupKey{Path: group, ID: g.id}}
	number := func(b []byte) (int64, bool) { return parseUint(b) }
	var nanos, current, inactive usage.Reading
	var err error
	read := func(file int, parse func([]byte) (int64, bool)) usage.Reading {
		if err != nil || g.fds[file] < 0 {
			return usage.Reading{}
		}
		var b []byte
		if b, err = r.pread(g.fds[file]); err != nil {
			// PSI may be switched off for one group (cgroup.pressure) or for the kernel (psi=0).
			if file >= fileCPUPressure && errors.Is(err, unix.EOPNOTSUPP) {
				err = nil
			}
			return usage.Reading{}
		}
		v, ok := parse(b)
		return usage.Reading{Value: v, OK: ok}
	}
	if r.host.Mode == V2 {
		s.CPUMicros = read(fileCPU, func(b []byte) (int64, bool) { return parseField(b, "usage_usec") })
		inactive = read(fileMemoryStat, func(b []byte) (int64, bool) { return parseField(b, "inactive_file") })
	} else {
		nanos = read(fileCPU, number)
		s.CPUMicros = usage.Reading{Value: nanos.Value / 1000, OK: nanos.OK}
		inactive = read(fileMemoryStat, func(b []byte) (int64, bool) { return parseField(b, "total_inactive_file") })
	}
	current = read(fileMemoryCurrent, number)
	if current.OK && inactive.OK {
		s.WorkingSetBytes = usage.Of(max(current.Value-inactive.Value, 0))
	}
	s.CPUSomeMicros = read(fileCPUPressure, parsePSISome)
	s.MemorySomeMicros = read(fileMemoryPressure, parsePSISome)
	s.IOSomeMicros = read(fileIOPressure, parsePSISome)
	return s, err
}

// pread reads a whole file of the kernel's into the Reader's buffer, which holds it until the next call.
// The kernel makes each of these files as one record, so a read that leaves room in the buffer was all
// of it; asking for the end would make the kernel write the record once more.
func (r *Reader) pread(fd int) ([]byte, error) {
	n := 0
	for {
		m, err := unix.Pread(fd, r.buf[n:], int64(n))
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if n += m; n < len(r.buf) {
			return r.buf[:n], nil
		}
		r.buf = append(r.buf, make([]byte, len(r.buf))...)
	}
}
