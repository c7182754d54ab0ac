package localcluster

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// thread runs functions on one OS thread that lives as long as the process. Children must be started
// on such a thread: their parent-death signal is tied to the thread that starts them, and they take over its mount namespace.
type thread struct {
	calls chan func()
}

// newThread locks a thread and prepares it.
func newThread(prepare func() error) (*thread, error) {
	t := &thread{calls: make(chan func())}
	ready := make(chan error)
	onOwnThread(func() {
		err := prepare()
		ready <- err
		if err != nil {
			return
		}
		for f := range t.calls {
			f()
		}
	})
	return t, <-ready
}

// onOwnThread runs f on a thread that nothing else has run on or will: it ends with f. It is never the
// main thread, which cannot end, and whose namespaces /proc/self shows as those of the process.
func onOwnThread(f func()) {
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			onOwnThread(f)
			// Only now: the new goroutine had to start on another thread.
			runtime.UnlockOSThread()
			return
		}
		f()
	}()
}

// start starts cmd so that it dies when the supervisor does, however that happens.
func (t *thread) start(cmd *exec.Cmd) error {
	// A process group of its own keeps a terminal's Ctrl-C away.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	done := make(chan error)
	t.calls <- func() { done <- cmd.Start() }
	return <-done
}

// privateMounts gives the calling thread a mount namespace from which nothing spreads to the host.
func privateMounts() error {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("making a mount namespace: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("making mounts private: %w", err)
	}
	return nil
}

// nodeMounts gives the calling thread the node's view: /run, /var/log and /var/lib are the instance's.
// The paths in keep stay visible where the host has them.
func nodeMounts(l Layout, keep ...string) error {
	if err := privateMounts(); err != nil {
		return err
	}
	binds := [][2]string{{l.path("node", "run"), "/run"}, {l.path("node", "log"), "/var/log"}, {l.path("node", "varlib"), "/var/lib"}}
	if info, err := os.Lstat("/var/run"); err == nil && info.IsDir() {
		binds = append(binds, [2]string{l.path("node", "run"), "/var/run"})
	}
	// A bind mount may cover the way to what is still needed, so all of it is opened before.
	open := map[string]int{}
	defer func() {
		for _, fd := range open {
			unix.Close(fd)
		}
	}()
	hold := func(path string) error {
		fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("opening %s: %w", path, err)
		}
		open[path] = fd
		return nil
	}
	var covered []string
	for _, k := range keep {
		for _, b := range binds {
			if k == b[1] || strings.HasPrefix(k, b[1]+"/") {
				covered = append(covered, k)
			}
		}
	}
	for _, b := range binds {
		if err := hold(b[0]); err != nil {
			return err
		}
	}
	for _, k := range covered {
		if err := hold(k); err != nil {
			return err
		}
	}
	bind := func(from, to string) error {
		src := fmt.Sprintf("/proc/thread-self/fd/%d", open[from])
		if err := unix.Mount(src, to, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
			return fmt.Errorf("mounting %s on %s for the node: %w", from, to, err)
		}
		return nil
	}
	for _, b := range binds {
		if err := bind(b[0], b[1]); err != nil {
			return err
		}
	}
	for _, k := range covered {
		if err := os.MkdirAll(k, 0o755); err != nil {
			return fmt.Errorf("making a mount point: %w", err)
		}
		if err := bind(k, k); err != nil {
			return err
		}
	}
	// Pods with bidirectional mounts need mounts to spread, within the node.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SHARED, ""); err != nil {
		return fmt.Errorf("making the node's mounts shared: %w", err)
	}
	return nil
}

// clearRun empties the node's /run, as a reboot would: after it containerd takes no dead container for a live one.
func clearRun(l Layout) error {
	entries, err := os.ReadDir(l.path("node", "run"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("reading the node's /run: %w", err)
	}
	for _, e := range entries {
		if err := os.RemoveAll(filepath.Join(l.path("node", "run"), e.Name())); err != nil {
			return fmt.Errorf("clearing the node's /run: %w", err)
		}
	}
	return nil
}
