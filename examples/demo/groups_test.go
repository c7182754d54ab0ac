package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"github.com/plimsoll/plimsoll/pkg/cgroup"
)

func TestTimelineSharesOutTheBusyTime(t *testing.T) {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	reading := func(after time.Duration, busy, online, batch int64) counters {
		return counters{at: start.Add(after), busyMicros: busy, classMicros: map[string]int64{onlineClass: online, batchClass: batch}}
	}
	f := func(from, to counters, want point) {
		t.Helper()
		if diff := cmp.Diff(want, newPoint(start, from, to)); diff != "" {
			t.Errorf("(-want,+got):\n%s", diff)
		}
	}
	// Of 1.5 cores busy over half a second 0.5 and 0.75 are of the classes.
	f(reading(time.Second, 100, 50, 40), reading(1500*time.Millisecond, 750_100, 250_050, 375_040),
		point{Seconds: 1.5, OnlineCores: 0.5, BatchCores: 0.75, OtherCores: 0.25})
	// The groups' finer counters may run ahead of the node's.
	f(reading(0, 0, 0, 0), reading(time.Second, 1_000_000, 600_000, 500_000),
		point{Seconds: 1, OnlineCores: 0.6, BatchCores: 0.5})
}

// fakeHost is a v1 host with the given files below its cpu hierarchy.
func fakeHost(t *testing.T, files map[string]string) cgroup.Host {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		file := filepath.Join(root, "cpu", name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return cgroup.Host{ProcRoot: "/proc", FSRoot: root, Mode: cgroup.V1, Driver: cgroup.Cgroupfs, Kubepods: "/local/kubepods"}
}

func TestPodGroupIsFoundInAnyBranch(t *testing.T) {
	host := fakeHost(t, map[string]string{
		"local/kubepods/burstable/pod1/aaa/cpu.shares":  "2",
		"local/kubepods/plimsoll-batch/bbb/cpu.shares":  "2",
		"local/kubepods/plimsoll-batch/cpu.idle":        "1\n",
		"local/kubepods/besteffort/pod3/ccc/cpu.shares": "2",
	})
	f := func(containerID, want string) {
		t.Helper()
		pod := &corev1.Pod{Status: corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{{ContainerID: containerID}}}}
		got, err := podGroup(host, pod)
		if (err != nil) != (want == "") {
			t.Errorf("podGroup of %q: %v", containerID, err)
		}
		if got != want {
			t.Errorf("podGroup of %q = %q, want %q", containerID, got, want)
		}
	}
	f("containerd://aaa", "/local/kubepods/burstable/pod1/aaa")
	f("containerd://bbb", "/local/kubepods/plimsoll-batch/bbb")
	f("containerd://ccc", "/local/kubepods/besteffort/pod3/ccc")
	f("containerd://ddd", "")
	f("", "")

	if err := checkProtected(host, "/local/kubepods/plimsoll-batch/bbb"); err != nil {
		t.Errorf("checkProtected in the branch = %v, want nil", err)
	}
	if err := checkProtected(host, "/local/kubepods/besteffort/pod3/ccc"); err == nil {
		t.Error("batch outside of the branch was taken for protected")
	}
	if err := os.WriteFile(filepath.Join(host.FSRoot, "cpu", "local/kubepods/plimsoll-batch/cpu.idle"), []byte("0\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := checkProtected(host, "/local/kubepods/plimsoll-batch/bbb"); err == nil || !strings.Contains(err.Error(), "cpu.idle") {
		t.Errorf("checkProtected without cpu.idle = %v, want it named", err)
	}
}

func TestTheLoadGeneratorLeavesTheRealtimeBudgets(t *testing.T) {
	const group = "local/kubepods/pod1"
	host := fakeHost(t, map[string]string{group + "/cpu.rt_runtime_us": "0\n", group + "/cgroup.procs": "41\n", "cgroup.procs": ""})
	if err := leaveBudgets(host, "/"+group); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join(host.FSRoot, "cpu", "cgroup.procs"))
	if err != nil || string(got) != "41" {
		t.Errorf("the top group got %q, %v; want process 41", got, err)
	}
	if err := leaveBudgets(fakeHost(t, nil), "/"+group); err != nil {
		t.Errorf("on a kernel without budgets: %v, want nil", err)
	}
	empty := fakeHost(t, map[string]string{group + "/cpu.rt_runtime_us": "0\n", group + "/cgroup.procs": ""})
	if err := leaveBudgets(empty, "/"+group); err == nil {
		t.Error("a group without processes: no error")
	}
	if err := writeKernelFile(filepath.Join(host.FSRoot, "missing"), "1"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("writeKernelFile of a missing file = %v, want that it does not exist", err)
	}
}

func TestWindowsThatSayLittleOfTheServiceAreCounted(t *testing.T) {
	late, worst := above(lateClientsMs, []window{{SendLagP99Ms: 0.1}, {SendLagP99Ms: lateClientsMs}, {SendLagP99Ms: 27}}, func(w window) float64 { return w.SendLagP99Ms })
	if late != 1 || worst != 27 {
		t.Errorf("%d windows are late, by %g at worst; want 1, 27", late, worst)
	}
}

func TestWhatTheHostTookIsAShareOfAllCPUs(t *testing.T) {
	if seconds, err := stolenSeconds(cgroup.Host{ProcRoot: "/proc"}); err != nil || seconds < 0 {
		t.Errorf("of this machine the host took %g s, %v", seconds, err)
	}
	if got := stolenPercent(1, 10*time.Second, 2); got != 5 {
		t.Errorf("a second of two CPUs' ten is %g %%, want 5", got)
	}
}
