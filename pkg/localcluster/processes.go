package localcluster

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
)

// markedPIDs finds the processes whose environment says that they belong to dir. Every process of an
// instance but those in containers has the mark; containers are found by their cgroup.
func markedPIDs(procRoot, dir string) []int {
	mark := []byte(markEnv + "=" + dir)
	var pids []int
	for pid, vars := range environs(procRoot) {
		if slices.ContainsFunc(vars, func(v []byte) bool { return bytes.Equal(v, mark) }) {
			pids = append(pids, pid)
		}
	}
	slices.Sort(pids)
	return pids
}

// otherInstances are those that run on this machine now, besides dir.
func otherInstances(procRoot, dir string) []*Instance {
	dirs := map[string]bool{}
	for _, vars := range environs(procRoot) {
		for _, v := range vars {
			if d, ok := bytes.CutPrefix(v, []byte(markEnv+"=")); ok && string(d) != dir {
				dirs[string(d)] = true
			}
		}
	}
	var others []*Instance
	for d := range dirs {
		// One that cannot be read is being made or removed.
		if inst, err := loadInstance(d); err == nil {
			others = append(others, inst)
		}
	}
	return others
}

func environs(procRoot string) map[int][][]byte {
	entries, err := os.ReadDir(procRoot)
	if err != nil {
		return nil
	}
	found := map[int][][]byte{}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		// Other users' environments cannot be read, and other users' processes are not ours.
		if b, err := os.ReadFile(filepath.Join(procRoot, e.Name(), "environ")); err == nil && bytes.Contains(b, []byte(markEnv+"=")) {
			found[pid] = bytes.Split(b, []byte{0})
		}
	}
	return found
}

func signalAll(pids []int, sig syscall.Signal) {
	for _, pid := range pids {
		_ = syscall.Kill(pid, sig) // gone already is as good
	}
}

// alive reports whether a process exists and has not merely yet to be waited for by its parent.
func alive(procRoot string, pid int) bool {
	b, err := os.ReadFile(filepath.Join(procRoot, strconv.Itoa(pid), "stat"))
	if err != nil {
		return !errors.Is(err, os.ErrNotExist) && !errors.Is(err, syscall.ESRCH)
	}
	// The name, in brackets, may itself hold a bracket.
	rest := b[bytes.LastIndexByte(b, ')')+1:]
	return !bytes.HasPrefix(rest, []byte(" Z")) && !bytes.HasPrefix(rest, []byte(" X"))
}
