package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/plimsoll/plimsoll/pkg/usage"
)

// Capacity is what a node has.
type Capacity struct {
	MilliCPU    int64
	MemoryBytes int64
}

// The files of procfs that a NodeReader keeps open.
const (
	nodeStat = iota
	nodeMeminfo
	nodeCPUPressure
	nodeMemoryPressure
	nodeIOPressure
	nodeSchedstat
	nodeFileCount
)

// NodeReader reads the counters of the whole node. It keeps the files open. It is not safe for concurrent use.
type NodeReader struct {
	root  string
	names [nodeFileCount]string
	fds   [nodeFileCount]int
	buf   buffer
	cpus  int
}

// NewNodeReader opens the node's files. What the kernel does not have of PSI and schedstat is left out;
// anything else that cannot be opened is an error.
func NewNodeReader(h Host) (*NodeReader, error) {
	n := &NodeReader{
		root:  h.ProcRoot,
		names: [nodeFileCount]string{"stat", "meminfo", "pressure/cpu", "pressure/memory", "pressure/io", "schedstat"},
		buf:   newBuffer(),
	}
	for i := range n.fds {
		n.fds[i] = -1
	}
	for i, name := range n.names {
		fd, err := unix.Open(filepath.Join(h.ProcRoot, name), unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err == nil {
			n.fds[i] = fd
		} else if i <= nodeMeminfo { // no PSI in this kernel, or switched off with psi=0: the reading stays absent
			n.Close()
			return nil, fmt.Errorf("reading %s: opening %s/%s: %w", [...]string{"CPU time", "memory"}[i], h.ProcRoot, name, err)
		}
	}
	return n, nil
}

// Close closes the node's files.
func (n *NodeReader) Close() {
	for i, fd := range n.fds {
		if fd >= 0 {
			_ = unix.Close(fd) // read-only: nothing can be lost
		}
		n.fds[i] = -1
	}
}

// Read reads the counters of the whole node and its capacity. PSI and run delay that the kernel does not
// have are not OK; anything else that cannot be read is an error.
func (n *NodeReader) Read() (usage.NodeSample, Capacity, error) {
	var s usage.NodeSample
	stat, err := n.bytes(nodeStat)
	if err != nil {
		return s, Capacity{}, fmt.Errorf("reading CPU time: %w", err)
	}
	busy, perCPU, ok := parseStat(stat, make([]usage.CPUSample, 0, n.cpus))
	if !ok {
		return s, Capacity{}, fmt.Errorf("reading CPU time: %s/stat begins with %q", n.root, firstLine(stat))
	}
	n.cpus = len(perCPU)
	s.CPUBusyMicros, s.PerCPU = usage.Of(busy), perCPU

	meminfo, err := n.bytes(nodeMeminfo)
	if err != nil {
		return s, Capacity{}, fmt.Errorf("reading memory: %w", err)
	}
	var totalKiB, availableKiB usage.Reading // /proc/meminfo says kB and means 1024 bytes
	parseFields(meminfo, field{"MemTotal:", &totalKiB}, field{"MemAvailable:", &availableKiB})
	if !totalKiB.OK || !availableKiB.OK || totalKiB.Value > maxKiB || availableKiB.Value > maxKiB {
		return s, Capacity{}, fmt.Errorf("reading memory: %s/meminfo lacks MemTotal or MemAvailable", n.root)
	}
	s.MemoryUsedBytes = usage.Of((totalKiB.Value - availableKiB.Value) * 1024)

	s.CPUSomeMicros, _ = parsePSI(n.optional(nodeCPUPressure))
	s.MemorySomeMicros, s.MemoryFullMicros = parsePSI(n.optional(nodeMemoryPressure))
	s.IOSomeMicros, s.IOFullMicros = parsePSI(n.optional(nodeIOPressure))
	s.RunDelayMicros = parseSchedstat(n.optional(nodeSchedstat))
	return s, Capacity{MilliCPU: int64(len(perCPU)) * 1000, MemoryBytes: totalKiB.Value * 1024}, nil
}

// maxKiB keeps a number of bytes within 63 bits.
const maxKiB = (1<<63 - 1) / 1024

// bytes reads one file. The files of PSI and memory are one record; the others are read to the end.
func (n *NodeReader) bytes(file int) ([]byte, error) {
	b, err := n.buf.pread(n.fds[file], file == nodeSchedstat)
	if err != nil {
		return nil, fmt.Errorf("%s/%s: %w", n.root, n.names[file], err)
	}
	return b, nil
}

// optional reads a file that not every kernel has.
func (n *NodeReader) optional(file int) []byte {
	if n.fds[file] < 0 {
		return nil
	}
	b, err := n.bytes(file)
	if err != nil {
		return nil // PSI switched off answers EOPNOTSUPP: the reading stays absent
	}
	return b
}

// ReadNode reads the counters of the whole node once.
func (h Host) ReadNode() (usage.NodeSample, Capacity, error) {
	n, err := NewNodeReader(h)
	if err != nil {
		return usage.NodeSample{}, Capacity{}, err
	}
	defer n.Close()
	return n.Read()
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
