package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// cgroupRoot is where the guest has its one hierarchy.
const cgroupRoot = "/sys/fs/cgroup"

// guest is the init of the machine: it runs the job, or has systemd do so. What goes wrong is printed to the
// console, whose last lines the host shows.
func guest() {
	j, err := readJob()
	if err == nil && j.Systemd {
		err = becomeSystemd()
	}
	if err == nil {
		err = mountAll()
	}
	if err == nil {
		err = enableControllers()
	}
	if err != nil {
		powerOff(0, err)
	}
	powerOff(runJob(j))
}

// guestService is what systemd runs as a service.
func guestService() {
	j, err := readJob()
	if err == nil {
		err = mount("tmpfs", scratchDir)
	}
	if err != nil {
		powerOff(0, err)
	}
	powerOff(runJob(j))
}

// powerOff reports the program's exit status, unless something was wrong with the machine, and powers off.
func powerOff(code int, err error) {
	if err != nil {
		fmt.Println("vmrun: guest:", err)
	} else if err := report(code); err != nil {
		fmt.Println("vmrun: guest: reporting:", err)
	}
	unix.Sync()
	fmt.Println("vmrun: guest: powering off:", unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF))
	select {} // an init that ends makes the kernel panic
}

func readJob() (j job, err error) {
	b, err := os.ReadFile(jobPath)
	if err != nil {
		return j, fmt.Errorf("reading the job: %w", err)
	}
	if err := json.Unmarshal(b, &j); err != nil {
		return j, fmt.Errorf("decoding the job: %w", err)
	}
	return j, nil
}

func runJob(j job) (code int, err error) {
	for _, m := range j.Modules {
		if err := loadModule(m); err != nil {
			return 0, err
		}
	}
	if j.Network {
		if err := startNetwork(); err != nil {
			return 0, err
		}
	}
	out, err := openPort(portOutput)
	if err != nil {
		return 0, err
	}
	c := exec.Command(programPath, j.Args...)
	c.Dir, c.Env = j.Dir, append([]string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin:/", "HOME=" + scratchDir, "TMPDIR=" + scratchDir}, j.Env...)
	c.Stdout, c.Stderr = out, out
	if err := c.Start(); err != nil {
		return 0, fmt.Errorf("starting the program: %w", err)
	}
	return reap(c.Process.Pid)
}

func mountAll() error {
	for _, m := range []struct{ kind, at string }{
		{"proc", "/proc"}, {"sysfs", "/sys"}, {"devtmpfs", "/dev"}, {"tmpfs", scratchDir}, {"cgroup2", cgroupRoot},
	} {
		if err := mount(m.kind, m.at); err != nil {
			return err
		}
	}
	return nil
}

func mount(kind, at string) error {
	// The kernel mounts devtmpfs by itself where it is built so.
	if err := unix.Mount(kind, at, kind, 0, ""); err != nil && !errors.Is(err, unix.EBUSY) {
		return fmt.Errorf("mounting %s at %s: %w", kind, at, err)
	}
	return nil
}

func loadModule(file string) error {
	f, err := os.Open(file)
	if err != nil {
		return fmt.Errorf("loading a module: %w", err)
	}
	if err := errors.Join(unix.FinitModule(int(f.Fd()), "", 0), f.Close()); err != nil {
		return fmt.Errorf("loading module %s: %w", file, err)
	}
	return nil
}

// enableControllers gives every controller to the groups below the root, as systemd does where it may.
func enableControllers() error {
	b, err := os.ReadFile(filepath.Join(cgroupRoot, "cgroup.controllers"))
	if err != nil {
		return fmt.Errorf("listing controllers: %w", err)
	}
	for c := range strings.FieldsSeq(string(b)) {
		if err := os.WriteFile(filepath.Join(cgroupRoot, "cgroup.subtree_control"), []byte("+"+c), 0); err != nil {
			return fmt.Errorf("enabling controller %s: %w", c, err)
		}
	}
	return nil
}

// reap waits for every process, as an init must, until pid has ended. A signal ends it as a shell would say.
func reap(pid int) (code int, err error) {
	for {
		var status unix.WaitStatus
		got, err := unix.Wait4(-1, &status, 0, nil)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return 0, fmt.Errorf("waiting for the program: %w", err)
		case got == pid && status.Signaled():
			return 128 + int(status.Signal()), nil
		case got == pid:
			return status.ExitStatus(), nil
		}
	}
}

func report(code int) error {
	profile, err := os.ReadFile(coverPath)
	if err == nil {
		err = send(portCover, profile)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return send(portResult, fmt.Appendf(nil, "exit=%d\n", code))
}

func send(port string, data []byte) error {
	f, err := openPort(port)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Close())
}

// openPort finds a serial port by its name. It is opened without os.Open, which would make it non-blocking.
func openPort(name string) (*os.File, error) {
	names, err := filepath.Glob("/sys/class/virtio-ports/*/name")
	if err != nil {
		return nil, fmt.Errorf("looking for port %s: %w", name, err)
	}
	for _, n := range names {
		b, err := os.ReadFile(n)
		if err != nil || strings.TrimSpace(string(b)) != name {
			continue
		}
		fd, err := unix.Open("/dev/"+filepath.Base(filepath.Dir(n)), unix.O_WRONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return nil, fmt.Errorf("opening port %s: %w", name, err)
		}
		return os.NewFile(uintptr(fd), name), nil
	}
	return nil, fmt.Errorf("looking for port %s: %w among %q", name, fs.ErrNotExist, names)
}
