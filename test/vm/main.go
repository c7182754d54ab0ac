// Command vm runs a test binary as root in a throw-away virtual machine whose control groups are pure
// cgroup v2, and ends with its output and exit status. It is made for go test:
//
//	hack/vm-kernel.sh && go build -o bin/vmrun ./test/vm
//	CGO_ENABLED=0 go test -exec "$PWD/bin/vmrun -kernel $PWD/.cache/vm" ./test/kernel/...
//
//	b=$PWD/bin; CGO_ENABLED=0 go test -exec "$b/vmrun -kernel $PWD/.cache/vm -memory 1536 \
//		-programs $b/containerd,$b/containerd-shim-runc-v2,$b/runc,$b/pause" ./test/hooked
//
// QEMU emulates the machine, so neither KVM nor any right is needed. The binary must be static. The
// folder testdata of the tested package, GODEBUG and variables named PLIMSOLL_... go along. The same
// executable is the init of the guest. It is no sandbox, and there is no disk.
// With -systemd the host's systemd is the first process, and the program a service of it; with -network the guest reaches
// the host's 127.0.0.1. hack/test.sh makes a node of a cluster of it.
//
// Units: -timeout is time of the host.
//
// The trap: time in the guest is counted in instructions, not seconds. That makes a scheduler's shares
// exact whatever else the host does, and sleeping cheap, but no duration measured in the guest says
// anything about a real machine. With -network it is the host's time, and what is emulated is slow in it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// configFile is how a kernel was built, in the folder that hack/vm-kernel.sh made of it.
const configFile = "config"

// Exit statuses of our own; any other is the program's.
const (
	exitUsage   = 2
	exitMachine = 125
)

func main() {
	switch {
	case os.Getpid() == 1:
		guest()
		return
	case len(os.Args) == 2 && os.Args[1] == serviceArgument:
		guestService()
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGQUIT)
	code, err := host(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "vmrun:", err)
	}
	os.Exit(code)
}

