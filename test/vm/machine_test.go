package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// guestVariable makes this test binary the program that runs in the machine.
const guestVariable = "PLIMSOLL_TEST_GUEST"

func TestMain(m *testing.M) {
	switch {
	case os.Getpid() == 1:
		guest()
	case len(os.Args) == 2 && os.Args[1] == serviceArgument:
		guestService()
	case os.Getenv(guestVariable) == "systemd" && isService():
		tellSystemd()
		os.Exit(3)
	case os.Getenv(guestVariable) == "systemd":
		tellScope()
		os.Exit(0)
	case os.Getenv(guestVariable) != "":
		fmt.Println("hello from", os.Getenv(guestVariable))
		if _, err := os.Stat(cgroupRoot + "/cgroup.controllers"); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		if os.Getenv(guestVariable) == "signal" {
			_ = exec.Command("/no/such/file").Run() // a failure to start must not confuse the init
			p, _ := os.FindProcess(os.Getpid())
			_ = p.Kill()
			select {}
		}
		os.Exit(3)
	}
	os.Exit(m.Run())
}

// isService tells the program that systemd runs from the same one in a scope of its own.
func isService() bool {
	b, _ := os.ReadFile("/proc/self/cgroup")
	return strings.Contains(string(b), "plimsoll-job.service")
}

// kernelDir is where there is a kernel to boot, or the test is skipped.
func kernelDir(t *testing.T) string {
	t.Helper()
	dir := os.Getenv("PLIMSOLL_VM_KERNEL")
	if dir == "" {
		dir = "../../.cache/vm"
	}
	if _, err := os.Stat(filepath.Join(dir, "vmlinuz")); err != nil {
		t.Skip("needs a kernel for the virtual machine: run hack/vm-kernel.sh")
	}
	if _, err := exec.LookPath(qemu); err != nil {
		t.Skip("needs QEMU: install qemu-system-x86")
	}
	return dir
}

func TestTheMachineGivesTheProgramsOutputAndStatus(t *testing.T) {
	kernel := kernelDir(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for how, wantCode := range map[string]int{"exit": 3, "signal": 128 + 9} {
		t.Run(how, func(t *testing.T) {
			t.Setenv(guestVariable, how)
			t.Setenv("TMPDIR", t.TempDir())
			var stdout, stderr bytes.Buffer
			code, err := host(t.Context(), []string{"-kernel", kernel, "-memory", "256", self}, &stdout, &stderr)
			if err != nil || code != wantCode {
				t.Errorf("status %d, %v, want %d; it says:\n%s", code, err, wantCode, &stderr)
			}
			if got, want := stdout.String(), "hello from "+how+"\n"; strings.ReplaceAll(got, "\r", "") != want {
				t.Errorf("output %q, want %q", got, want)
			}
			left, err := os.ReadDir(os.Getenv("TMPDIR"))
			if err != nil || len(left) != 0 {
				t.Errorf("left behind: %v, %v", left, err)
			}
		})
	}
}

func TestAMachineThatHangsIsKilled(t *testing.T) {
	kernel := kernelDir(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var stdout, stderr bytes.Buffer
	began := time.Now()
	code, err := host(t.Context(), []string{"-kernel", kernel, "-timeout", "100ms", self}, &stdout, &stderr)
	if code != exitMachine || err == nil || !strings.Contains(err.Error(), "longer than 100ms") {
		t.Errorf("status %d, %v, want %d and the reason", code, err, exitMachine)
	}
	if took := time.Since(began); took > time.Minute {
		t.Errorf("killing took %v", took)
	}
}

func TestWhatIsMissingIsSaidWithItsRemedy(t *testing.T) {
	f := func(name string, args []string, wantCode int, want ...string) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			code, err := host(t.Context(), args, &stdout, &stderr)
			if err == nil || code != wantCode {
				t.Fatalf("status %d, %v, want %d and an error", code, err, wantCode)
			}
			for _, w := range want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("error %q does not say %q", err, w)
				}
			}
		})
	}
	kernel := t.TempDir()
	write(t, kernel+"/vmlinuz", "")
	f("no program", nil, exitUsage, "no program")
	f("an unknown flag", []string{"-no-such-flag"}, exitUsage, "no-such-flag")
	f("CPUs that cannot be spread", []string{"-cpus", "6", "-threads", "2", "-nodes", "2", "program"}, exitUsage, "-cpus 6 must be a multiple")
	f("no kernel", []string{"-kernel", "/no/such/directory", "program"}, exitMachine, "run hack/vm-kernel.sh")
	t.Setenv("PATH", t.TempDir())
	f("no QEMU", []string{"-kernel", kernel, "program"}, exitMachine, "install qemu-system-x86")
}

func TestTheMachinesTimeIsCountedAndItsPortsAreNamed(t *testing.T) {
	m := machine{kernel: "/k/vmlinuz", cpus: 4, threads: 1, nodes: 1, memoryMiB: 256}
	got := strings.Join(m.args("/i", "/l", map[string]string{portOutput: "/o", portResult: "/r"}), " ")
	for _, want := range []string{
		"-accel tcg,thread=single -icount shift=2,sleep=off", "-smp 4,sockets=1,cores=4,threads=1 -m 256M", "-kernel /k/vmlinuz -initrd /i",
		"-chardev file,id=output,path=/o -device virtserialport,chardev=output,name=output",
		"-chardev file,id=result,path=/r -device virtserialport,chardev=result,name=result",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("arguments %q lack %q", got, want)
		}
	}
	if strings.Contains(got, "-numa") {
		t.Errorf("arguments %q have NUMA nodes that nobody asked for", got)
	}
	networked := machine{kernel: "/k/vmlinuz", cpus: 2, threads: 1, nodes: 1, memoryMiB: 256, network: true, systemd: true}
	if got := strings.Join(networked.args("/i", "/l", nil), " "); strings.Contains(got, "-icount") || !strings.Contains(got, "-netdev user,id=net") ||
		!strings.Contains(got, "systemd.unit="+jobTarget) {
		t.Errorf("arguments %q of a machine with systemd and a network", got)
	}
	m = machine{kernel: "/k/vmlinuz", cpus: 8, threads: 2, nodes: 2, memoryMiB: 256}
	large := strings.Join(m.args("/i", "/l", nil), " ")
	for _, want := range []string{
		"-cpu max,+topoext", "-smp 8,sockets=2,cores=2,threads=2", "-object memory-backend-ram,id=node1,size=128M -numa node,nodeid=1,cpus=4-7,memdev=node1",
	} {
		if !strings.Contains(large, want) {
			t.Errorf("arguments %q lack %q", large, want)
		}
	}
	if strings.Contains(got, portCover) {
		t.Errorf("arguments %q have a port for a profile that nobody asked for", got)
	}
}
