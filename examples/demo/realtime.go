package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/plimsoll/plimsoll/pkg/cgroup"
)

// leaveBudgets moves the processes of one group to the top of the cpu hierarchy, where the kernel counts real-time
// tasks by group (CONFIG_RT_GROUP_SCHED, cgroup v1); elsewhere there is nothing to do. A group that has used its
// real-time budget up stands still until the second is over, and the load generator, which stands for clients on
// other machines, must not: block and network interrupts are charged to whoever runs, so beside batch that fills
// the page cache it uses twice what it uses alone. Above all groups there is only the machine's own limit.
func leaveBudgets(host cgroup.Host, group string) error {
	from := host.Dir("cpu", group)
	_, err := os.Stat(filepath.Join(from, "cpu.rt_runtime_us"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("leaving the real-time budgets: %w", err)
	}
	pids, err := os.ReadFile(filepath.Join(from, "cgroup.procs"))
	if err != nil {
		return fmt.Errorf("leaving the real-time budgets: %w", err)
	}
	if len(strings.Fields(string(pids))) == 0 {
		return fmt.Errorf("leaving the real-time budgets: %s has no processes", from)
	}
	for pid := range strings.FieldsSeq(string(pids)) {
		if err := writeKernelFile(filepath.Join(host.Dir("cpu", "/"), "cgroup.procs"), pid); err != nil {
			return fmt.Errorf("leaving the real-time budgets: %w", err)
		}
	}
	return nil
}

// writeKernelFile writes without package os, which may wait for ever for a kernel file to become ready,
// and without O_CREAT, which such a file answers with another error than that it is missing.
func writeKernelFile(file, value string) error {
	fd, err := unix.Open(file, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return &fs.PathError{Op: "open", Path: file, Err: err}
	}
	_, err = unix.Write(fd, []byte(value))
	if closeErr := unix.Close(fd); err == nil {
		err = closeErr
	}
	if err != nil {
		return fmt.Errorf("writing %q to %s: %w", value, file, err)
	}
	return nil
}
