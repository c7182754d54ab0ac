package main

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// tellSystemd is what the machine's program prints where systemd runs it: the first process, the service that it is in, and
// what systemd makes of a slice of control groups that somebody asks for.
func tellSystemd() {
	for _, file := range []string{"/proc/1/comm", "/proc/self/cgroup"} {
		b, err := os.ReadFile(file)
		fmt.Println(strings.TrimSpace(string(b)), err)
	}
	out, err := exec.Command("/usr/bin/systemd-run", "--scope", "--quiet", "--slice=kubepods-plimsollbatch.slice", "-p", "CPUWeight=7", "/program").CombinedOutput()
	fmt.Printf("%s%v\n", out, err)
}

// tellScope is what the program prints in that slice.
func tellScope() {
	own, _ := os.ReadFile("/proc/self/cgroup")
	_, group, _ := strings.Cut(strings.TrimSpace(string(own)), "::")
	weight, err := os.ReadFile("/sys/fs/cgroup" + group + "/cpu.weight")
	fmt.Println(group[:strings.LastIndex(group, "/")], strings.TrimSpace(string(weight)), err)
}

func TestAProgramRunsAsAServiceOfSystemd(t *testing.T) {
	kernel := kernelDir(t)
	if _, err := systemdFiles(); err != nil {
		t.Skipf("needs systemd and dbus on this host to take their programs from, none of which has to run: %v", err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv(guestVariable, "systemd")
	var stdout, stderr bytes.Buffer
	code, err := host(t.Context(), []string{"-kernel", kernel, "-systemd", "-memory", "512", self}, &stdout, &stderr)
	if err != nil || code != 3 {
		t.Fatalf("status %d, %v, want 3; it says:\n%s", code, err, &stderr)
	}
	want := "systemd <nil>\n0::/system.slice/plimsoll-job.service <nil>\n/kubepods.slice/kubepods-plimsollbatch.slice 7 <nil>\n<nil>\n"
	if d := cmp.Diff(want, strings.ReplaceAll(stdout.String(), "\r", "")); d != "" {
		t.Errorf("output (-want +got):\n%s", d)
	}
}

func TestEveryLibraryOfAProgramGoesAlong(t *testing.T) {
	name, err := exec.LookPath("mount")
	if err != nil {
		t.Skip("needs a program that is linked with libraries: install mount")
	}
	files, err := withLibraries([]packed{{host: name, guest: name, mode: fs.FileMode(0o755)}})
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, f := range files {
		all = append(all, f.guest)
	}
	for _, want := range []string{"libmount.so", "libblkid.so", "libc.so", "/ld-linux"} { // libblkid is one of libmount's
		if !strings.Contains(strings.Join(all, " "), want) {
			t.Errorf("%v lack %s", all, want)
		}
	}
	if _, err := withLibraries([]packed{{host: "/no/such/program"}}); err == nil {
		t.Error("a program that is not there has libraries")
	}
}
