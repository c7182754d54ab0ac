package agent

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	podresources "k8s.io/kubelet/pkg/apis/podresources/v1"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/plimsoll/plimsoll/pkg/api/v1alpha1"
	"github.com/plimsoll/plimsoll/pkg/cgroup"
	"github.com/plimsoll/plimsoll/pkg/qos"
)

// asker knows one pod, which asks for whole cores.
type asker struct {
	noPods
	cores int64
}

func (a *asker) byUID(string) (podInfo, bool) {
	return podInfo{Namespace: "pay", Name: "one", Class: v1alpha1.ClassLatencySensitive, WholeCores: a.cores}, true
}

func TestBatchIsKeptOffExclusiveCPUsAndTheCoresOfServicesThatAsk(t *testing.T) {
	tree := newTree(t)
	tree.group("kubepods/burstable/podone")
	const branch = "kubepods/plimsoll-batch"
	tree.group(branch)
	tree.write(tree.host.FSRoot, "kubepods/cpuset.cpus.effective", "0-3\n")
	sys := t.TempDir()
	tree.write(sys, "devices/system/cpu/online", "0-7\n")
	for id := range 8 { // CPUs 4 to 7 are the other threads of 0 to 3, and pods have no right to them
		tree.write(sys, fmt.Sprintf("devices/system/cpu/cpu%d/topology/core_cpus_list", id), fmt.Sprintf("%d,%d\n", id%4, id%4+4))
	}
	c := v1alpha1.DefaultAgentConfiguration()
	c.Strategies = []v1alpha1.StrategyConfiguration{{Name: "batchcpuset", Mode: v1alpha1.ModeEnforce, Args: []byte(`{"namespaces":["pay"]}`)}}
	strategies, err := buildStrategies(c)
	if err != nil {
		t.Fatal(err)
	}
	l := newTestLoop(t, tree, v1alpha1.ModeEnforce)
	pods, told := &asker{}, false
	exclusive, kubelet := []int{}, error(nil)
	l.sensor.close()
	l.actor.strategies, l.sensor = strategies, newSensor(tree.host, strategies, pods)
	l.sensor.cpuSets = cpuSets{cgroup.NewTopology(sys), func() ([]int, error) { return exclusive, kubelet }, func() bool { return told }}
	for i, tc := range []struct {
		what      string
		told      bool
		exclusive []int
		kubelet   error
		cores     int64
		want      string
	}{
		{"no pod is known yet", false, []int{0}, nil, 0, ""},
		{"the kubelet does not answer", true, nil, errors.New("no answer"), 1, ""},
		{"CPU 0 is exclusive", true, []int{0}, nil, 0, "1-3"},
		{"and a service asks for a core", true, []int{0}, nil, 1, "1-2"},
		{"the kubelet restarts", true, nil, errors.New("no answer"), 0, "1-2"},
		{"nothing is exclusive any more, and nobody asks", true, nil, nil, 0, "0-3"},
		{"every CPU is exclusive", true, []int{0, 1, 2, 3}, nil, 0, "0-3"},
	} {
		told, exclusive, kubelet, pods.cores = tc.told, tc.exclusive, tc.kubelet, tc.cores
		tree.write(tree.host.FSRoot, branch+"/cpuset.cpus", lastSet(t, tree.host.FSRoot, branch)+"\n") // as the kernel would say it
		l.tick(at.Add(time.Duration(i) * time.Second))
		if got := lastSet(t, tree.host.FSRoot, branch); got != tc.want {
			t.Errorf("%s: batch is on %q, want %q", tc.what, got, tc.want)
		}
		able := meta.IsStatusConditionTrue(l.conditions, v1alpha1.ConditionStrategiesAble)
		if want := tc.told && tc.kubelet == nil && len(tc.exclusive) < 4; able != want {
			t.Errorf("%s: the strategy is said to be able: %v, want %v; conditions %+v", tc.what, able, want, l.conditions)
		}
	}
}

// A strategy that observes shows the plan that it would carry out, and no file is touched.
func TestBatchcpusetThatObservesShowsItsPlanAndWritesNothing(t *testing.T) {
	tree := newTree(t)
	const branch = "kubepods/plimsoll-batch"
	tree.group(branch)
	tree.write(tree.host.FSRoot, branch+"/cpuset.cpus", "\n")
	tree.write(tree.host.FSRoot, "kubepods/cpuset.cpus.effective", "0-1\n")
	sys := t.TempDir()
	tree.write(sys, "devices/system/cpu/online", "0-1\n")
	for id := range 2 {
		tree.write(sys, fmt.Sprintf("devices/system/cpu/cpu%d/topology/core_cpus_list", id), fmt.Sprintf("%d\n", id))
	}
	c := v1alpha1.DefaultAgentConfiguration()
	c.Strategies = []v1alpha1.StrategyConfiguration{{Name: "batchcpuset", Mode: v1alpha1.ModeObserve}}
	strategies, err := buildStrategies(c)
	if err != nil {
		t.Fatal(err)
	}
	l := newTestLoop(t, tree, v1alpha1.ModeObserve)
	l.sensor.close()
	l.actor.strategies, l.sensor = strategies, newSensor(tree.host, strategies, noPods{})
	l.sensor.cpuSets = cpuSets{cgroup.NewTopology(sys), func() ([]int, error) { return []int{1}, nil }, func() bool { return true }}
	for i := range 3 {
		l.tick(at.Add(time.Duration(i) * time.Second))
	}
	if got := lastSet(t, tree.host.FSRoot, branch); got != "" {
		t.Errorf("an observer wrote %q", got)
	}
	if n := len(l.actor.changes); n != 1 || l.actor.changes[0].Value != "0" || l.actor.changes[0].Outcome != v1alpha1.OutcomeObserved {
		t.Errorf("shown: %+v, want batch on CPU 0, once", l.actor.changes)
	}
}

