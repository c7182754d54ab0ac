package agent

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/ptr"

	"github.com/plimsoll/plimsoll/pkg/api/v1alpha1"
	"github.com/plimsoll/plimsoll/pkg/qos/batchbound"
	"github.com/plimsoll/plimsoll/pkg/runtimehook"
)

const (
	batchUID   = "b0000000"
	batchGroup = "/kubepods/besteffort/pod" + batchUID
	sandboxID  = "5a"
	workID     = "c0"
)

// told is a pod watch that has been told of pods.
func toldOf(t *testing.T, pods ...*corev1.Pod) *podWatch {
	t.Helper()
	w := &podWatch{informer: cache.NewSharedIndexInformer(nil, &corev1.Pod{}, 0, cache.Indexers{
		"uid":         func(obj any) ([]string, error) { return []string{string(obj.(*corev1.Pod).UID)}, nil },
		byContainerID: func(obj any) ([]string, error) { return containerIDs(obj.(*corev1.Pod)), nil },
		byLoan:        func(obj any) ([]string, error) { return loanOf(obj.(*corev1.Pod)), nil },
	})}
	w.tell(t, pods...)
	return w
}

func (w *podWatch) tell(t *testing.T, pods ...*corev1.Pod) {
	t.Helper()
	for _, p := range pods {
		kept, err := trimPod(p)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.informer.GetIndexer().Add(kept); err != nil {
			t.Fatal(err)
		}
		w.news.Add(1)
	}
}

func aBatchPod(annotation string, names map[string]string) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{UID: batchUID, Namespace: "jobs", Name: "sort", Labels: map[string]string{v1alpha1.ClassLabel: v1alpha1.BatchLabelValue}}}
	if annotation != "" {
		p.Annotations = map[string]string{v1alpha1.BatchResourcesAnnotation: annotation}
	}
	for id, name := range names {
		p.Status.ContainerStatuses = append(p.Status.ContainerStatuses, corev1.ContainerStatus{Name: name, ContainerID: "containerd://" + id})
	}
	return p
}

// free makes a group without limits.
func (a aTree) free(path string) {
	a.group(path)
	for file, text := range map[string]string{"cpu.weight": "1", "cpu.max": "max 100000", "memory.max": "max", "pids.max": "max"} {
		a.write(a.host.FSRoot, path+"/"+file, text+"\n")
	}
}

// held is what a group is held to: weight, quota, memory, tasks.
func (a aTree) held(path string) string {
	var all []string
	for _, file := range []string{"cpu.weight", "cpu.max", "memory.max", "pids.max"} {
		b, err := os.ReadFile(filepath.Join(a.host.FSRoot, path, file))
		if err != nil {
			a.t.Fatal(err)
		}
		all = append(all, strings.TrimSpace(string(b)))
	}
	return strings.Join(all, ", ")
}

func boundingLoop(t *testing.T, tree aTree, w *podWatch, mode v1alpha1.Mode, placing *bool) *loop {
	t.Helper()
	l := newTestLoop(t, tree, v1alpha1.ModeObserve)
	config := v1alpha1.DefaultAgentConfiguration()
	config.Strategies = []v1alpha1.StrategyConfiguration{{Name: batchbound.Name, Mode: mode}}
	strategies, err := buildStrategies(config)
	if err != nil {
		t.Fatal(err)
	}
	l.sensor.close()
	l.sensor = newSensor(tree.host, strategies, w)
	l.sensor.placing = func() bool { return *placing }
	l.sensor.limits = limits{Fallback: runtimehook.Fallback{MilliCPU: 2000, MemoryBytes: 1 << 30}, PIDs: 4096}
	l.actor.strategies = strategies
	return l
}

// settled waits for writes that may block, which run beside the loop.
func (l *loop) settled(t *testing.T, tree aTree, group, want string) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for tree.held(group) != want && time.Now().Before(deadline) {
		<-time.After(time.Millisecond)
	}
	if got := tree.held(group); got != want {
		t.Errorf("%s is held to %s, want %s", group, got, want)
	}
}

// ticked ticks until a group is held to what is wanted: what widens it waits until what tightens it is written, beside
// the loop.
func (l *loop) ticked(t *testing.T, tree aTree, now time.Time, group, want string) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for l.tick(now); tree.held(group) != want && time.Now().Before(deadline); l.tick(now) {
		<-time.After(time.Millisecond)
	}
	if got := tree.held(group); got != want {
		t.Errorf("%s is held to %s, want %s", group, got, want)
	}
}

