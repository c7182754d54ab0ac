package runtimehook

import (
	"strings"
	"testing"

	"github.com/containerd/nri/pkg/api"
	"github.com/google/go-cmp/cmp"

	"github.com/plimsoll/plimsoll/pkg/api/v1alpha1"
)

func TestBounds(t *testing.T) {
	kubelet := func(shares uint64, quota, memory int64) *api.LinuxResources {
		a := &api.ContainerAdjustment{}
		a.SetLinuxCPUShares(shares)
		if quota != 0 {
			a.SetLinuxCPUQuota(quota)
			a.SetLinuxCPUPeriod(100_000)
		}
		if memory != 0 {
			a.SetLinuxMemoryLimit(memory)
		}
		return a.GetLinux().GetResources()
	}
	for name, tc := range map[string]struct {
		annotation string
		kubelet    *api.LinuxResources
		noQuota    bool
		want       bounds
		guessed    string
	}{
		"converted": {annotation: `{"work":{"milliCPU":1500,"memoryBytes":1000,"limitMilliCPU":3000}}`,
			kubelet: kubelet(2, 0, 0), want: bounds{1536, 300_000, 1000, 99}}, // 1500 x 1024 / 1000
		"its share of the pod's amount": {annotation: `{"work":{"milliCPU":0,"memoryBytes":1000,"limitMilliCPU":250}}`,
			want: bounds{2, 25_000, 1000, 99}},
		"less than the kernel takes": {annotation: `{"work":{"milliCPU":1,"memoryBytes":1000,"limitMilliCPU":1}}`,
			want: bounds{2, 1000, 1000, 99}},
		"more than the kernel takes": {annotation: `{"work":{"milliCPU":300000,"memoryBytes":1000,"limitMilliCPU":300000}}`,
			want: bounds{262_144, 30_000_000, 1000, 99}},
		"the branch has the quota": {annotation: `{"work":{"milliCPU":1500,"memoryBytes":1000,"limitMilliCPU":3000}}`,
			noQuota: true, want: bounds{1536, -1, 1000, 99}},
		"not converted, nothing said": {
			kubelet: kubelet(2, 0, 0), want: bounds{2, 70_000, 1 << 28, 99}, guessed: "not converted"},
		"not converted, limits said": {
			kubelet: kubelet(512, 150_000, 5000), want: bounds{512, 150_000, 5000, 99}, guessed: "not converted"},
		"not converted, a quota only": {
			kubelet: kubelet(1024, 200_000, 0), want: bounds{1024, 200_000, 1 << 28, 99}, guessed: "not converted"},
		"an ephemeral container": {annotation: `{"other":{"milliCPU":1500,"memoryBytes":1000,"limitMilliCPU":3000}}`,
			want: bounds{2, 70_000, 1 << 28, 99}, guessed: "does not name it"},
		"a broken annotation": {annotation: `{"work":`,
			want: bounds{2, 70_000, 1 << 28, 99}, guessed: "decoding"},
		"an annotation without a bound": {annotation: `{"work":{"milliCPU":1500}}`,
			want: bounds{2, 70_000, 1 << 28, 99}, guessed: "memoryBytes 0"},
	} {
		t.Run(name, func(t *testing.T) {
			pod := batchPod()
			pod.Annotations = map[string]string{v1alpha1.BatchResourcesAnnotation: tc.annotation}
			if tc.annotation == "" {
				pod.Annotations = nil
			}
			o := testOptions()
			o.ContainerQuota = !tc.noQuota
			c := &api.Container{Name: "work", Linux: &api.LinuxContainer{Resources: tc.kubelet}}
			got, guessed := o.boundsOf(pod, c)
			if d := cmp.Diff(tc.want, got); d != "" {
				t.Errorf("bounds (-want +got):\n%s", d)
			}
			if (guessed == "") != (tc.guessed == "") || !strings.Contains(guessed, tc.guessed) {
				t.Errorf("guessed %q, want %q", guessed, tc.guessed)
			}
		})
	}
}

func TestBoundsHoldWhereTheyWereSet(t *testing.T) {
	b := bounds{512, 150_000, 1 << 30, 99}
	set := func(b bounds) *api.LinuxResources { return b.update("c").GetLinux().GetResources() }
	if !b.hold(set(b)) {
		t.Error("bounds do not hold where they were set")
	}
	for name, other := range map[string]bounds{"shares": {2, 150_000, 1 << 30, 99}, "quota": {512, -1, 1 << 30, 99}, "memory": {512, 150_000, 0, 99}, "pids": {512, 150_000, 1 << 30, 0}} {
		if b.hold(set(other)) {
			t.Errorf("other %s: bounds hold", name)
		}
	}
	if !(bounds{512, -1, 5, 9}).hold(func() *api.LinuxResources { r := set(bounds{512, -1, 5, 9}); r.Cpu.Quota = nil; return r }()) {
		t.Error("no quota is not taken for no quota")
	}
}

// On cgroup v1 a container's CPUs must be among the branch's, or it is not created.
func TestABatchContainerGetsOnlyCPUsOfTheBranch(t *testing.T) {
	for name, tc := range map[string]struct {
		wants  string
		branch []int
		want   string
	}{
		"the kubelet says nothing":          {"", []int{0, 1}, ""},
		"the branch may use any":            {"0-3", nil, ""},
		"it has them":                       {"1", []int{0, 1}, ""},
		"it has some":                       {"1-3", []int{0, 1, 2}, "1-2"},
		"it has none, and lends its own":    {"3", []int{0, 1, 2}, "0-2"},
		"what cannot be read is left alone": {"x", []int{0}, ""},
	} {
		a := &api.ContainerAdjustment{}
		a.SetLinuxCPUSetCPUs(tc.wants)
		o := Options{BranchCPUs: func() []int { return tc.branch }}
		if got := o.cpusOf(a.GetLinux().GetResources()); got != tc.want {
			t.Errorf("%s: %q, want %q", name, got, tc.want)
		}
	}
	if got := (Options{}).cpusOf(nil); got != "" {
		t.Errorf("nobody to ask: %q", got)
	}
}
