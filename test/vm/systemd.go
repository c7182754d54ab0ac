package main

import (
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	// serviceArgument tells this executable that it is the service that runs the program.
	serviceArgument = "systemd-service"
	jobTarget       = "plimsoll-job.target"
	systemdPath     = "/usr/lib/systemd/systemd"
	unitDir         = "/etc/systemd/system/"
)

// becomeSystemd makes systemd of the host's the machine's first process.
//
// Nothing can pivot away from the root that the kernel unpacks, which container runtimes do, so the same files are
// mounted over it once more.
func becomeSystemd() error {
	const root = "/newroot"
	if err := os.Mkdir(root, 0o755); err != nil {
		return fmt.Errorf("making a root: %w", err)
	}
	if err := unix.Mount("/", root, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("mounting the root again: %w", err)
	}
	if err := errors.Join(unix.Chdir(root), unix.Mount(".", "/", "", unix.MS_MOVE, ""), unix.Chroot("."), unix.Chdir("/")); err != nil {
		return fmt.Errorf("changing to the root: %w", err)
	}
	return fmt.Errorf("running systemd: %w", unix.Exec(systemdPath, []string{"systemd"}, []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "TERM=linux"}))
}

// systemdFiles are what systemd needs of the host, and the units that run the job. There is no journal, no udev and
// no login: only what a kubelet and a container runtime use.
func systemdFiles() ([]packed, error) {
	programs := []struct {
		name     string
		optional bool
	}{
		{name: systemdPath},
		{name: "/usr/lib/systemd/systemd-executor", optional: true}, // from systemd 255 on
		{name: "/usr/bin/systemctl"}, {name: "/usr/bin/systemd-run"}, {name: "/usr/bin/dbus-daemon"},
		{name: "/usr/bin/mount"}, {name: "/usr/bin/umount"}, // the kubelet mounts volumes with them
	}
	var files []packed
	for _, p := range programs {
		if _, err := os.Stat(p.name); errors.Is(err, fs.ErrNotExist) && p.optional {
			continue
		} else if err != nil {
			return nil, fmt.Errorf("finding systemd and what it needs on this host: %w", err)
		}
		files = append(files, packed{host: p.name, guest: p.name, mode: 0o755})
	}
	files, err := withLibraries(files)
	if err != nil {
		return nil, err
	}
	for _, unit := range []string{
		"basic.target", "sysinit.target", "shutdown.target", "umount.target", "local-fs.target", "slices.target", "sockets.target",
		"paths.target", "timers.target", "dbus.service", "dbus.socket",
	} {
		files = append(files, packed{host: "/usr/lib/systemd/system/" + unit, guest: unitDir + unit, mode: 0o644})
	}
	for _, name := range []string{"/usr/share/dbus-1/system.conf", "/usr/share/dbus-1/system.d/org.freedesktop.systemd1.conf"} {
		files = append(files, packed{host: name, guest: name, mode: 0o644})
	}
	for guest, text := range map[string]string{
		unitDir + jobTarget: "[Unit]\nRequires=basic.target dbus.socket plimsoll-job.service\nAfter=basic.target\nAllowIsolate=yes\n",
		unitDir + "plimsoll-job.service": "[Unit]\nAfter=basic.target dbus.socket\n[Service]\nExecStart=/init " + serviceArgument +
			"\nStandardOutput=tty\nStandardError=tty\nTTYPath=/dev/console\nDelegate=yes\nTasksMax=infinity\n",
		"/etc/systemd/system.conf":   "[Manager]\nDefaultStandardOutput=null\nDefaultTimeoutStartSec=600\n",
		"/etc/passwd":                "root:x:0:0:root:/root:/bin/sh\nmessagebus:x:100:100::/nonexistent:/usr/sbin/nologin\nnobody:x:65534:65534::/:/usr/sbin/nologin\n",
		"/etc/group":                 "root:x:0:\nmessagebus:x:100:\nnogroup:x:65534:\n",
		"/etc/nsswitch.conf":         "passwd: files\ngroup: files\nhosts: files\n",
		"/etc/machine-id":            strings.Repeat("0123456789abcdef", 2) + "\n",
		"/etc/hostname":              "plimsoll-vm\n",
		"/etc/hosts":                 "127.0.0.1 localhost plimsoll-vm\n",
		"/etc/resolv.conf":           "",
		"/var/lib/plimsoll-vm/.keep": "",
		"/tmp/.keep":                 "",
	} {
		files = append(files, packed{guest: guest, mode: 0o644, text: text})
	}
	slices.SortFunc(files, func(a, b packed) int { return strings.Compare(a.guest, b.guest) })
	return files, nil
}

// withLibraries adds the libraries that programs are linked with, each where it is on the host.
func withLibraries(programs []packed) ([]packed, error) {
	files, seen := slices.Clone(programs), map[string]bool{}
	for i := 0; i < len(files); i++ { // it grows
		needed, err := libraries(files[i].host)
		if err != nil {
			return nil, err
		}
		for _, name := range needed {
			if !seen[name] {
				seen[name] = true
				files = append(files, packed{host: name, guest: name, mode: 0o755})
			}
		}
	}
	return files, nil
}

// libraries are those that a program or library names, and the interpreter that loads them.
func libraries(name string) ([]string, error) {
	f, err := elf.Open(name)
	if err != nil {
		return nil, fmt.Errorf("reading what %s is linked with: %w", name, err)
	}
	defer f.Close()
	var found []string
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			b := make([]byte, p.Filesz)
			if _, err := p.ReadAt(b, 0); err != nil {
				return nil, fmt.Errorf("reading the interpreter of %s: %w", name, err)
			}
			found = append(found, strings.TrimRight(string(b), "\x00"))
		}
	}
	needed, err := f.ImportedLibraries()
	if err != nil {
		return nil, fmt.Errorf("reading what %s is linked with: %w", name, err)
	}
	runPath, err := f.DynString(elf.DT_RUNPATH)
	if err != nil {
		return nil, fmt.Errorf("reading where %s looks for libraries: %w", name, err)
	}
	dirs := append(strings.Split(strings.Join(runPath, ":"), ":"), filepath.Dir(name), "/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib64", "/usr/lib64", "/usr/lib", "/usr/lib/systemd")
	for _, n := range needed {
		at := slices.IndexFunc(dirs, func(dir string) bool {
			_, err := os.Stat(filepath.Join(dir, n))
			return dir != "" && err == nil
		})
		if at < 0 {
			return nil, fmt.Errorf("looking for %s, which %s needs: %w", n, name, fs.ErrNotExist)
		}
		found = append(found, filepath.Join(dirs[at], n))
	}
	return found, nil
}