// lastSet is what was written last: a plain file keeps what a shorter write leaves behind it, unlike the kernel's.
func lastSet(t *testing.T, root, group string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, group, "cpuset.cpus"))
	if errors.Is(err, os.ErrNotExist) {
		return ""
	}
	if err != nil {
		t.Fatal(err)
	}
	line, _, _ := strings.Cut(string(b), "\n")
	return line
}

func TestOnCgroupV1TheSetsOfContainersAreShownToo(t *testing.T) {
	l := newTestLoop(t, newTree(t), v1alpha1.ModeEnforce)
	dir := t.TempDir()
	host := cgroup.Host{FSRoot: dir, Mode: cgroup.V1, Kubepods: "/kubepods"}
	for group, cpus := range map[string]string{"/kubepods": "0-1", "/kubepods/plimsoll-batch": "0-1", "/kubepods/plimsoll-batch/c": "1"} {
		folder := filepath.Join(dir, "cpuset", group)
		if err := errors.Join(os.MkdirAll(folder, 0o700), os.WriteFile(filepath.Join(folder, "cpuset.cpus"), []byte(cpus+"\n"), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	s := l.sensor
	s.host, s.knobs = host, map[qos.Kind][]qos.Knob{qos.KindBatchBranch: {qos.CPUSetCPUs}}
	s.cpuSets = cpuSets{cgroup.NewTopology("/nowhere"), nil, nil}
	r := reading{Settings: map[string]map[qos.Knob]qos.Setting{}}
	s.readCPUSets(&r, cgroup.Groups{BatchContainers: []cgroup.Container{{Path: "/kubepods/plimsoll-batch/c"}}})
	want := map[string]map[qos.Knob]qos.Setting{"/kubepods/plimsoll-batch/c": {qos.CPUSetCPUs: {Value: "1", OK: true}}}
	if diff := cmp.Diff(want, r.Settings); diff != "" {
		t.Errorf("settings (-want +got):\n%s", diff)
	}
	if r.CPUSets == nil || r.CPUSets.Missing == "" || r.CPUSets.ExclusiveOK {
		t.Errorf("without a topology: %+v, want it to say what is missing", r.CPUSets)
	}
	if got := branchCPUs(host); !cmp.Equal(got, []int{0, 1}) {
		t.Errorf("the branch may use %v, want 0 and 1", got)
	}
	host.Mode = cgroup.V2
	if got := branchCPUs(host); got != nil {
		t.Errorf("on cgroup v2 a container's set must be among %v, want no bound", got)
	}
}

func TestExclusiveCPUsAreThoseOfAllContainersWhileTheAnswerIsFresh(t *testing.T) {
	cpus := exclusiveOf(&podresources.ListPodResourcesResponse{PodResources: []*podresources.PodResources{
		{Name: "a", Containers: []*podresources.ContainerResources{{CpuIds: []int64{5, 1}}, {}}},
		{Name: "b", Containers: []*podresources.ContainerResources{{CpuIds: []int64{3}}}},
	}})
	if diff := cmp.Diff([]int{1, 3, 5}, cpus); diff != "" {
		t.Errorf("exclusive (-want +got):\n%s", diff)
	}
	var w exclusiveWatch
	for _, tc := range []struct {
		what   string
		answer *exclusiveCPUs
		want   string
	}{
		{"never asked", nil, "not asked yet"},
		{"fresh", &exclusiveCPUs{cpus: cpus, at: at}, ""},
		{"fresh, and the last question failed", &exclusiveCPUs{cpus: cpus, at: at.Add(-10 * time.Second), err: errors.New("gone")}, ""},
		{"old, and the last question failed", &exclusiveCPUs{cpus: cpus, at: at.Add(-time.Minute), err: errors.New("gone")}, "gone"},
		{"old", &exclusiveCPUs{cpus: cpus, at: at.Add(-time.Minute)}, "too old"},
		{"of a time to come: the clock was set back", &exclusiveCPUs{cpus: cpus, at: at.Add(time.Hour)}, "too old"},
		{"none yet", &exclusiveCPUs{err: errors.New("no socket")}, "no socket"},
	} {
		w.latest.Store(tc.answer)
		got, err := w.cpus(at)
		if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) || err == nil && len(got) != 3 {
			t.Errorf("%s: %v, %v, want error %q", tc.what, got, err, tc.want)
		}
	}
}
