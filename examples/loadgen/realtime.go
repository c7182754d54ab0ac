package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// realtimePriority is SCHED_FIFO's: low, so that it beats every ordinary thread and no other real-time
// one.
const realtimePriority = 10

// setRealtime gives every thread of this process the real-time priority; threads made later inherit it
// from the thread that makes them. It stands for clients on other machines, whose own wait for a CPU
// must not be measured.
func setRealtime(taskDir string) error {
	done := make(map[int]bool)
	// The runtime may add a thread while the list is read, so go on until a pass finds none new.
	for {
		entries, err := os.ReadDir(taskDir)
		if err != nil {
			return fmt.Errorf("listing threads: %w", err)
		}
		found := false
		for _, entry := range entries {
			thread, err := strconv.Atoi(entry.Name())
			if err != nil || done[thread] {
				continue
			}
			found, done[thread] = true, true
			attributes := unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_FIFO, Priority: realtimePriority}
			err = unix.SchedSetAttr(thread, &attributes, 0)
			if err != nil && !errors.Is(err, unix.ESRCH) {
				return explainRealtime(err)
			}
		}
		if !found {
			return nil
		}
	}
}

// explainRealtime adds the remedy to a refusal.
func explainRealtime(err error) error {
	if errors.Is(err, unix.EPERM) {
		return fmt.Errorf("setting real-time priority: %w: it needs CAP_SYS_NICE and, on kernels with "+
			"real-time group scheduling, a cpu.rt_runtime_us above 0 in the process's cgroup", err)
	}
	return fmt.Errorf("setting real-time priority: %w", err)
}

// ownThreads is where the kernel lists this process's threads.
func ownThreads() string { return filepath.Join("/proc", strconv.Itoa(os.Getpid()), "task") }