func TestAContainerWithoutANameYetIsHeldToTheLargestOfThePod(t *testing.T) {
	tree, placing := newTree(t), false
	const two = `{"work":{"milliCPU":500,"memoryBytes":4096,"limitMilliCPU":2000},"log":{"milliCPU":100,"memoryBytes":8192,"limitMilliCPU":1000}}`
	w := toldOf(t, aBatchPod(two, nil))
	l := boundingLoop(t, tree, w, v1alpha1.ModeEnforce, &placing)
	l.tick(at)
	const logID = "c1"
	for _, id := range []string{"", "/" + sandboxID, "/" + workID, "/" + logID} {
		tree.free(batchGroup + id)
	}
	largest := "1, 200000 100000, 8192, 4096" // CPU of work, memory of log
	l.boundNewcomers(at.Add(fastTick))
	l.settled(t, tree, batchGroup+"/"+logID, largest)
	l.settled(t, tree, batchGroup+"/"+workID, largest)
	l.settled(t, tree, batchGroup, "1, 300000 100000, 12288, 8192")
	w.tell(t, aBatchPod(two, map[string]string{workID: "work"}))
	l.ticked(t, tree, at.Add(time.Second), batchGroup+"/"+workID, "59, 200000 100000, 4096, 4096") // 512 shares
	l.settled(t, tree, batchGroup+"/"+logID, largest)
	w.tell(t, aBatchPod(two, map[string]string{workID: "work", logID: "log", "e0": "debugger"}))
	l.ticked(t, tree, at.Add(2*time.Second), batchGroup+"/"+logID, "17, 100000 100000, 8192, 4096") // 102 shares
	l.settled(t, tree, batchGroup+"/"+sandboxID, largest)
	tree.free(batchGroup + "/e0") // of no name that the pod was given anything for
	l.boundNewcomers(at.Add(3 * time.Second))
	l.settled(t, tree, batchGroup+"/e0", largest)
	for _, c := range l.actor.changes {
		if c.Outcome != v1alpha1.OutcomeApplied {
			t.Errorf("%s of %s was %s: %s", c.Knob, c.Group, c.Outcome, c.Error)
		}
	}
}

const oneContainer = `{"work":{"milliCPU":500,"memoryBytes":8192,"limitMilliCPU":1000}}`

func TestWithoutAHookAFastTickBoundsNewBatchContainers(t *testing.T) {
	tree, placing := newTree(t), false
	w := toldOf(t)
	l := boundingLoop(t, tree, w, v1alpha1.ModeEnforce, &placing)
	l.tick(at)
	tree.free(batchGroup)
	l.boundNewcomers(at.Add(fastTick)) // nobody knows that it is batch
	l.settled(t, tree, batchGroup, "1, max 100000, max, max")
	w.tell(t, aBatchPod(oneContainer, nil))
	l.boundNewcomers(at.Add(2 * fastTick)) // no group is new, the API server's word is
	l.settled(t, tree, batchGroup, "1, 100000 100000, 8192, 4096")

	tree.free(batchGroup + "/" + sandboxID)
	tree.free(batchGroup + "/" + workID)
	// Which is which is not known: both are held to the largest, which is the one container's.
	l.boundNewcomers(at.Add(3 * fastTick))
	l.settled(t, tree, batchGroup+"/"+workID, "1, 100000 100000, 8192, 4096")
	l.settled(t, tree, batchGroup+"/"+sandboxID, "1, 100000 100000, 8192, 4096")
	w.tell(t, aBatchPod(oneContainer, map[string]string{workID: "work"}))
	l.boundNewcomers(at.Add(4 * fastTick))
	l.settled(t, tree, batchGroup+"/"+workID, "59, 100000 100000, 8192, 4096") // 512 shares are a weight of 59
	l.settled(t, tree, batchGroup+"/"+sandboxID, "1, 100000 100000, 8192, 4096")
	for _, c := range l.actor.changes {
		if c.Outcome != v1alpha1.OutcomeApplied {
			t.Errorf("%s of %s was %s: %s", c.Knob, c.Group, c.Outcome, c.Error)
		}
	}

	tree.write(tree.host.FSRoot, batchGroup+"/cpu.max", "max 100000\n")
	l.boundNewcomers(at.Add(15 * fastTick)) // nothing is new: what somebody else wrote is for the next tick
	l.settled(t, tree, batchGroup, "1, max 100000, 8192, 4096")
	l.tick(at.Add(2 * time.Second))
	l.settled(t, tree, batchGroup, "1, 100000 100000, 8192, 4096")
}

