package cgroup

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/plimsoll/plimsoll/pkg/qos"
)

const (
	guaranteed = "1fd1a7f2-8f0e-4c6f-9a0b-2d3c4e5f6071"
	burstable  = "2fd1a7f2-8f0e-4c6f-9a0b-2d3c4e5f6072"
	bestEffort = "3fd1a7f2-8f0e-4c6f-9a0b-2d3c4e5f6073"
	static     = "55a8c1b2d3e4f5061728394a5b6c7d8e" // the UID of a static pod is a hash
)

// diffGroups compares groups, and each one's identity with what its directory has now.
func diffGroups(t *testing.T, h Host, want, got Groups) string {
	t.Helper()
	check := func(path string, id uint64) {
		if now, err := h.GroupID(path); err != nil || id != now || id == 0 {
			t.Errorf("%s has the identity %d, want %d (%v)", path, id, now, err)
		}
	}
	for _, p := range got.Pods {
		check(p.Path, p.GroupID)
		for _, c := range p.Containers {
			check(c.Path, c.GroupID)
		}
	}
	for _, c := range got.BatchContainers {
		check(c.Path, c.GroupID)
	}
	return cmp.Diff(want, got, cmpopts.IgnoreFields(Pod{}, "GroupID"), cmpopts.IgnoreFields(Container{}, "GroupID"))
}

