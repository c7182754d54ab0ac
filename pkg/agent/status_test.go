package agent

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/utils/ptr"

	"github.com/plimsoll/plimsoll/pkg/api/v1alpha1"
	"github.com/plimsoll/plimsoll/pkg/cgroup"
	"github.com/plimsoll/plimsoll/pkg/usage"
)

var at = time.Date(2026, 3, 2, 9, 30, 0, 0, time.UTC)

func key(path string) usage.GroupKey { return usage.GroupKey{Path: path, ID: 1} }

func rates(milliCPU, memoryBytes int64) usage.Rates {
	return usage.Rates{Window: 10 * time.Second, Measured: time.Minute, MilliCPU: usage.Of(milliCPU), MemoryBytes: usage.Of(memoryBytes)}
}

// aNode is a node of 4 cores whose pods use 2100 of its 2500 milli-cores:
//
//	online pod         900
//	batch pod           10 (its sandbox) and 1000 in the branch, in one container
//	node-critical pod  100
//	a pod that has no rate yet: 90 of the 2100 are its
func aNode() (reading, usage.Usage) {
	r := reading{
		Capacity: cgroup.Capacity{MilliCPU: 4000, MemoryBytes: 16000},
		Kubepods: key("/kubepods"),
		Branch:   key("/kubepods/plimsoll-batch"),
		Pods: []pod{
			{UID: "online", Info: podInfo{Namespace: "shop", Name: "pay", Class: v1alpha1.ClassLatencySensitive}, Key: key("/kubepods/burstable/podonline")},
			{UID: "batch", Info: podInfo{Namespace: "jobs", Name: "sort", Class: v1alpha1.ClassBatch}, Key: key("/kubepods/besteffort/podbatch"), BatchContainers: []usage.GroupKey{key("/kubepods/plimsoll-batch/c1")}},
			{UID: "system", Info: podInfo{Namespace: "kube-system", Name: "dns", Class: v1alpha1.ClassSystem}, Key: key("/kubepods/podsystem")},
			{UID: "new", Info: podInfo{Namespace: "shop", Name: "new", Class: v1alpha1.ClassLatencySensitive}, Key: key("/kubepods/podnew")},
		},
	}
	online := rates(900, 900)
	online.CPUSomePermille = usage.Of(31)
	branch := rates(1000, 1000)
	branch.CPUSomePermille, branch.IOSomePermille = usage.Of(700), usage.Of(5)
	u := usage.Usage{At: at, Node: rates(2500, 5000), Groups: map[usage.GroupKey]usage.Rates{
		key("/kubepods"):                     rates(2100, 2100),
		key("/kubepods/plimsoll-batch"):      branch,
		key("/kubepods/plimsoll-batch/c1"):   rates(1000, 1000),
		key("/kubepods/burstable/podonline"): online,
		key("/kubepods/besteffort/podbatch"): rates(10, 10),
		key("/kubepods/podsystem"):           rates(100, 100),
		key("/kubepods/podnew"):              {MemoryBytes: usage.Of(90)},
	}}
	return r, u
}

func TestClassesAddUpToTheNode(t *testing.T) {
	r, u := aNode()
	var s v1alpha1.NodeUtilizationStatus
	if !measure(&s, r, u) {
		t.Fatal("measure: no status")
	}
	resources := func(n int64) v1alpha1.Resources { return v1alpha1.Resources{MilliCPU: n, MemoryBytes: n} }
	want := []v1alpha1.ClassUtilization{
		// 1000 in the branch + 10 in the pod's own group
		{Class: v1alpha1.ClassBatch, Pods: 1, Resources: resources(1010), Pressure: &v1alpha1.Pressure{CPUSomePermille: ptr.To[int32](700), IOSomePermille: ptr.To[int32](5)}},
		// 2100 - 1010 - 100: the pod without a rate is in it, but is not counted as measured
		{Class: v1alpha1.ClassLatencySensitive, Pods: 1, Resources: resources(990), Pressure: &v1alpha1.Pressure{CPUSomePermille: ptr.To[int32](31)}},
		// 100 + CPU 2500 - 2100; memory 100 + 5000 - 2100
		{Class: v1alpha1.ClassSystem, Pods: 1, Resources: v1alpha1.Resources{MilliCPU: 500, MemoryBytes: 3000}},
	}
	if diff := cmp.Diff(want, s.Classes); diff != "" {
		t.Errorf("classes (-want +got):\n%s", diff)
	}
	var sum int64
	for _, c := range s.Classes {
		sum += c.MilliCPU
	}
	if sum != s.Node.MilliCPU {
		t.Errorf("classes add up to %d milli-cores, the node uses %d", sum, s.Node.MilliCPU)
	}
}

func TestAPodWithoutARateIsAbsentAndNotZero(t *testing.T) {
	r, u := aNode()
	var s v1alpha1.NodeUtilizationStatus
	measure(&s, r, u)
	got := map[string]int64{}
	for _, p := range s.Pods {
		got[p.UID] = p.MilliCPU
	}
	want := map[string]int64{"online": 900, "batch": 1010, "system": 100}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("pods (-want +got):\n%s", diff)
	}

	// A batch pod whose container is new must not show its sandbox only.
	u.Groups[key("/kubepods/plimsoll-batch/c1")] = usage.Rates{MemoryBytes: usage.Of(1)}
	measure(&s, r, u)
	for _, p := range s.Pods {
		if p.UID == "batch" {
			t.Errorf("a batch pod with an unmeasured container is published: %+v", p)
		}
	}
}

func TestThereIsNoStatusBeforeThereAreRates(t *testing.T) {
	r, u := aNode()
	for name, node := range map[string]usage.Rates{
		"no CPU rate":   {Window: time.Second, MemoryBytes: usage.Of(1)},
		"no memory":     {Window: time.Second, MilliCPU: usage.Of(1)},
		"first reading": {MilliCPU: usage.Of(1), MemoryBytes: usage.Of(1)},
	} {
		u.Node = node
		var s v1alpha1.NodeUtilizationStatus
		if measure(&s, r, u) {
			t.Errorf("%s: a status was made: %+v", name, s)
		}
	}
}

func TestClassesAreAbsentWhileABranchIsNotMeasured(t *testing.T) {
	r, u := aNode()
	u.Groups[r.Branch] = usage.Rates{}
	var s v1alpha1.NodeUtilizationStatus
	if !measure(&s, r, u) || s.Classes != nil {
		t.Errorf("classes %+v, want none: batch would pass for online use", s.Classes)
	}
}
