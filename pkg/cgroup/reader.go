package cgroup

import (
	"errors"
	"fmt"
	"io/fs"

	"golang.org/x/sys/unix"

	"github.com/plimsoll/plimsoll/pkg/usage"
)

// counterFile says where one counter is. The empty name is one that the mode does not have.
type counterFile struct {
	controller, name string
}

// The files of a group that the Reader keeps open, by what they are used for.
const (
	fileCPUPressure = iota
	fileMemoryPressure
	fileIOPressure
	fileCPU
	fileThrottling
	fileMemoryCurrent
	fileMemoryStat
	fileMemoryEvents
	fileMemoryFailures
	fileIO
	fileIOOperations
	filePIDs
	fileCount
)

// Counters is a set of the counters of a group: each costs a system call or two.
type Counters uint

// The counters of a usage.GroupSample, by the files that hold them.
const (
	// CPUPressure, MemoryPressure and IOPressure are PSI. A host whose groups have none tells nothing of them.
	CPUPressure Counters = 1 << iota
	MemoryPressure
	IOPressure
	CPUTime
	// Throttling is in one file with CPU time on v2, and each is read with the other there.
	Throttling
	Memory
	IO
	PIDs
	allCounters = 1<<iota - 1

	// Pressure is that of all resources.
	Pressure = CPUPressure | MemoryPressure | IOPressure
)

// lookAgainEvery is the most readings that go by before a file that was not there is looked for again. The
// runtime makes a group in one hierarchy after the other, so a file may come, and then soon: it is looked
// for after 1, 2, 4, 8... readings. Looking allocates, and what never comes must not cost that for ever.
const lookAgainEvery = 512

// counterFiles says where each counter is.
func (h Host) counterFiles() [fileCount]counterFile {
	files := [fileCount]counterFile{
		fileCPUPressure:    {"unified", "cpu.pressure"},
		fileMemoryPressure: {"unified", "memory.pressure"},
		fileIOPressure:     {"unified", "io.pressure"},
		fileMemoryStat:     {"memory", "memory.stat"},
		filePIDs:           {"pids", "pids.current"},
	}
	if h.Mode == V2 {
		files[fileCPU].name = "cpu.stat" // with the throttling
		files[fileMemoryCurrent].name = "memory.current"
		files[fileMemoryEvents].name = "memory.events"
		files[fileIO].name = "io.stat"
		return files
	}
	files[fileCPU] = counterFile{"cpuacct", "cpuacct.usage"}
	files[fileThrottling] = counterFile{"cpu", "cpu.stat"}
	files[fileMemoryCurrent] = counterFile{"memory", "memory.usage_in_bytes"}
	files[fileMemoryEvents] = counterFile{"memory", "memory.oom_control"}
	files[fileMemoryFailures] = counterFile{"memory", "memory.failcnt"}
	files[fileIO] = counterFile{"blkio", "blkio.throttle.io_service_bytes_recursive"}
	files[fileIOOperations] = counterFile{"blkio", "blkio.throttle.io_serviced_recursive"}
	if h.Mode == V1 { // groups have PSI in a v2 hierarchy only
		files[fileCPUPressure], files[fileMemoryPressure], files[fileIOPressure] = counterFile{}, counterFile{}, counterFile{}
	}
	return files
}

// GroupID is the identity of the group that is at a path now: the inode of its directory, in the cpu
// hierarchy where there are several. A group that is made again at the same path has another.
func (h Host) GroupID(group string) (uint64, error) {
	var st unix.Stat_t
	if err := unix.Stat(h.Dir("cpu", group), &st); err != nil {
		return 0, fmt.Errorf("finding cgroup %s: %w", group, err)
	}
	return st.Ino, nil
}

// Reader reads the counters of groups. It keeps the files of each group open and reads them again with
// pread, so that a reading costs one system call for each file and no allocation. A file that was not
// there is looked for again less and less often. Close it, and Forget groups that are gone. It is not
// safe for concurrent use.
type Reader struct {
	host  Host
	files [fileCount]counterFile
	open  map[string]*openGroup
	buf   buffer
}