func TestScanFindsTiersPodsAndBatchContainers(t *testing.T) {
	tests := map[string]struct {
		host Host
		made []string
		want Groups
	}{
		"cgroupfs": {
			host: Host{Driver: Cgroupfs, Kubepods: "/kubepods"},
			made: []string{
				"kubepods/pod" + guaranteed + "/c0ffee",
				"kubepods/pod" + guaranteed + "/crio-beef",
				"kubepods/pod" + guaranteed + "/crio-conmon-beef",
				"kubepods/pod" + guaranteed + "/not-a-container",
				"kubepods/burstable/pod" + burstable + "/c0ffee",
				"kubepods/burstable/pod" + static,
				"kubepods/besteffort/pod" + bestEffort,
				"kubepods/besteffort/somebody-elses",
				"kubepods/plimsoll-batch/5f3e",
			},
			want: Groups{
				Tiers: []string{"/kubepods", "/kubepods/burstable", "/kubepods/besteffort"},
				Pods: []Pod{
					{UID: guaranteed, Path: "/kubepods/pod" + guaranteed, Tier: Guaranteed, Containers: []Container{
						{ID: "c0ffee", Path: "/kubepods/pod" + guaranteed + "/c0ffee"},
						{ID: "beef", Runtime: "crio", Path: "/kubepods/pod" + guaranteed + "/crio-beef"},
						{ID: "beef", Runtime: "crio-conmon", Path: "/kubepods/pod" + guaranteed + "/crio-conmon-beef", Monitor: true},
					}},
					{UID: burstable, Path: "/kubepods/burstable/pod" + burstable, Tier: Burstable, Containers: []Container{
						{ID: "c0ffee", Path: "/kubepods/burstable/pod" + burstable + "/c0ffee"},
					}},
					{UID: static, Path: "/kubepods/burstable/pod" + static, Tier: Burstable},
					{UID: bestEffort, Path: "/kubepods/besteffort/pod" + bestEffort, Tier: BestEffort},
				},
				BatchBranch:     "/kubepods/plimsoll-batch",
				BatchContainers: []Container{{ID: "5f3e", Path: "/kubepods/plimsoll-batch/5f3e"}},
			},
		},
		"systemd": {
			host: Host{Driver: Systemd, Kubepods: "/kubepods.slice"},
			made: []string{
				"kubepods.slice/kubepods-pod1fd1a7f2_8f0e_4c6f_9a0b_2d3c4e5f6071.slice/cri-containerd-c0ffee.scope",
				"kubepods.slice/kubepods-pod1fd1a7f2_8f0e_4c6f_9a0b_2d3c4e5f6071.slice/crio-beef.scope",
				"kubepods.slice/kubepods-pod1fd1a7f2_8f0e_4c6f_9a0b_2d3c4e5f6071.slice/crio-conmon-beef.scope",
				"kubepods.slice/kubepods-pod1fd1a7f2_8f0e_4c6f_9a0b_2d3c4e5f6071.slice/init.scope",
				"kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod2fd1a7f2_8f0e_4c6f_9a0b_2d3c4e5f6072.slice",
				"kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod3fd1a7f2_8f0e_4c6f_9a0b_2d3c4e5f6073.slice",
				"kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod.slice",
				"kubepods.slice/kubepods-besteffort.slice/cri-containerd-c0ffee.scope",
				"kubepods.slice/kubepods-plimsollbatch.slice/cri-containerd-5f3e.scope",
			},
			want: Groups{
				Tiers: []string{"/kubepods.slice", "/kubepods.slice/kubepods-burstable.slice", "/kubepods.slice/kubepods-besteffort.slice"},
				Pods: []Pod{
					{UID: guaranteed, Path: "/kubepods.slice/kubepods-pod1fd1a7f2_8f0e_4c6f_9a0b_2d3c4e5f6071.slice", Tier: Guaranteed, Containers: []Container{
						{ID: "c0ffee", Runtime: "cri-containerd", Path: "/kubepods.slice/kubepods-pod1fd1a7f2_8f0e_4c6f_9a0b_2d3c4e5f6071.slice/cri-containerd-c0ffee.scope"},
						{ID: "beef", Runtime: "crio", Path: "/kubepods.slice/kubepods-pod1fd1a7f2_8f0e_4c6f_9a0b_2d3c4e5f6071.slice/crio-beef.scope"},
						{ID: "beef", Runtime: "crio-conmon", Path: "/kubepods.slice/kubepods-pod1fd1a7f2_8f0e_4c6f_9a0b_2d3c4e5f6071.slice/crio-conmon-beef.scope", Monitor: true},
					}},
					{UID: burstable, Path: "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod2fd1a7f2_8f0e_4c6f_9a0b_2d3c4e5f6072.slice", Tier: Burstable},
					{UID: bestEffort, Path: "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod3fd1a7f2_8f0e_4c6f_9a0b_2d3c4e5f6073.slice", Tier: BestEffort},
				},
				BatchBranch:     "/kubepods.slice/kubepods-plimsollbatch.slice",
				BatchContainers: []Container{{ID: "5f3e", Runtime: "cri-containerd", Path: "/kubepods.slice/kubepods-plimsollbatch.slice/cri-containerd-5f3e.scope"}},
			},
		},
		"systemd below a root whose name begins like a pod's": {
			host: Host{Driver: Systemd, Kubepods: "/a.slice/a-pod_x.slice/a-pod_x-kubepods.slice"},
			made: []string{
				"a.slice/a-pod_x.slice/a-pod_x-kubepods.slice/a-pod_x-kubepods-pod1fd1a7f2_8f0e_4c6f_9a0b_2d3c4e5f6071.slice",
				"a.slice/a-pod_x.slice/a-pod_x-kubepods.slice/a-pod_x-kubepods-burstable.slice",
			},
			want: Groups{
				Tiers: []string{"/a.slice/a-pod_x.slice/a-pod_x-kubepods.slice", "/a.slice/a-pod_x.slice/a-pod_x-kubepods.slice/a-pod_x-kubepods-burstable.slice"},
				Pods: []Pod{{
					UID:  guaranteed,
					Path: "/a.slice/a-pod_x.slice/a-pod_x-kubepods.slice/a-pod_x-kubepods-pod1fd1a7f2_8f0e_4c6f_9a0b_2d3c4e5f6071.slice",
					Tier: Guaranteed,
				}},
			},
		},
		"a kubelet that has made nothing below kubepods": {
			host: Host{Driver: Cgroupfs, Kubepods: "/kubepods"},
			made: []string{"kubepods"},
			want: Groups{Tiers: []string{"/kubepods"}},
		},
	}
	for name, tc := range tests {
		for _, mode := range []Mode{V1, V2, Hybrid} {
			t.Run(name+" on "+string(mode), func(t *testing.T) {
				tc.host.FSRoot, tc.host.Mode = t.TempDir(), mode
				hierarchies := map[Mode][]string{V1: {"cpu", "memory"}, Hybrid: {"cpu", "unified"}, V2: {""}}[mode]
				groups(t, tc.host.FSRoot, hierarchies, tc.made...)
				write(t, filepath.Join(tc.host.Dir("cpu", tc.host.Kubepods), "podlike-file"), "")
				got, err := tc.host.Scan()
				if err != nil {
					t.Fatal(err)
				}
				if diff := diffGroups(t, tc.host, tc.want, got); diff != "" {
					t.Errorf("groups (-want +got):\n%s", diff)
				}
			})
		}
	}
}

