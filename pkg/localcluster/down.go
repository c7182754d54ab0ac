package localcluster

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// killTimeout is for processes that take long to go, in uninterruptible writes or on a starved machine.
const killTimeout = 30 * time.Second

// Down removes an instance: its processes, mounts, groups, addresses, settings and files, whatever
// state it is in. On a directory without one it says so and does nothing.
func Down(_ context.Context, dir string, out io.Writer) error {
	if dir == "" {
		dir = DefaultDir()
	}
	dir, err := canonicalDir(dir)
	if err != nil {
		return err
	}
	p := newProgress(out)
	began := time.Now()
	procs := markedPIDs("/proc", dir)
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) && len(procs) == 0 {
		p.note("nothing to take down: there is no instance in %s", dir)
		return nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("reading the state directory: %w", err)
	}
	if unlock, err := lockDir(dir); err == nil {
		defer unlock()
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	inst, err := loadInstance(dir)
	if err != nil {
		// A killed up may have left folders and no file in them.
		if len(entries) > 0 && !onlyOurs(dir, entries) && len(procs) == 0 {
			return fmt.Errorf("%s is not an instance of plimsoll-local: nothing is removed", dir)
		}
		inst = &Instance{Dir: dir, CgroupRoot: DefaultCgroupRoot(dir), ControlPlaneOnly: os.Geteuid() != 0}
	}
	if !inst.ControlPlaneOnly && os.Geteuid() != 0 {
		return fmt.Errorf("the instance in %s was brought up by root: run down with sudo", dir)
	}
	if err := inst.remove(p); err != nil {
		return fmt.Errorf("taking %s down: %w; run down again", dir, err)
	}
	p.did("down: nothing is left of "+dir, time.Since(began))
	return nil
}

// onlyOurs reports whether all entries are folders that up makes.
func onlyOurs(dir string, entries []fs.DirEntry) bool {
	ours := (Layout{dir}).dirs()
	for _, e := range entries {
		if e.Name() != instanceFile+".tmp" && !slices.Contains(ours, filepath.Join(dir, e.Name())) {
			return false
		}
	}
	return true
}

func (i *Instance) remove(p *progress) error {
	l := i.layout()
	var hs []hierarchy
	var links []string
	var err error
	if !i.ControlPlaneOnly {
		if hs, err = hierarchies("/proc"); err != nil {
			return err
		}
		if links, err = podLinks(l); err != nil {
			return err
		}
	}
	step := p.start("stopping processes")
	// Without a farewell: what they would save is deleted next.
	if err := killAll("/proc", hs, i.Dir, i.CgroupRoot, killTimeout); err != nil {
		return err
	}
	step.done("processes stopped")
	if i.ControlPlaneOnly {
		return removeDir(i.Dir)
	}
	step = p.start("removing cgroups, mounts, addresses and files")
	if err := removeGroups(hs, i.CgroupRoot, 10*time.Second); err != nil {
		return err
	}
	// With another instance up, its needs and its record go on; the last one out restores.
	if others := otherInstances("/proc", i.Dir); !slices.ContainsFunc(others, func(o *Instance) bool { return !o.ControlPlaneOnly }) {
		if err := restoreSysctls("/proc", i.Sysctls); err != nil {
			return err
		}
		disableControllers(hs, i.RootControllers)
	}
	if err := removeLinks(links); err != nil {
		return err
	}
	if i.Network.Block != 0 {
		if err := i.Network.removeLoopbackAddrs(); err != nil {
			return err
		}
	}
	if err := unmountBelow("/proc", i.Dir); err != nil {
		return err
	}
	if err := removeDir(i.Dir); err != nil {
		return err
	}
	step.done("cgroups, mounts, addresses and files removed")
	return nil
}

// killAll ends everything that has the instance's mark or is in its groups, and waits until it is gone.
func killAll(procRoot string, hs []hierarchy, dir, cgroupRoot string, timeout time.Duration) error {
	deadline := time.Now().Add(timeout)
	for {
		pids := markedPIDs(procRoot, dir)
		if cgroupRoot != "" {
			for _, h := range hs {
				pids = append(pids, groupPIDs(filepath.Join(h.path, cgroupRoot))...)
			}
		}
		slices.Sort(pids)
		pids = slices.DeleteFunc(slices.Compact(pids), func(pid int) bool { return pid == os.Getpid() || !alive(procRoot, pid) })
		if len(pids) == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("still running after %s and SIGKILL: %v", timeout, pids)
		}
		signalAll(pids, syscall.SIGKILL)
		time.Sleep(20 * time.Millisecond)
	}
}

// unmountBelow is for mounts that reached the host by ways not foreseen.
func unmountBelow(procRoot, dir string) error {
	b, err := os.ReadFile(filepath.Join(procRoot, "self", "mountinfo"))
	if err != nil {
		return fmt.Errorf("reading the mounts: %w", err)
	}
	for _, m := range slices.Backward(mountsBelow(string(b), dir)) {
		if err := unix.Unmount(m, unix.MNT_DETACH); err != nil {
			return fmt.Errorf("unmounting %s: %w", m, err)
		}
	}
	return nil
}

// mountsBelow lists the mount points under dir in the text of /proc/self/mountinfo, parents first.
func mountsBelow(mountinfo, dir string) []string {
	var found []string
	sc := bufio.NewScanner(strings.NewReader(mountinfo))
	for sc.Scan() {
		f := strings.Fields(sc.Text())
		if len(f) < 5 {
			continue
		}
		// Spaces and the like are written as octal escapes.
		point, err := strconv.Unquote(`"` + strings.ReplaceAll(f[4], `"`, `\"`) + `"`)
		if err == nil && strings.HasPrefix(point, dir+"/") {
			found = append(found, point)
		}
	}
	return found
}

// removeDir deletes the directory, its mark last: a down that is killed meanwhile can be repeated.
func removeDir(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading the state directory: %w", err)
	}
	for _, e := range entries {
		if e.Name() == instanceFile {
			continue
		}
		if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
			return fmt.Errorf("deleting files: %w", err)
		}
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("deleting the state directory: %w", err)
	}
	return nil
}
