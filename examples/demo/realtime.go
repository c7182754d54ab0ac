package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/plimsoll/plimsoll/pkg/cgroup"
)

// realtimeMicros is how much of each second the load generator may run at real-time priority on each CPU:
// far more than it uses, and little enough to leave the service's own share whole.
const realtimeMicros = 100_000

// allowRealtime lets the processes of one group use real-time priority. Where the kernel groups real-time
// tasks (CONFIG_RT_GROUP_SCHED, cgroup v1) each group above must have a share first; elsewhere there is
// nothing to do. The shares go with the cluster's groups.
func allowRealtime(host cgroup.Host, group string) error {
	above := "/"
	for name := range strings.SplitSeq(strings.Trim(group, "/"), "/") {
		above = path.Join(above, name)
		file := filepath.Join(host.Dir("cpu", above), "cpu.rt_runtime_us")
		is, err := os.ReadFile(file)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("allowing real-time priority: %w", err)
		}
		if micros, err := strconv.Atoi(strings.TrimSpace(string(is))); err == nil && micros >= realtimeMicros {
			continue
		}
		if err := writeKernelFile(file, strconv.Itoa(realtimeMicros)); err != nil {
			return fmt.Errorf("allowing real-time priority: %w", err)
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
