// Package captured copies what a node's kernel says about its pods into one text file, which the parsers'
// tests read later, on any machine: the files of procfs that the agent reads, and of every group below
// kubepods the files that it reads or has a knob for. It is not part of the product.
//
// The trap: an archive holds the UIDs of the pods, and nothing else that could name what runs on the node.
package captured

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
	"golang.org/x/tools/txtar"

	"github.com/plimsoll/plimsoll/pkg/cgroup"
	"github.com/plimsoll/plimsoll/pkg/qos"
)

// procFiles are the files of procfs. The beginning of a file that has a line for each interrupt is enough.
func procFiles() []string {
	return []string{"stat", "meminfo", "pressure/cpu", "pressure/memory", "pressure/io", "schedstat", "sys/kernel/osrelease"}
}

// counterFiles are the files of a group that are no knobs, by the controller of v1; v2 has those of "v2".
func counterFiles() map[string][]string {
	return map[string][]string{
		"v2": {
			"cpu.stat", "cpu.pressure", "memory.current", "memory.stat", "memory.events", "memory.pressure",
			"io.stat", "io.pressure", "pids.current", "cpuset.cpus.effective", "cgroup.controllers",
		},
		"cpu": {"cpu.stat"}, "cpuacct": {"cpuacct.usage"}, "pids": {"pids.current"},
		"memory":  {"memory.usage_in_bytes", "memory.stat", "memory.oom_control", "memory.failcnt"},
		"blkio":   {"blkio.throttle.io_service_bytes_recursive", "blkio.throttle.io_serviced_recursive"},
		"unified": {"cpu.pressure", "memory.pressure", "io.pressure"},
	}
}

// Capture reads a node. Files that it does not have are left out. The comment is the archive's first line.
func Capture(h cgroup.Host, comment string) (*txtar.Archive, error) {
	a := &txtar.Archive{Comment: []byte(strings.ReplaceAll(comment, "\n", " ") + "\n")}
	for _, name := range procFiles() {
		if err := add(a, path.Join("proc", name), filepath.Join(h.ProcRoot, name)); err != nil {
			return nil, err
		}
	}
	node := len(a.Files)
	files := map[string][]string{}
	for controller, names := range counterFiles() {
		if (controller == "v2") == (h.Mode == cgroup.V2) && (controller != "unified" || h.Mode == cgroup.Hybrid) {
			files[controller] = append(files[controller], names...)
		}
	}
	for _, k := range cgroup.Knobs() {
		if k.Knob == qos.CPUPolicy || k.Knob == qos.CoreCookie {
			continue // its files list threads, which are nothing without their machine
		}
		in, controller := k.In(h.Mode), k.V1.Controller
		if h.Mode == cgroup.V2 {
			controller = "v2"
		}
		if in.Files != nil && (h.Mode == cgroup.V2 || controller != "") {
			files[controller] = append(files[controller], in.Files...)
		}
	}
	for controller, names := range files {
		if controller == "v2" {
			controller = ""
		}
		if err := addGroups(a, h, controller, names); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(a.Files[node:], func(x, y txtar.File) int { return strings.Compare(x.Name, y.Name) })
	return a, nil
}

// addGroups adds files of every group of one hierarchy.
func addGroups(a *txtar.Archive, h cgroup.Host, controller string, names []string) error {
	root := h.Dir(controller, h.Kubepods)
	err := filepath.WalkDir(root, func(dir string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // vanished, or no such hierarchy
		}
		if err != nil || !d.IsDir() {
			return err
		}
		below, err := filepath.Rel(h.FSRoot, dir)
		if err != nil {
			return err
		}
		for _, name := range names {
			if err := add(a, path.Join("cgroup", filepath.ToSlash(below), name), filepath.Join(dir, name)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("capturing the groups below %s: %w", root, err)
	}
	return nil
}

// add adds one file, unless the kernel does not have it or does not let it be read (memory.reclaim).
func add(a *txtar.Archive, name, file string) error {
	b, err := os.ReadFile(file)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrPermission), errors.Is(err, unix.EINVAL), errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENODEV):
		return nil
	case err != nil:
		return fmt.Errorf("capturing %s: %w", file, err)
	}
	if strings.HasSuffix(name, "proc/stat") {
		b = withoutInterrupts(b)
	}
	a.Files = append(a.Files, txtar.File{Name: name, Data: b})
	return nil
}

// withoutInterrupts cuts the long lines of /proc/stat short.
func withoutInterrupts(b []byte) []byte {
	var out strings.Builder
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) > 12 && !strings.HasPrefix(line, "cpu") {
			line = strings.Join(f[:12], " ") + "\n"
		}
		out.WriteString(line)
	}
	return []byte(out.String())
}