func TestAGroupThatIsHalfMadeIsBoundedOnceItIsWhole(t *testing.T) {
	tree, placing := newTree(t), false
	w := toldOf(t, aBatchPod(oneContainer, nil))
	l := boundingLoop(t, tree, w, v1alpha1.ModeEnforce, &placing)
	l.tick(at)
	tree.free(batchGroup)
	tree.free(batchGroup + "/" + workID)
	file := filepath.Join(tree.host.FSRoot, batchGroup, workID, "memory.max")
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	l.boundNewcomers(at.Add(fastTick))
	l.settled(t, tree, batchGroup, "1, 100000 100000, 8192, 4096")
	for _, c := range l.actor.changes {
		if c.Outcome != v1alpha1.OutcomeApplied {
			t.Errorf("%s of %s was %s: %s", c.Knob, c.Group, c.Outcome, c.Error)
		}
	}
	tree.write(tree.host.FSRoot, batchGroup+"/"+workID+"/memory.max", "max\n") // nothing tells of it
	l.boundNewcomers(at.Add(2 * fastTick))
	l.settled(t, tree, batchGroup+"/"+workID, "1, 100000 100000, 8192, 4096")
}

func TestWithTheHookItsContainersAreLeftAlone(t *testing.T) {
	tree, placing := newTree(t), true
	w := toldOf(t, aBatchPod(oneContainer, nil))
	l := boundingLoop(t, tree, w, v1alpha1.ModeEnforce, &placing)
	tree.free(batchGroup)
	tree.free(batchGroup + "/" + sandboxID)
	l.tick(at)
	l.boundNewcomers(at.Add(fastTick))
	l.settled(t, tree, batchGroup, "1, max 100000, max, max")
	// One that was created before the hook was there stays where it is.
	tree.free(batchGroup + "/" + workID)
	w.tell(t, aBatchPod(oneContainer, map[string]string{workID: "work"}))
	l.tick(at.Add(time.Second))
	l.settled(t, tree, batchGroup, "1, 100000 100000, 8192, 4096")
	l.settled(t, tree, batchGroup+"/"+workID, "1, 100000 100000, 8192, 4096")
	l.ticked(t, tree, at.Add(2*time.Second), batchGroup+"/"+workID, "59, 100000 100000, 8192, 4096")
}

// An agent that has just started hears of its pods after its first reading, and before its hook is connected.
func TestWhatAnEarlierAgentsHookPlacedIsLeftAlone(t *testing.T) {
	tree, placing := newTree(t), false
	w := toldOf(t)
	l := boundingLoop(t, tree, w, v1alpha1.ModeEnforce, &placing)
	tree.free(batchGroup)
	tree.free(batchGroup + "/" + sandboxID)
	tree.free("/kubepods/plimsoll-batch/" + workID)
	l.tick(at)
	w.tell(t, aBatchPod(oneContainer, map[string]string{workID: "work"}))
	l.boundNewcomers(at.Add(fastTick))
	if len(l.actor.changes) != 0 {
		t.Errorf("changes %v, want none: the pod's container is in the batch branch", l.actor.changes)
	}
}

func TestAContainerThatTheHookCouldNotBoundIsBounded(t *testing.T) {
	for name, tc := range map[string]struct {
		quota bool
		want  string
	}{
		"with a quota of its own":  {true, "59, 100000 100000, 8192, 4096"},
		"where the branch has one": {false, "59, max 100000, 8192, 4096"},
	} {
		t.Run(name, func(t *testing.T) {
			tree, placing := newTree(t), true
			l := boundingLoop(t, tree, toldOf(t, aBatchPod(oneContainer, map[string]string{workID: "work", "c1": "work"})), v1alpha1.ModeEnforce, &placing)
			l.sensor.limits.Quota = tc.quota
			l.sensor.reduced = func(id string) bool { return id == workID }
			const branch = "/kubepods/plimsoll-batch/"
			tree.free(batchGroup)
			tree.free(branch + workID)
			tree.free(branch + "c1")
			l.tick(at)
			l.ticked(t, tree, at.Add(time.Second), branch+workID, tc.want)
			l.settled(t, tree, branch+"c1", "1, max 100000, max, max") // its limits are the hook's
			l.settled(t, tree, batchGroup, "1, max 100000, max, max")
		})
	}
}

