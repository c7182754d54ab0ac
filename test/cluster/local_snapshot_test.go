package cluster

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/plimsoll/plimsoll/pkg/localcluster"
)

// machine is what plimsoll-local could leave behind, in words. What belongs to other instances is not in it: a developer
// may have one up, and pods come and go there.
type machine struct {
	Processes, Mounts, Groups, Namespaces, Links, Files, Sysctls []string
}

// takeSnapshot reads the machine. dir is the instance's, bin where its binaries are.
func takeSnapshot(t *testing.T, dir, bin string) machine {
	t.Helper()
	var m machine
	var alone bool
	m.Processes, m.Namespaces, alone = processesAndNamespaces(dir, bin)
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	m.Mounts = strings.Split(strings.TrimSpace(string(mounts)), "\n")
	m.Groups = slices.DeleteFunc(allGroups(string(mounts)), func(g string) bool { return ofAnother(g, dir) })
	interfaces, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range interfaces {
		addrs, err := i.Addrs()
		if err != nil {
			t.Fatal(err)
		}
		if alone {
			m.Links = append(m.Links, fmt.Sprint(i.Name, addrs))
		}
	}
	for _, dir := range []string{"/", "/etc", "/opt", "/run", "/run/netns", "/run/containerd", "/run/nri", "/var/lib", "/var/lib/cni", "/var/log", "/var/run", "/usr/libexec", os.TempDir()} {
		entries, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		for _, e := range entries {
			// The temporary folder is everybody's.
			if dir != os.TempDir() || strings.Contains(e.Name(), "containerd") || strings.Contains(e.Name(), "kube") {
				m.Files = append(m.Files, filepath.Join(dir, e.Name()))
			}
		}
	}
	if !alone {
		return m // addresses and settings are shared with the other instance, which may change them meanwhile
	}
	for _, s := range []string{"kernel/keys/root_maxbytes", "kernel/keys/root_maxkeys", "kernel/panic", "kernel/panic_on_oops", "net/ipv4/ip_forward",
		"net/ipv4/conf/all/accept_redirects", "net/ipv6/conf/all/forwarding", "vm/overcommit_memory", "vm/panic_on_oom"} {
		if b, err := os.ReadFile(filepath.Join("/proc/sys", s)); err == nil {
			m.Sysctls = append(m.Sysctls, s+" = "+strings.TrimSpace(string(b)))
		}
	}
	return m
}

// ofAnother reports whether a cgroup's path is in the root of an instance other than dir's.
func ofAnother(path, dir string) bool {
	_, rest, found := strings.Cut(path, "/plimsoll-")
	own, _, _ := strings.Cut(strings.TrimPrefix(localcluster.DefaultCgroupRoot(dir), "/plimsoll-"), "/")
	name, _, _ := strings.Cut(rest, "/")
	return found && name != own
}

// processesAndNamespaces lists the processes that run an instance's binary or are in namespaces other than ours, and these
// namespaces. It answers whether there is no other instance.
func processesAndNamespaces(dir, bin string) (processes, namespaces []string, alone bool) {
	kinds := []string{"net", "mnt", "pid"}
	ours := map[string]string{}
	for _, k := range kinds {
		ours[k], _ = os.Readlink("/proc/self/ns/" + k)
	}
	entries, _ := os.ReadDir("/proc")
	seen := map[string]bool{}
	alone = true
	for _, e := range entries {
		if _, err := strconv.Atoi(e.Name()); err != nil || e.Name() == strconv.Itoa(os.Getpid()) {
			continue
		}
		proc := filepath.Join("/proc", e.Name())
		exe, err := os.Readlink(filepath.Join(proc, "exe"))
		if err != nil {
			continue // a kernel thread, or gone
		}
		environ, _ := os.ReadFile(filepath.Join(proc, "environ"))
		groups, _ := os.ReadFile(filepath.Join(proc, "cgroup"))
		marked := strings.Contains(string(environ), "PLIMSOLL_LOCAL_DIR=")
		if marked && !strings.Contains(string(environ), "PLIMSOLL_LOCAL_DIR="+dir+"\x00") || slices.ContainsFunc(strings.Split(string(groups), "\n"), func(g string) bool { return ofAnother(g, dir) }) {
			alone = false
			continue
		}
		foreign := false
		for _, k := range kinds {
			ns, err := os.Readlink(filepath.Join(proc, "ns", k))
			if err == nil && ns != ours[k] {
				foreign = true
				seen[ns] = true
			}
		}
		if foreign || marked || strings.HasPrefix(exe, bin+"/") {
			processes = append(processes, e.Name()+" "+exe)
		}
	}
	for ns := range seen {
		namespaces = append(namespaces, ns)
	}
	slices.Sort(processes)
	slices.Sort(namespaces)
	return processes, namespaces, alone
}

func allGroups(mountinfo string) []string {
	var groups []string
	for line := range strings.SplitSeq(mountinfo, "\n") {
		left, right, _ := strings.Cut(line, " - ")
		f := strings.Fields(left)
		if len(f) < 5 || !strings.HasPrefix(right, "cgroup") {
			continue
		}
		_ = filepath.WalkDir(f[4], func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				groups = append(groups, path)
			}
			return nil
		})
	}
	return groups
}

// added is what after has and before has not.
func added(before, after machine) machine {
	minus := func(after, before []string) []string {
		return slices.DeleteFunc(slices.Clone(after), func(s string) bool { return slices.Contains(before, s) })
	}
	a := machine{
		Processes: minus(after.Processes, before.Processes), Mounts: minus(after.Mounts, before.Mounts), Groups: slices.DeleteFunc(minus(after.Groups, before.Groups), func(g string) bool { return inAnothers(g, before.Groups) }),
		Namespaces: minus(after.Namespaces, before.Namespaces), Files: minus(after.Files, before.Files),
	}
	if before.Sysctls != nil {
		a.Links, a.Sysctls = minus(after.Links, before.Links), minus(after.Sysctls, before.Sysctls)
	}
	return a
}

// inAnothers reports whether a new group is below one that was there before and is neither the root of a hierarchy nor
// an instance's: some other program of the machine made it.
func inAnothers(group string, before []string) bool {
	if strings.Contains(group, "/plimsoll-") {
		return false
	}
	parent := filepath.Dir(group)
	for !slices.Contains(before, parent) && parent != "/" {
		parent = filepath.Dir(parent)
	}
	return slices.Contains(before, filepath.Dir(parent))
}

// wantAsBefore waits a moment for what the kernel takes apart in its own time, then compares.
func wantAsBefore(t *testing.T, before machine, dir, bin string) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for tick := time.Tick(100 * time.Millisecond); ; <-tick {
		diff := cmp.Diff(machine{}, added(before, takeSnapshot(t, dir, bin)), cmpopts.EquateEmpty())
		if diff == "" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("left behind (+):\n%s", diff)
		}
	}
}
