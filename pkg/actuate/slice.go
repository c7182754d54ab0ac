package actuate

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// OwnSlice is how long a slice of CPU time this process's threads ask for at a time. The kernel gives the CPU to the
// one whose slice would be over first, each by its weight; so a thread that asks for little waits little, and gets
// no more than its weight's share all the same.
const OwnSlice = 100 * time.Microsecond // the least that the kernel takes

// ErrNoSlices means that the kernel takes no notice of the slice that a thread asks for.
var ErrNoSlices = errors.New("the kernel does not let threads ask for a slice (Linux 6.12)")

// AskForShortSlices asks for OwnSlice for every thread of this process; a thread gives it to those that it starts.
// Threads with a scheduling policy of their own are left alone. The setting goes with the process, so nothing is
// journaled.
func AskForShortSlices(procRoot string) error {
	return eachThread(func() ([]int, error) { return ownThreads(procRoot) }, func(id int) error {
		if err := askForSlice(id, OwnSlice); err != nil {
			return fmt.Errorf("asking for slices of %v for thread %d: %w", OwnSlice, id, err)
		}
		return nil
	})
}

// TrySlices says whether a thread gets the slice that it asks for, by asking for one of the caller's.
func TrySlices() error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	return askForSlice(0, OwnSlice)
}

// ownThreads lists the threads of this process.
func ownThreads(procRoot string) ([]int, error) {
	entries, err := os.ReadDir(filepath.Join(procRoot, "self/task"))
	if err != nil {
		return nil, fmt.Errorf("listing this process's threads: %w", err)
	}
	ids := make([]int, 0, len(entries))
	for _, e := range entries {
		id, err := strconv.Atoi(e.Name())
		if err != nil {
			return nil, fmt.Errorf("listing this process's threads: %w", err)
		}
		ids = append(ids, id)
	}
	return ids, nil
}

// askForSlice sets the slice of a thread and reads it back: older kernels take the call and do nothing.
func askForSlice(id int, slice time.Duration) error {
	attr, err := unix.SchedGetAttr(id, 0)
	if err != nil {
		return err
	}
	if attr.Policy != unix.SCHED_NORMAL && attr.Policy != unix.SCHED_BATCH {
		return nil
	}
	want := unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: attr.Policy, Nice: attr.Nice, Runtime: uint64(slice)}
	if err := unix.SchedSetAttr(id, &want, 0); err != nil {
		return err
	}
	if attr, err = unix.SchedGetAttr(id, 0); err == nil && attr.Runtime != uint64(slice) {
		return ErrNoSlices
	}
	return err
}