func TestObserveWritesNoLimits(t *testing.T) {
	tree, placing := newTree(t), false
	l := boundingLoop(t, tree, toldOf(t, aBatchPod(oneContainer, nil)), v1alpha1.ModeObserve, &placing)
	l.tick(at)
	tree.free(batchGroup)
	tree.free(batchGroup + "/" + workID)
	l.boundNewcomers(at.Add(fastTick))
	l.tick(at.Add(time.Second))
	l.settled(t, tree, batchGroup, "1, max 100000, max, max")
	l.settled(t, tree, batchGroup+"/"+workID, "1, max 100000, max, max")
	var observed []string
	for _, c := range l.actor.changes {
		observed = append(observed, strings.TrimPrefix(c.Group, batchGroup)+" "+c.Knob+" "+string(c.Outcome))
	}
	want := []string{"/c0 pids.max Observed", "/c0 memory.max Observed", "/c0 cpu.quota Observed", " pids.max Observed", " memory.max Observed", " cpu.quota Observed"} // newest first
	if d := cmp.Diff(want, observed); d != "" {
		t.Errorf("changes told of (-want +got):\n%s", d)
	}
}

func TestAPodThatWasNotConvertedKeepsTheKubeletsLimits(t *testing.T) {
	tree, placing := newTree(t), false
	l := boundingLoop(t, tree, toldOf(t, aBatchPod("", map[string]string{workID: "work"})), v1alpha1.ModeEnforce, &placing)
	const burstable = "/kubepods/burstable/pod" + batchUID
	tree.free(burstable)
	tree.free(burstable + "/" + workID)
	tree.write(tree.host.FSRoot, burstable+"/"+workID+"/memory.max", "4096\n")
	l.tick(at)
	l.settled(t, tree, burstable, "1, max 100000, max, max")
	l.settled(t, tree, burstable+"/"+workID, "1, 200000 100000, 4096, 4096")
}

func TestAKubeletsLimitOfTasksStays(t *testing.T) {
	tree, placing := newTree(t), false
	l := boundingLoop(t, tree, toldOf(t, aBatchPod(oneContainer, nil)), v1alpha1.ModeEnforce, &placing)
	tree.free(batchGroup)
	tree.write(tree.host.FSRoot, batchGroup+"/pids.max", "1000\n")
	l.tick(at)
	l.settled(t, tree, batchGroup, "1, 100000 100000, 8192, 1000")
}

func TestWhatAPodIsHeldToCountsInitialContainersOnce(t *testing.T) {
	pod := aBatchPod(`{"setup":{"milliCPU":100,"memoryBytes":40960,"limitMilliCPU":3000},"log":{"milliCPU":1,"memoryBytes":4096,"limitMilliCPU":100},"work":{"milliCPU":500,"memoryBytes":8192,"limitMilliCPU":1000}}`, nil)
	pod.Spec.InitContainers = []corev1.Container{{Name: "setup"}, {Name: "log", RestartPolicy: ptr.To(corev1.ContainerRestartPolicyAlways)}}
	b, ok := toldOf(t, pod).batchPod(batchUID)
	if !ok {
		t.Fatal("the pod is not known")
	}
	got := b.podBounds(limits{PIDs: 100})
	if got.QuotaMicros != 310_000 || got.MemoryBytes != 45056 || got.PIDs != 300 || got.Weight != 0 { // max(3000, 1000) + 100; max(40960, 8192) + 4096
		t.Errorf("the pod is held to %+v, want 310000 us, 45056 bytes and 300 tasks", got)
	}
}

func TestWhatIsRememberedOfPodsGoesWithThem(t *testing.T) {
	tree, placing := newTree(t), false
	l := boundingLoop(t, tree, toldOf(t, aBatchPod(oneContainer, nil)), v1alpha1.ModeEnforce, &placing)
	tree.free(batchGroup)
	l.tick(at)
	l.settled(t, tree, batchGroup, "1, 100000 100000, 8192, 4096")
	l.boundNewcomers(at.Add(fastTick))
	for n := 0; n < 2000 && len(l.actor.latest) < 3; n++ { // the limit of memory is written beside the loop
		l.tick(at.Add(time.Second))
	}
	if len(l.actor.latest) != 3 {
		t.Fatalf("%d outcomes are remembered, want those of the pod's quota, memory and tasks", len(l.actor.latest))
	}
	if err := os.RemoveAll(filepath.Join(tree.host.FSRoot, batchGroup)); err != nil {
		t.Fatal(err)
	}
	l.boundNewcomers(at.Add(2 * time.Second))
	l.tick(at.Add(2 * time.Second))
	if len(l.actor.latest) != 0 || len(l.newcomers.known) != 0 {
		t.Errorf("%d outcomes and %d pods are remembered of nothing", len(l.actor.latest), len(l.newcomers.known))
	}
}