func TestScanFindsTheGroupsOfCapturedNodes(t *testing.T) {
	const uid = "3a0fd6b1-5c1f-4d0e-9a66-0f6d2c9be111"
	want := Groups{
		Tiers:           []string{"/kubepods", "/kubepods/burstable", "/kubepods/besteffort"},
		Pods:            []Pod{{UID: uid, Path: "/kubepods/besteffort/pod" + uid}},
		BatchBranch:     "/kubepods/plimsoll-batch",
		BatchContainers: []Container{{ID: "5f3e9a1c0b7d", Path: "/kubepods/plimsoll-batch/5f3e9a1c0b7d"}},
	}
	f := func(archive string, mode Mode, want Groups) {
		t.Helper()
		h := Host{FSRoot: tree(t, archive) + "/cgroup", Mode: mode, Driver: Cgroupfs, Kubepods: "/kubepods"}
		got, err := h.Scan()
		if err != nil {
			t.Fatal(err)
		}
		if diff := diffGroups(t, h, want, got); diff != "" {
			t.Errorf("groups of %s (-want +got):\n%s", archive, diff)
		}
		if s, err := h.ReadSetting(got.BatchBranch, qos.CPUIdle); err != nil || s.Value != "1" {
			t.Errorf("cpu.idle in %s is %+v, %v, want 1", archive, s, err)
		}
	}
	want.Pods[0].Tier = BestEffort
	f("hybrid-cgroupfs.txtar", Hybrid, want)
	want.Pods = []Pod{{UID: uid, Path: "/kubepods/burstable/pod" + uid, Tier: Burstable}, {UID: uid, Path: "/kubepods/besteffort/pod" + uid, Tier: BestEffort}}
	f("v2-cgroupfs.txtar", V2, want)
}

func TestScanLeavesOutWhatVanishes(t *testing.T) {
	h := Host{FSRoot: t.TempDir(), Mode: V2, Driver: Cgroupfs, Kubepods: "/kubepods"}
	groups(t, h.FSRoot, []string{""}, "kubepods/besteffort/pod"+bestEffort, "kubepods/burstable/pod"+burstable, "kubepods/plimsoll-batch/5f3e")
	for _, gone := range []string{"burstable", "plimsoll-batch"} {
		if err := os.RemoveAll(filepath.Join(h.FSRoot, "kubepods", gone)); err != nil {
			t.Fatal(err)
		}
	}
	got, err := h.Scan()
	if err != nil {
		t.Fatal(err)
	}
	want := Groups{
		Tiers: []string{"/kubepods", "/kubepods/besteffort"},
		Pods:  []Pod{{UID: bestEffort, Path: "/kubepods/besteffort/pod" + bestEffort, Tier: BestEffort}},
	}
	if diff := diffGroups(t, h, want, got); diff != "" {
		t.Errorf("groups (-want +got):\n%s", diff)
	}
}

// A node without kubepods has not "no pods": nothing is known about it.
func TestScanWithoutKubepodsIsAnError(t *testing.T) {
	_, err := Host{FSRoot: t.TempDir(), Mode: V2, Driver: Cgroupfs, Kubepods: "/kubepods"}.Scan()
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error %v, want fs.ErrNotExist", err)
	}
	wantError(t, err, "scanning /kubepods")
}
