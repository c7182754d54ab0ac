package agent

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/plimsoll/plimsoll/pkg/api/v1alpha1"
	"github.com/plimsoll/plimsoll/pkg/usage"
)

// secondOf is a reading of some pods after so many seconds: the i-th uses i thousandths of a CPU, and a batch pod
// another thousand in a container of its.
func secondOf(seconds int64, pods []pod) reading {
	r := reading{Pods: pods, Sample: usage.Sample{At: at.Add(time.Duration(seconds) * time.Second)}}
	add := func(key usage.GroupKey, milliCPU int64) {
		r.Sample.Groups = append(r.Sample.Groups, usage.GroupSample{Key: key, CPUMicros: usage.Of(seconds * milliCPU * 1000), WorkingSetBytes: usage.Of(1000 + milliCPU)})
	}
	for i, p := range pods {
		add(p.Key, int64(i))
		for _, c := range p.BatchContainers {
			add(c, 1000)
		}
	}
	return r
}

func somePods(n int) (pods []pod, status []v1alpha1.PodUtilization) {
	for i := range n {
		uid := fmt.Sprintf("u%03d", i)
		pods = append(pods, pod{UID: uid, Key: key("/kubepods/pod" + uid)})
		status = append(status, v1alpha1.PodUtilization{UID: uid, Resources: v1alpha1.Resources{MilliCPU: int64(i)}})
	}
	return pods, status
}

func TestAPodsRecentUseIsThatOfAllItsGroups(t *testing.T) {
	w := newPodWindows()
	pods, status := somePods(3)
	pods[1].BatchContainers = []usage.GroupKey{key("/kubepods/plimsoll-batch/c1")}
	pods[2].BatchContainers = []usage.GroupKey{key("/kubepods/plimsoll-batch/unread")}
	for s := range int64(300) {
		w.report(status)
		for _, p := range status {
			if p.Recent != nil {
				t.Fatalf("after %d s pod %s has %+v", s, p.UID, p.Recent)
			}
		}
		r := secondOf(s, pods)
		r.Sample.Groups = r.Sample.Groups[:len(r.Sample.Groups)-1] // the last container of the last pod vanished
		w.add(r)
	}
	w.report(status)
	want := []*v1alpha1.PodRecent{
		{P95MemoryBytes: 1000, MaxMemoryBytes: 1000},
		{MeanMilliCPU: 1001, P95MilliCPU: 1001, MaxMilliCPU: 1001, P95MemoryBytes: 3001, MaxMemoryBytes: 3001},
		nil, // a sum without one of its groups would be too small
	}
	for i := range want {
		if diff := cmp.Diff(want[i], status[i].Recent); diff != "" {
			t.Errorf("pod %d (-want +got):\n%s", i, diff)
		}
	}
	w.add(secondOf(300, pods[:1]))
	if len(w.windows) != 1 {
		t.Errorf("%d windows are kept of one pod", len(w.windows))
	}
}

func TestWhereThereAreTooManyPodsThoseThatUseLeastGoWithoutWindows(t *testing.T) {
	w := newPodWindows()
	pods, status := somePods(mostRecent + 7)
	for s := range int64(300) {
		w.add(secondOf(s, pods))
	}
	w.report(status)
	for i, p := range status {
		if want := i >= 7; want != (p.Recent != nil) {
			t.Errorf("pod %d of %d has %+v", i, len(status), p.Recent)
		}
	}
}

func TestFollowingPodsAllocatesNothing(t *testing.T) {
	w := newPodWindows()
	pods, _ := somePods(250)
	r := secondOf(1, pods)
	w.add(r)
	if n := testing.AllocsPerRun(10, func() { r.Sample.At = r.Sample.At.Add(time.Second); w.add(r) }); n != 0 {
		t.Errorf("%v allocations a tick, want 0", n)
	}
}
