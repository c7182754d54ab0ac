package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const qemu = "qemu-system-x86_64"

// machine is a virtual machine that runs one job.
type machine struct {
	kernel string
	// cpus is all CPUs, threads those of each core; both are spread evenly over the NUMA nodes.
	cpus, threads, nodes, memoryMiB int
	// systemd and network are as in job.
	systemd, network bool
	timeout          time.Duration
	verbose          bool
	stdout, stderr   io.Writer
}

// run boots the machine, copies what the program prints to stdout and returns its exit status. The
// error is about the machine: where there is one the program did not run to its end.
func (m machine) run(ctx context.Context, j job, files []packed, coverProfile string) (code int, err error) {
	if _, err := exec.LookPath(qemu); err != nil {
		return exitMachine, fmt.Errorf("finding QEMU: %w: install qemu-system-x86", err)
	}
	dir, err := os.MkdirTemp("", "vmrun-")
	if err != nil {
		return exitMachine, fmt.Errorf("making a temporary directory: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := m.writeInitrd(filepath.Join(dir, "initrd"), j, files); err != nil {
		return exitMachine, err
	}
	ports := map[string]string{portOutput: "/proc/self/fd/3", portResult: filepath.Join(dir, "result")}
	if coverProfile != "" {
		ports[portCover] = coverProfile
	}
	began := time.Now()
	ctx, cancel := context.WithTimeoutCause(ctx, m.timeout, fmt.Errorf("it ran for longer than %v", m.timeout))
	defer cancel()
	process, runErr := m.boot(ctx, dir, ports)
	if m.verbose && process != nil {
		fmt.Fprintf(m.stderr, "vmrun: %v on the clock, %v of CPU\n", time.Since(began).Round(time.Millisecond), (process.UserTime() + process.SystemTime()).Round(time.Millisecond))
	}
	result, readErr := os.ReadFile(ports[portResult])
	if runErr == nil && readErr == nil {
		if code, ok := parseResult(string(result)); ok {
			return code, nil
		}
	}
	log, _ := os.ReadFile(filepath.Join(dir, "kernel.log")) // it may well not have come so far
	cause := errors.Join(runErr, context.Cause(ctx), readErr)
	if cause == nil {
		cause = errors.New("it ended without one")
	}
	return exitMachine, fmt.Errorf("the machine gave no result (%w); the kernel's last words:\n%s", cause, log[max(0, len(log)-4000):])
}

func (m machine) writeInitrd(name string, j job, files []packed) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("finding the guest's init: %w", err)
	}
	f, err := os.Create(name)
	if err != nil {
		return fmt.Errorf("making the guest's file system: %w", err)
	}
	if err := errors.Join(writeInitrd(f, self, j, files), f.Close()); err != nil {
		return fmt.Errorf("making the guest's file system: %w", err)
	}
	return nil
}

// boot runs QEMU until the guest powers off.
func (m machine) boot(ctx context.Context, dir string, ports map[string]string) (*os.ProcessState, error) {
	// The signal that ends QEMU with us is sent when the thread that started it ends.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()

	// A pipe of its own and not QEMU's stdio: there the end of our input would close the port.
	read, write, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("making a pipe: %w", err)
	}
	log := filepath.Join(dir, "kernel.log")
	c := exec.CommandContext(ctx, qemu, m.args(filepath.Join(dir, "initrd"), log, ports)...)
	c.ExtraFiles = []*os.File{write} // descriptor 3
	c.Stderr = m.stderr
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if m.verbose {
		fmt.Fprintln(m.stderr, "+", strings.Join(c.Args, " "))
	}
	copied := make(chan error, 1)
	go func() {
		_, err := io.Copy(m.stdout, read)
		copied <- err
	}()
	runErr := c.Run()
	err = errors.Join(runErr, write.Close(), <-copied, read.Close())
	if m.verbose {
		text, _ := os.ReadFile(log) // QEMU may have failed before making it
		fmt.Fprintf(m.stderr, "%s", text)
	}
	return c.ProcessState, err
}

// args is QEMU's command line. Several threads of emulation have made this kernel panic now and then,
// so there is one; counting instructions makes time in the guest independent of the host's load. With a
// network time is the host's: counted time leaps while the guest waits, and whoever it waits for seems dead.
func (m machine) args(initrd, log string, ports map[string]string) []string {
	// psi=1: some distributions build it in and leave it off. no_timer_check: the check is by real time.
	cmdline := "console=ttyS0 panic=-1 psi=1 no_timer_check random.trust_cpu=on"
	if !m.verbose {
		cmdline += " quiet"
	}
	if m.systemd {
		cmdline += " systemd.unified_cgroup_hierarchy=1 systemd.log_target=console systemd.show_status=false systemd.unit=" + jobTarget
	}
	accel := []string{"-accel", "tcg,thread=single"}
	if m.network {
		accel = append(accel, "-netdev", "user,id=net", "-device", "virtio-net-pci,netdev=net,romfile=")
	} else {
		accel = append(accel, "-icount", "shift=2,sleep=off")
	}
	cpu := "max"
	if m.threads > 1 {
		cpu += ",+topoext" // or the guest is told of threads in a way that this CPU does not have
	}
	args := []string{
		"-machine", "q35", "-cpu", cpu,
		"-smp", fmt.Sprintf("%d,sockets=%d,cores=%d,threads=%d", m.cpus, m.nodes, m.cpus/m.nodes/m.threads, m.threads), "-m", strconv.Itoa(m.memoryMiB) + "M",
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
		"-kernel", m.kernel, "-initrd", initrd, "-append", cmdline,
		"-serial", "file:" + log, "-device", "virtio-serial-pci",
	}
	args = append(args, accel...)
	for n := range m.nodes { // the NUMA nodes' CPUs and their parts of the memory
		if m.nodes == 1 {
			break
		}
		each := m.cpus / m.nodes
		args = append(args, "-object", fmt.Sprintf("memory-backend-ram,id=node%d,size=%dM", n, m.memoryMiB/m.nodes),
			"-numa", fmt.Sprintf("node,nodeid=%d,cpus=%d-%d,memdev=node%d", n, n*each, (n+1)*each-1, n))
	}
	for _, name := range []string{portOutput, portResult, portCover} {
		if file, ok := ports[name]; ok {
			args = append(args, "-chardev", "file,id="+name+",path="+file, "-device", "virtserialport,chardev="+name+",name="+name)
		}
	}
	return args
}

// parseResult reads what the guest says of the program's end: "exit=1".
func parseResult(text string) (code int, ok bool) {
	status, ok := strings.CutPrefix(strings.TrimSpace(text), "exit=")
	code, err := strconv.Atoi(status)
	return code, ok && err == nil
}