// host runs what args ask for in a machine and returns its exit status.
func host(ctx context.Context, args []string, stdout, stderr io.Writer) (int, error) {
	flags := flag.NewFlagSet("vmrun", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() {
		fmt.Fprintln(stderr, "usage: vmrun [flags] PROGRAM [ARGUMENT...]")
		flags.PrintDefaults()
	}
	var c contents
	flags.StringVar(&c.kernel, "kernel", ".cache/vm", "`directory` that hack/vm-kernel.sh made")
	flags.StringVar(&c.programs, "programs", "", "`files` of the host, separated by commas, that the guest has in /bin")
	flags.StringVar(&c.files, "files", "", "files and folders that the guest has, as `HOST=GUEST`, separated by commas")
	flags.StringVar(&c.modules, "modules", "configfs,null_blk", "kernel modules to load, in this order, after those that other flags need")
	flags.BoolVar(&c.systemd, "systemd", false, "the host's systemd as the machine's first process, and the program as a service of it")
	flags.BoolVar(&c.network, "network", false, "the machine reaches this host's 127.0.0.1 at "+hostAddress+"; its time is the host's")
	cpus := flags.Int("cpus", 2, "CPUs of the machine")
	threads := flags.Int("threads", 1, "threads of each core; -cpus is a multiple of that times -nodes")
	nodes := flags.Int("nodes", 1, "NUMA nodes of the machine")
	memoryMiB := flags.Int("memory", 512, "memory of the machine in MiB")
	timeout := flags.Duration("timeout", 10*time.Minute, "kill the machine after this much time of the host")
	verbose := flags.Bool("x", false, "print QEMU's command, the kernel's log and what it cost")
	if err := flags.Parse(args); err != nil {
		return exitUsage, err
	}
	if flags.NArg() == 0 {
		flags.Usage()
		return exitUsage, errors.New("no program to run")
	}
	if *threads < 1 || *nodes < 1 || *cpus < 1 || *cpus%(*threads**nodes) != 0 {
		return exitUsage, fmt.Errorf("-cpus %d must be a multiple of -threads %d times -nodes %d, and each at least 1", *cpus, *threads, *nodes)
	}
	dir, err := os.Getwd()
	if err != nil {
		return exitMachine, fmt.Errorf("finding the working directory: %w", err)
	}
	m := machine{
		kernel: filepath.Join(c.kernel, "vmlinuz"), cpus: *cpus, threads: *threads, nodes: *nodes, memoryMiB: *memoryMiB,
		timeout: *timeout, verbose: *verbose, stdout: stdout, stderr: stderr, systemd: c.systemd, network: c.network,
	}
	if _, err := os.Stat(m.kernel); err != nil {
		return exitMachine, fmt.Errorf("finding a kernel to boot: %w: run hack/vm-kernel.sh, or say -kernel DIR", err)
	}
	j, coverProfile := newJob(dir, flags.Args()[1:], os.Environ())
	files, err := c.pack(&j, flags.Arg(0))
	if err != nil {
		return exitMachine, err
	}
	return m.run(ctx, j, files, coverProfile)
}

// contents are the flags that say what the guest has.
type contents struct {
	kernel, programs, files, modules string
	systemd, network                 bool
}

// pack lists the guest's files, and tells the job what of them it is about.
func (c contents) pack(j *job, program string) ([]packed, error) {
	files := []packed{{host: program, guest: programPath, mode: 0o755}}
	j.Systemd, j.Network = c.systemd, c.network
	modules := strings.FieldsFunc(c.modules, isComma)
	if c.network && !builtIn(c.kernel, "CONFIG_VIRTIO_NET") {
		modules = append([]string{"failover", "net_failover", "virtio_net"}, modules...)
	}
	for _, name := range modules {
		guest := "/modules/" + name + ".ko"
		files = append(files, packed{host: filepath.Join(c.kernel, "modules", name+".ko"), guest: guest, mode: 0o644})
		j.Modules = append(j.Modules, guest)
	}
	for _, name := range strings.FieldsFunc(c.programs, isComma) {
		files = append(files, packed{host: name, guest: "/bin/" + filepath.Base(name), mode: 0o755})
	}
	for _, pair := range strings.FieldsFunc(c.files, isComma) {
		from, to, ok := strings.Cut(pair, "=")
		if !ok {
			return nil, fmt.Errorf("-files: %q is not HOST=GUEST", pair)
		}
		below, err := filesBelow(from)
		if err != nil {
			return nil, err
		}
		if len(below) == 0 {
			return nil, fmt.Errorf("-files: %s: %w", from, fs.ErrNotExist)
		}
		for _, f := range below {
			f.guest = to + strings.TrimPrefix(f.guest, from)
			files = append(files, f)
		}
	}
	testdata, err := filesBelow(filepath.Join(j.Dir, "testdata"))
	if err != nil {
		return nil, err
	}
	files = append(append(files, testdata...), kernelConfig(c.kernel)...)
	if c.systemd {
		system, err := systemdFiles()
		if err != nil {
			return nil, err
		}
		files = append(files, system...)
	}
	return files, nil
}

func isComma(r rune) bool { return r == ',' }

// builtIn says whether the kernel in dir has an option in itself: as a module, and where nobody knows, it has not.
func builtIn(dir, option string) bool {
	b, err := os.ReadFile(filepath.Join(dir, configFile))
	return err == nil && slices.Contains(strings.Split(string(b), "\n"), option+"=y")
}

// kernelConfig is how the kernel was built, put where distributions have it: tests ask it what they must find.
// A kernel of unknown release has none.
func kernelConfig(dir string) []packed {
	b, err := os.ReadFile(filepath.Join(dir, "release"))
	config := filepath.Join(dir, configFile)
	if _, statErr := os.Stat(config); err != nil || statErr != nil {
		return nil
	}
	release := strings.TrimPrefix(strings.TrimSpace(string(b)), "linux-image-")
	return []packed{{host: config, guest: "/boot/config-" + release, mode: 0o644}}
}
