package agentcost

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/plimsoll/plimsoll/pkg/cgroup"
)

// Where the machine's kernel is.
const (
	procRoot = "/proc"
	fsRoot   = "/sys/fs/cgroup"
)

// pods is what a busy node runs.
const pods = 150

// controllers are those that a kubelet gives pods.
var controllers = []string{"cpu", "cpuacct", "cpuset", "memory", "blkio", "pids", "unified"}

// nodeTree is real groups as a kubelet with the driver cgroupfs makes them.
type nodeTree struct {
	cgroup.Host
	tb          testing.TB
	root        string
	hierarchies []string
	made        []string
}

// newNodeTree makes kubepods and its tiers below a root of our own.
func newNodeTree(tb testing.TB) *nodeTree {
	tb.Helper()
	if os.Geteuid() != 0 {
		tb.Skip("needs root: control groups of our own")
	}
	mode, err := cgroup.DetectMode(fsRoot)
	if err != nil {
		tb.Fatal(err)
	}
	tr := &nodeTree{tb: tb, root: fmt.Sprintf("/plimsoll-perf-%d", os.Getpid()), Host: cgroup.Host{ProcRoot: procRoot, FSRoot: fsRoot, Mode: mode}}
	if mode == cgroup.V2 {
		tr.hierarchies = []string{fsRoot}
		tr.delegate("/")
	} else {
		for _, c := range controllers {
			real, err := filepath.EvalSymlinks(filepath.Join(fsRoot, c))
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				tb.Fatal(err)
			}
			if !slices.Contains(tr.hierarchies, real) {
				tr.hierarchies = append(tr.hierarchies, real)
			}
		}
	}
	tb.Cleanup(tr.remove)
	for _, g := range []string{"", "/kubepods", "/kubepods/burstable", "/kubepods/besteffort", "/kubepods/plimsoll-batch"} {
		tr.make(tr.root + g)
	}
	if tr.Host, err = cgroup.Detect(procRoot, fsRoot, tr.root); err != nil {
		tb.Fatal(err)
	}
	return tr
}

// pod makes the groups of the i-th pod, two of three burstable, with one container, and returns both.
func (tr *nodeTree) pod(i int, uid string) [2]string {
	tr.tb.Helper()
	tier := "/burstable"
	if i%3 == 0 {
		tier = "/besteffort"
	}
	pod := tr.Kubepods + tier + "/pod" + uid
	container := fmt.Sprintf("%s/%064x", pod, i+1)
	tr.make(pod)
	tr.make(container)
	return [2]string{pod, container}
}

// batchContainer makes the group of a container in the batch branch.
func (tr *nodeTree) batchContainer() string {
	tr.tb.Helper()
	group := fmt.Sprintf("%s/%064x", tr.BatchBranch(), 1000)
	tr.make(group)
	return group
}

func (tr *nodeTree) make(group string) {
	tr.tb.Helper()
	tr.made = append(tr.made, group)
	for _, h := range tr.hierarchies {
		if err := os.Mkdir(filepath.Join(h, group), 0o755); err != nil {
			tr.tb.Fatal(err)
		}
	}
	if tr.Mode == cgroup.V2 {
		if strings.Count(group, "/") < 4 {
			tr.delegate(group)
		}
		return
	}
	for _, f := range []string{"cpuset.cpus", "cpuset.mems"} { // born empty
		b, err := os.ReadFile(filepath.Join(tr.Dir("cpuset", path.Dir(group)), f))
		if err == nil {
			err = os.WriteFile(filepath.Join(tr.Dir("cpuset", group), f), b, 0)
		}
		if err != nil {
			tr.tb.Fatal(err)
		}
	}
}

// delegate lets the groups below a v2 group have the controllers.
func (tr *nodeTree) delegate(group string) {
	tr.tb.Helper()
	for _, c := range []string{"cpu", "cpuset", "memory", "io", "pids"} {
		if err := os.WriteFile(filepath.Join(fsRoot, group, "cgroup.subtree_control"), []byte("+"+c), 0); err != nil {
			tr.tb.Fatal(err)
		}
	}
}

func (tr *nodeTree) remove() {
	slices.Reverse(tr.made)
	for _, g := range tr.made {
		for _, h := range tr.hierarchies {
			dir := filepath.Join(h, g)
			eventually(tr.tb, "removing "+dir, func() bool { // a process that has just ended is still there for a moment
				err := unix.Rmdir(dir)
				return err == nil || errors.Is(err, fs.ErrNotExist)
			})
		}
	}
}

// eventually waits for a condition.
func eventually(tb testing.TB, what string, so func() bool) {
	tb.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(time.Minute); !so(); <-tick.C {
		if time.Now().After(end) {
			tb.Errorf("%s: not so after a minute", what)
			return
		}
	}
}
