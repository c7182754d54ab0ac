package cgroup

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestDetectFindsTheKubeletsGroups(t *testing.T) {
	tests := map[string]struct {
		made        []string
		kubeletRoot string
		want        Host
	}{
		"the cgroupfs driver": {
			made: []string{"kubepods"}, kubeletRoot: "/",
			want: Host{Driver: Cgroupfs, Kubepods: "/kubepods"},
		},
		"the systemd driver": {
			made: []string{"kubepods.slice", "system.slice"}, kubeletRoot: "/",
			want: Host{Driver: Systemd, Kubepods: "/kubepods.slice"},
		},
		"no setting at all": {
			made: []string{"kubepods"}, kubeletRoot: "",
			want: Host{Driver: Cgroupfs, Kubepods: "/kubepods"},
		},
		"a root of its own, cgroupfs": {
			made: []string{"kubelet-a/kubepods"}, kubeletRoot: "/kubelet-a",
			want: Host{Driver: Cgroupfs, Kubepods: "/kubelet-a/kubepods"},
		},
		"a root of its own with dashes, which systemd would read as levels": {
			made:        []string{"kubelet_a.slice/kubelet_a-kubepods.slice"},
			kubeletRoot: "/kubelet-a",
			want:        Host{Driver: Systemd, Kubepods: "/kubelet_a.slice/kubelet_a-kubepods.slice"},
		},
		"two levels, systemd": {
			made:        []string{"a_b.slice/a_b-c.slice/a_b-c-kubepods.slice"},
			kubeletRoot: "/a-b/c/",
			want:        Host{Driver: Systemd, Kubepods: "/a_b.slice/a_b-c.slice/a_b-c-kubepods.slice"},
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			groups(t, dir, []string{"cpu", "memory"}, tc.made...)
			got, err := Detect("/proc", dir, tc.kubeletRoot)
			if err != nil {
				t.Fatal(err)
			}
			tc.want.ProcRoot, tc.want.FSRoot, tc.want.Mode = "/proc", dir, V1
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("host (-want +got):\n%s", diff)
			}
		})
	}
}

func TestDetectSaysWhereItLooked(t *testing.T) {
	dir := t.TempDir()
	groups(t, dir, []string{"cpu"}, "kubepods")
	_, err := Detect("/proc", dir, "/my-root")
	if !errors.Is(err, ErrNoKubepods) {
		t.Errorf("error %v, want ErrNoKubepods", err)
	}
	wantError(t, err, dir+"/cpu/my-root/kubepods", dir+"/cpu/my_root.slice/my_root-kubepods.slice", `"/my-root"`)

	_, err = Detect("/proc", filepath.Join(dir, "not mounted"), "/")
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error %v, want fs.ErrNotExist", err)
	}
	wantError(t, err, "detecting the cgroup mode", "not mounted")
}

// A directory called unified is not a v2 hierarchy unless one is mounted there.
func TestAHostWithoutAMountedV2HierarchyIsV1(t *testing.T) {
	dir := t.TempDir()
	groups(t, dir, []string{"cpu", "unified"}, "kubepods")
	mode, err := DetectMode(dir)
	if err != nil || mode != V1 {
		t.Errorf("DetectMode = %q, %v, want %q", mode, err, V1)
	}
}

func TestTheBatchBranchIsASiblingOfTheTiers(t *testing.T) {
	tests := map[string]struct {
		host          Host
		wantBranch    string
		wantContainer string
	}{
		"cgroupfs": {
			host:       Host{Driver: Cgroupfs, Kubepods: "/kubepods"},
			wantBranch: "/kubepods/plimsoll-batch", wantContainer: "/kubepods/plimsoll-batch/5f3e",
		},
		"cgroupfs below a root": {
			host:       Host{Driver: Cgroupfs, Kubepods: "/kubelet-a/kubepods"},
			wantBranch: "/kubelet-a/kubepods/plimsoll-batch", wantContainer: "/kubelet-a/kubepods/plimsoll-batch/5f3e",
		},
		"systemd: one more level must be one more dash": {
			host:          Host{Driver: Systemd, Kubepods: "/kubepods.slice"},
			wantBranch:    "/kubepods.slice/kubepods-plimsollbatch.slice",
			wantContainer: "kubepods-plimsollbatch.slice:cri-containerd:5f3e",
		},
		"systemd below a root": {
			host:          Host{Driver: Systemd, Kubepods: "/kubelet_a.slice/kubelet_a-kubepods.slice"},
			wantBranch:    "/kubelet_a.slice/kubelet_a-kubepods.slice/kubelet_a-kubepods-plimsollbatch.slice",
			wantContainer: "kubelet_a-kubepods-plimsollbatch.slice:cri-containerd:5f3e",
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			if got := tc.host.BatchBranch(); got != tc.wantBranch {
				t.Errorf("BatchBranch = %s, want %s", got, tc.wantBranch)
			}
			if got := tc.host.BatchContainerPath("5f3e", ""); got != tc.wantContainer {
				t.Errorf("BatchContainerPath = %s, want %s", got, tc.wantContainer)
			}
		})
	}
}