// openGroup holds the descriptors of one group; -1 is what was not there.
type openGroup struct {
	id uint64
	// root is the group's directory, in the cpu hierarchy where there are several.
	root int
	fds  [fileCount]int
	// readings is how many there were; the next look for missing files is at reading lookAt.
	readings, lookAt int
}

// NewReader returns a Reader of h's groups.
func NewReader(h Host) *Reader {
	return &Reader{host: h, files: h.counterFiles(), open: map[string]*openGroup{}, buf: newBuffer()}
}

// Read reads all counters of a group. A counter that the kernel does not have for it is not OK. The
// error is fs.ErrNotExist when the group has vanished: then nothing about it is known.
func (r *Reader) Read(group string) (usage.GroupSample, error) { return r.ReadOnly(group, allCounters) }

// ReadOnly reads these counters of a group, for looks that are so frequent that it matters. The others are not OK.
func (r *Reader) ReadOnly(group string, counters Counters) (usage.GroupSample, error) {
	// A held file of a group that was removed answers ENODEV; the path may by now be another group.
	for attempt := 0; ; attempt++ {
		g, err := r.openGroup(group)
		if err != nil {
			return usage.GroupSample{}, fmt.Errorf("opening cgroup %s: %w", group, err)
		}
		s := usage.GroupSample{Key: usage.GroupKey{Path: group, ID: g.id}}
		if err = r.sample(g, counters, &s); err == nil {
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
		for _, fd := range append(g.fds[:], g.root) {
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
		root, err := unix.Open(r.host.Dir("cpu", group), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return nil, err
		}
		g = &openGroup{root: root}
		for i := range g.fds {
			g.fds[i] = -1
		}
		r.open[group] = g
		var st unix.Stat_t
		if err := unix.Fstat(root, &st); err != nil {
			r.Forget(group)
			return nil, err
		}
		g.id = st.Ino
	}
	if g.readings++; g.readings < g.lookAt {
		return g, nil
	}
	g.lookAt = g.readings + min(g.readings, lookAgainEvery)
	if err := r.openFiles(group, g); err != nil {
		r.Forget(group)
		return nil, err
	}
	return g, nil
}

// openFiles opens the files of a group that are not open: those of the hierarchy that its identity is from
// below the held directory, so that they are that very group's, the others by path.
func (r *Reader) openFiles(group string, g *openGroup) error {
	for i, f := range r.files {
		if g.fds[i] >= 0 || f.name == "" {
			continue
		}
		at, name := g.root, f.name
		if r.host.Mode != V2 && f.controller != "cpu" {
			at, name = unix.AT_FDCWD, r.host.Dir(f.controller, group)+"/"+f.name
		}
		fd, err := unix.Openat(at, name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		switch {
		case err == nil:
			g.fds[i] = fd
		case i == fileCPU, !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.EOPNOTSUPP):
			return fmt.Errorf("open %s: %w", name, err)
		}
	}
	return nil
}

// bytes reads one file of a group; nothing where it is not there.
func (r *Reader) bytes(g *openGroup, file int, err *error) []byte {
	if *err != nil || g.fds[file] < 0 {
		return nil
	}
	b, readErr := r.buf.pread(g.fds[file], false)
	// PSI may be switched off for one group (cgroup.pressure) or for the kernel (psi=0).
	isPSI := file >= fileCPUPressure && file <= fileIOPressure
	if readErr != nil && (!isPSI || !errors.Is(readErr, unix.EOPNOTSUPP)) {
		*err = fmt.Errorf("%s: %w", r.files[file].name, readErr)
	}
	return b
}

// number reads a file that holds one number.
func (r *Reader) number(g *openGroup, file int, err *error) usage.Reading {
	v, ok := parseUint(r.bytes(g, file, err))
	return usage.Reading{Value: v, OK: ok}
}

// sample reads counters of a group into s.
func (r *Reader) sample(g *openGroup, counters Counters, s *usage.GroupSample) (err error) {
	if counters&CPUPressure != 0 {
		s.CPUSomeMicros, s.CPUFullMicros = parsePSI(r.bytes(g, fileCPUPressure, &err))
	}
	if counters&MemoryPressure != 0 {
		s.MemorySomeMicros, s.MemoryFullMicros = parsePSI(r.bytes(g, fileMemoryPressure, &err))
	}
	if counters&IOPressure != 0 {
		s.IOSomeMicros, s.IOFullMicros = parsePSI(r.bytes(g, fileIOPressure, &err))
	}
	r.sampleCPU(g, counters, s, &err)
	if counters&Memory != 0 {
		r.sampleMemory(g, s, &err)
	}
	if counters&IO != 0 {
		r.sampleIO(g, s, &err)
	}
	if counters&PIDs != 0 {
		s.PIDs = r.number(g, filePIDs, &err)
	}
	return err
}

func (r *Reader) sampleCPU(g *openGroup, counters Counters, s *usage.GroupSample, err *error) {
	if r.host.Mode == V2 {
		if counters&(CPUTime|Throttling) != 0 {
			parseFields(r.bytes(g, fileCPU, err), field{"usage_usec", &s.CPUMicros}, field{"nr_periods", &s.Periods},
				field{"nr_throttled", &s.ThrottledPeriods}, field{"throttled_usec", &s.ThrottledMicros})
		}
		return
	}
	if counters&CPUTime != 0 {
		s.CPUMicros = fromNanos(r.number(g, fileCPU, err))
	}
	if counters&Throttling != 0 {
		parseFields(r.bytes(g, fileThrottling, err), field{"nr_periods", &s.Periods},
			field{"nr_throttled", &s.ThrottledPeriods}, field{"throttled_time", &s.ThrottledMicros})
		s.ThrottledMicros = fromNanos(s.ThrottledMicros)
	}
}

func (r *Reader) sampleMemory(g *openGroup, s *usage.GroupSample, err *error) {
	s.MemoryCurrentBytes = r.number(g, fileMemoryCurrent, err)
	var inactive usage.Reading
	if r.host.Mode == V2 {
		parseFields(r.bytes(g, fileMemoryStat, err), field{"anon", &s.AnonBytes}, field{"file", &s.FileBytes}, field{"inactive_file", &inactive})
		parseFields(r.bytes(g, fileMemoryEvents, err), field{"low", &s.MemoryLowEvents}, field{"high", &s.MemoryHighEvents},
			field{"max", &s.MemoryMaxEvents}, field{"oom", &s.MemoryOOMEvents}, field{"oom_kill", &s.MemoryOOMKillEvents})
	} else {
		parseFields(r.bytes(g, fileMemoryStat, err), field{"total_rss", &s.AnonBytes}, field{"total_cache", &s.FileBytes}, field{"total_inactive_file", &inactive})
		parseFields(r.bytes(g, fileMemoryEvents, err), field{"oom_kill", &s.MemoryOOMKillEvents})
		s.MemoryMaxEvents = r.number(g, fileMemoryFailures, err)
	}
	if s.MemoryCurrentBytes.OK && inactive.OK {
		s.WorkingSetBytes = usage.Of(max(s.MemoryCurrentBytes.Value-inactive.Value, 0))
	}
}

func (r *Reader) sampleIO(g *openGroup, s *usage.GroupSample, err *error) {
	if g.fds[fileIO] < 0 {
		return // not the same as an empty file, which says that there was none
	}
	b := r.bytes(g, fileIO, err)
	if *err != nil {
		return
	}
	if r.host.Mode == V2 {
		s.IOReadBytes, s.IOWriteBytes, s.IOReads, s.IOWrites = parseIOStat(b)
		return
	}
	s.IOReadBytes, s.IOWriteBytes = parseBlkio(b)
	s.IOReads, s.IOWrites = parseBlkio(r.bytes(g, fileIOOperations, err))
}

func fromNanos(r usage.Reading) usage.Reading { return usage.Reading{Value: r.Value / 1000, OK: r.OK} }
