package localcluster

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

const (
	nodeBytes         = 3 << 30   // images, layers, logs and etcd of a demo
	controlPlaneBytes = 512 << 20 // etcd and logs
)

// host is what preflight asks of the machine; tests answer in its place.
type host struct {
	procRoot  string
	euid      int
	free      func(port int) bool
	freeBytes func(dir string) (uint64, error)
	overlay   func(dir string) error
}

func thisHost() host {
	return host{procRoot: "/proc", euid: os.Geteuid(), free: portFree, freeBytes: freeBytes, overlay: tryOverlay}
}

// preflight finds what would fail later, and answers how cgroups are mounted. Each error is one line with its remedy.
func (h host) preflight(o Options) (CgroupMode, []hierarchy, error) {
	if !o.ControlPlaneOnly && h.euid != 0 {
		return "", nil, errors.New("containers and cgroups need root: run it with sudo, or use --control-plane-only")
	}
	if err := checkDirUsable(o.Dir); err != nil {
		return "", nil, err
	}
	if err := checkPort(o.Port, h.free, h.procRoot); err != nil {
		return "", nil, err
	}
	need := uint64(nodeBytes)
	if o.ControlPlaneOnly {
		need = controlPlaneBytes
	}
	existing := existingParent(o.Dir)
	free, err := h.freeBytes(existing)
	if err != nil {
		return "", nil, err
	}
	if err := diskError(existing, free, need); err != nil {
		return "", nil, err
	}
	if o.SchedulerConfig != "" {
		if _, err := os.Stat(o.SchedulerConfig); err != nil {
			return "", nil, fmt.Errorf("reading --scheduler-config: %w", err)
		}
	}
	if o.ControlPlaneOnly {
		return "", nil, nil
	}
	hs, err := hierarchies(h.procRoot)
	if err != nil {
		return "", nil, err
	}
	mode, err := modeOf(hs)
	if err != nil {
		return "", nil, err
	}
	if err := checkControllers(hs, mode); err != nil {
		return "", nil, err
	}
	if err := h.overlay(existing); err != nil {
		return "", nil, fmt.Errorf("no overlayfs on %s (%w): run `modprobe overlay`, or put --dir on ext4 or xfs", existing, err)
	}
	return mode, hs, nil
}

// checkDirUsable refuses to make an instance among somebody's files, because down would delete them.
func checkDirUsable(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) || (err == nil && len(entries) == 0) {
		if err := unix.Access(existingParent(dir), unix.W_OK); err != nil {
			return fmt.Errorf("%s cannot be written to: choose another place with --dir, or run it with sudo", existingParent(dir))
		}
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading %s: %w", dir, err)
	}
	return fmt.Errorf("%s holds other files: choose an empty or new --dir, because down deletes it", dir)
}

func existingParent(dir string) string {
	for {
		if _, err := os.Stat(dir); err == nil || dir == "/" {
			return dir
		}
		dir = filepath.Dir(dir)
	}
}

func freeBytes(dir string) (uint64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, fmt.Errorf("reading the free space of %s: %w", dir, err)
	}
	return st.Bavail * uint64(st.Bsize), nil
}

func checkDisk(dir string, need uint64) error {
	free, err := freeBytes(dir)
	if err != nil {
		return err
	}
	return diskError(dir, free, need)
}

func diskError(dir string, free, need uint64) error {
	if free >= need {
		return nil
	}
	return fmt.Errorf("only %d MiB free on %s, %d MiB needed: free some space, or choose another place with --dir", free>>20, dir, need>>20)
}

// tryOverlay mounts an overlay below dir where nobody sees it: whether a file system can be an upper
// layer shows only then.
func tryOverlay(dir string) error {
	tmp, err := os.MkdirTemp(dir, ".plimsoll-overlay-")
	if err != nil {
		return fmt.Errorf("making a folder to try it in: %w", err)
	}
	defer os.RemoveAll(tmp)
	at := func(n string) string { return filepath.Join(tmp, n) }
	for _, d := range []string{"lower", "upper", "work", "merged"} {
		if err := os.Mkdir(at(d), 0o755); err != nil {
			return fmt.Errorf("making a folder to try it in: %w", err)
		}
	}
	result := make(chan error)
	onOwnThread(func() {
		if err := privateMounts(); err != nil {
			result <- err
			return
		}
		opts := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", at("lower"), at("upper"), at("work"))
		if err := unix.Mount("overlay", at("merged"), "overlay", 0, opts); err != nil {
			result <- err
			return
		}
		result <- unix.Unmount(at("merged"), 0)
	})
	return <-result
}