// The name of a container's group stays the runtime's own, and the agent finds it by that name.
func TestABatchContainerIsNamedAsItsRuntimeWould(t *testing.T) {
	systemd, cgroupfs := Host{Driver: Systemd, Kubepods: "/kubepods.slice"}, Host{Driver: Cgroupfs, Kubepods: "/kubepods"}
	for name, tc := range map[string]struct {
		host              Host
		meant, want       string
		group, wantPrefix string
	}{
		"containerd, systemd": {systemd, "kubepods-besteffort-pod1.slice:cri-containerd:5f3e", "kubepods-plimsollbatch.slice:cri-containerd:5f3e", "cri-containerd-5f3e.scope", "cri-containerd"},
		"CRI-O, systemd":      {systemd, "kubepods-besteffort-pod1.slice:crio:5f3e", "kubepods-plimsollbatch.slice:crio:5f3e", "crio-5f3e.scope", "crio"},
		"another's ID":        {systemd, "a.slice:crio:c0ffee", "kubepods-plimsollbatch.slice:cri-containerd:5f3e", "cri-containerd-5f3e.scope", "cri-containerd"},
		"no prefix of a name": {systemd, "a.slice:../b:5f3e", "kubepods-plimsollbatch.slice:cri-containerd:5f3e", "cri-containerd-5f3e.scope", "cri-containerd"},
		"no systemd path":     {systemd, "/kubepods/pod1/5f3e", "kubepods-plimsollbatch.slice:cri-containerd:5f3e", "cri-containerd-5f3e.scope", "cri-containerd"},
		"containerd":          {cgroupfs, "/kubepods/besteffort/pod1/5f3e", "/kubepods/plimsoll-batch/5f3e", "5f3e", ""},
		"CRI-O":               {cgroupfs, "/kubepods/besteffort/pod1/crio-5f3e", "/kubepods/plimsoll-batch/crio-5f3e", "crio-5f3e", "crio"},
		"no path":             {cgroupfs, "..", "/kubepods/plimsoll-batch/5f3e", "5f3e", ""},
	} {
		t.Run(name, func(t *testing.T) {
			if got := tc.host.BatchContainerPath("5f3e", tc.meant); got != tc.want {
				t.Errorf("BatchContainerPath of %q = %s, want %s", tc.meant, got, tc.want)
			}
			if prefix, id, ok := tc.host.containerName(tc.group); !ok || id != "5f3e" || prefix != tc.wantPrefix {
				t.Errorf("the group %s is container %q of %q, %v", tc.group, id, prefix, ok)
			}
		})
	}
}

func TestEachModeHasItsDirectories(t *testing.T) {
	f := func(mode Mode, controller, want string) {
		t.Helper()
		if got := (Host{FSRoot: "/fs", Mode: mode}).Dir(controller, "/kubepods"); got != want {
			t.Errorf("%s: the %s directory is %s, want %s", mode, controller, got, want)
		}
	}
	f(V1, "memory", "/fs/memory/kubepods")
	f(Hybrid, "unified", "/fs/unified/kubepods")
	f(V2, "memory", "/fs/kubepods")
	f(V2, "unified", "/fs/kubepods")
}

func TestHierarchiesThatAreMountedTogetherAreListedOnce(t *testing.T) {
	dir := t.TempDir()
	groups(t, dir, []string{"cpu,cpuacct", "memory", "unified"}, "")
	for _, link := range []string{"cpu", "cpuacct"} {
		if err := os.Symlink("cpu,cpuacct", filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	f := func(mode Mode, want ...string) {
		t.Helper()
		got, err := Host{FSRoot: dir, Mode: mode}.Hierarchies()
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: hierarchies (-want +got):\n%s", mode, diff)
		}
	}
	f(Hybrid, dir+"/cpu,cpuacct", dir+"/memory", dir+"/unified")
	f(V2, dir)
	_, err := Host{FSRoot: dir + "/gone", Mode: V1}.Hierarchies()
	wantError(t, err, "listing cgroup hierarchies", "gone")
}
