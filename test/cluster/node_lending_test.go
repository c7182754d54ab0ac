package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/plimsoll/plimsoll/pkg/agent"
	"github.com/plimsoll/plimsoll/pkg/api/v1alpha1"
	"github.com/plimsoll/plimsoll/pkg/cgroup"
	"github.com/plimsoll/plimsoll/pkg/usage"
)

const (
	// raiseAfter is the lending configuration's raiseAfterSeconds in this test; by default it is ten minutes.
	raiseAfter = 15 * time.Second
	// starveFor is how long a batch pod starves in this test before it is evicted; by default it is ten minutes.
	starveFor = 30 * time.Second
	// soon is how long the agent may take to put back what the kubelet took away.
	soon = 10 * time.Second
)

// TestLendingOnARealNode follows what a real node offers to batch work: down with a step of online load,
// up again, through a restart of the kubelet and a new registration of the Node, until it is released.
func TestLendingOnARealNode(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("a real node needs root: run the tests as root to cover it")
	}
	n := startNode(t)
	if others := n.othersMilliCPU(t); others > 300 {
		t.Skipf("needs a machine that is otherwise idle: other programs use %d thousandths of a core, which the node cannot lend", others)
	}
	n.haveHistory(t)
	n.installLending(t)
	service := n.startPod(t, "service", nil, "")
	n.signal(t, service, syscall.SIGSTOP)
	t.Cleanup(func() { n.signal(t, service, syscall.SIGCONT) }) // a stopped process cannot end

	t.Run("a step of online load takes it down within 2 s, and up once raiseAfterSeconds are over", func(t *testing.T) { n.testStep(t, service) })
	batch := n.startBorrower(t)
	t.Run("it survives a restart of the kubelet, and so do the pods that it was lent to", func(t *testing.T) { n.testRestartKeepsLoans(t, batch) })
	t.Run("it survives a new registration of the Node", func(t *testing.T) { n.testRegistrationKeepsOffer(t) })
	t.Run("a batch pod that the service leaves nothing is evicted", func(t *testing.T) { n.testStarvation(t, batch) })
	t.Run("release takes it off the Node", func(t *testing.T) { n.testWithdrawal(t) })
}

// haveHistory puts a checkpoint where the agent finds it, of an agent that has seen eight days of a tenth of
// a core: in its first hour an agent lends nothing.
func (n *node) haveHistory(t *testing.T) {
	t.Helper()
	_, has, err := n.host.ReadNode()
	if err != nil {
		t.Fatal(err)
	}
	forecaster, err := usage.NewForecaster(usage.Capacity{MilliCPU: has.MilliCPU, MemoryBytes: has.MemoryBytes})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	for at := now.Add(-8 * 24 * time.Hour); at.Before(now); at = at.Add(usage.SlotLength) {
		forecaster.Add(at, usage.Of(100), usage.Of(256<<20))
	}
	c := agent.Checkpoint{SavedAt: now, Capacity: v1alpha1.Resources{MilliCPU: has.MilliCPU, MemoryBytes: has.MemoryBytes}}
	workloads, errWorkloads := usage.NewWorkloads(1).MarshalBinary()
	learned, errLearned := forecaster.MarshalBinary()
	c.Forecaster, c.Workloads = learned, workloads
	content, errEncode := c.Encode()
	if err := errors.Join(errWorkloads, errLearned, errEncode); err != nil {
		t.Fatal(err)
	}
	state := filepath.Join(n.cluster.Dir(), "node", "varlib", "plimsoll")
	if err := errors.Join(os.MkdirAll(state, 0o755), os.WriteFile(filepath.Join(state, agent.CheckpointFile), content, 0o600)); err != nil {
		t.Fatal(err)
	}
}

// installLending installs the agent of the local overlay with short minutes and all of the node as its safe
// line: the machine's other work, the control plane's for one, counts as the system's.
func (n *node) installLending(t *testing.T) {
	t.Helper()
	config := fmt.Sprintf(`apiVersion: %s
kind: AgentConfiguration
lending:
  mode: Enforce
  cpu: {safeLinePermille: 1000}
  memory: {safeLinePermille: 1000}
  raiseAfterSeconds: %d
runtimeHook: {mode: Enforce}
strategies:
- {name: batchidle, mode: Enforce}
- {name: starvation, mode: Enforce, args: {afterSeconds: %d, leastPermille: 500}} # on two CPUs a little is left now and then
`, v1alpha1.APIVersion, int(raiseAfter/time.Second), int(starveFor/time.Second))
	n.installConfigured(t, config, "eviction")
}

// signal sends a signal to the processes of a pod's container.
func (n *node) signal(t *testing.T, pod *corev1.Pod, s syscall.Signal) {
	t.Helper()
	group, err := n.groupOf(string(pod.UID))
	if err != nil {
		t.Log(err) // it has ended
		return
	}
	for _, task := range n.tasks(group + "/" + containerID(pod)) {
		pid, err := strconv.Atoi(task)
		if err != nil {
			t.Fatal(err)
		}
		if err := syscall.Kill(pid, s); err != nil && !errors.Is(err, syscall.ESRCH) {
			t.Fatalf("signal %v to %d: %v", s, pid, err)
		}
	}
}

// offers is what the Node offers to batch work, in allocatable; ok is false where it does not.
func (n *node) offers(ctx context.Context) (milliCPU, memoryBytes int64, ok bool, err error) {
	node, err := n.client.CoreV1().Nodes().Get(ctx, n.cluster.NodeName(), metav1.GetOptions{})
	if err != nil {
		return 0, 0, false, err
	}
	cpu, okCPU := node.Status.Allocatable[v1alpha1.BatchCPUResource]
	memory, okMemory := node.Status.Allocatable[v1alpha1.BatchMemoryResource]
	return cpu.Value(), memory.Value(), okCPU && okMemory, nil
}

// offersAtLeast waits until the Node offers so much CPU, and some memory, and returns the CPU.
func (n *node) offersAtLeast(t *testing.T, milliCPU int64, limit time.Duration) int64 {
	t.Helper()
	var last int64
	waitAtMost(t, limit, fmt.Sprintf("the Node to offer %d milli-cores or more", milliCPU), func(ctx context.Context) (bool, error) {
		cpu, memory, ok, err := n.offers(ctx)
		last = cpu
		return ok && cpu >= milliCPU && memory > 0, ignoreNotFound(err)
	})
	return last
}

// othersMilliCPU is the CPU that programs beside the cluster use, in thousandths of a core.
func (n *node) othersMilliCPU(t *testing.T) int64 {
	t.Helper()
	r := cgroup.NewReader(n.host)
	defer r.Close()
	used := func() (micros int64) {
		whole, _, err := n.host.ReadNode()
		if err != nil {
			t.Fatal(err)
		}
		cluster, err := r.Read(path.Dir(n.host.Kubepods))
		if err != nil {
			t.Fatal(err)
		}
		return whole.CPUBusyMicros.Value - cluster.CPUMicros.Value
	}
	const window = 3 * time.Second
	before, began := used(), time.Now()
	eventually(t, "some seconds to measure", func(context.Context) (bool, error) { return time.Since(began) >= window, nil })
	return (used() - before) * 1000 / time.Since(began).Microseconds()
}

// testStep tries a few times: other programs of the machine may hold a step up, and one that was in time
// shows that the agent was.
func (n *node) testStep(t *testing.T, service *corev1.Pod) {
	const tries = 3
	for try := 1; ; try++ {
		late := n.step(t, service)
		if late == "" {
			break
		}
		if try == tries {
			t.Fatalf("%s, in each of %d tries", late, tries)
		}
		t.Log(late)
	}
	n.describesIt(t)
}

// step says what was late, if anything was.
func (n *node) step(t *testing.T, service *corev1.Pod) (late string) {
	t.Helper()
	const step = 500 // of the up to 2000 that the service then takes
	before := n.offersAtLeast(t, 600, patience)
	began := time.Now()
	n.signal(t, service, syscall.SIGCONT)
	var after int64
	waitAtMost(t, patience, "what the Node offers to fall", func(ctx context.Context) (bool, error) {
		now, _, ok, err := n.offers(ctx)
		after = now
		return ok && now <= before-step, err
	})
	fell := time.Since(began)
	t.Logf("from %d to %d milli-cores in %v", before, after, fell)
	if fell > 2*time.Second {
		late = fmt.Sprintf("it fell %v after the step, want at most 2 s", fell)
	}
	n.signal(t, service, syscall.SIGSTOP)
	stopped := time.Now()
	enough := after + (before-after)/2
	n.offersAtLeast(t, enough, patience)
	rose := time.Since(stopped)
	t.Logf("back at %d or more after %v", enough, rose)
	// raiseAfter, up to an eighth of it, a tick of a second and the ten-second average of other work
	if rose < raiseAfter-time.Second {
		t.Errorf("it rose %v after the load ended, want it once %v are over", rose, raiseAfter)
	}
	if rose > raiseAfter+raiseAfter/8+13*time.Second {
		late = fmt.Sprintf("it rose %v after the load ended, want it once %v are over", rose, raiseAfter)
	}
	return late
}

// describesIt checks that a person sees the sum.
func (n *node) describesIt(t *testing.T) {
	t.Helper()
	eventually(t, "the arithmetic in NodeUtilization", func(ctx context.Context) (bool, error) {
		s, err := n.utilization(ctx)
		if err != nil || s.Lendable == nil || s.Forecast == nil {
			return false, err
		}
		c := s.Lendable.MilliCPU
		if want := max(0, c.SafeLine-c.System-c.ForecastPeak-c.Margin); c.Computed != want {
			return false, fmt.Errorf("computed %d of %+v, want %d", c.Computed, c, want)
		}
		return c.Published > 0 && len(s.Classes) == 3 && len(s.Classes[0].Windows) > 0 && len(s.Workloads) > 0, nil
	})
}

// startBorrower runs a batch pod that is lent something, placed by what the Node offers.
func (n *node) startBorrower(t *testing.T) *corev1.Pod {
	t.Helper()
	n.offersAtLeast(t, 300, patience)
	pods := n.client.CoreV1().Pods(metav1.NamespaceDefault)
	lent := corev1.ResourceList{v1alpha1.BatchCPUResource: resource.MustParse("300"), v1alpha1.BatchMemoryResource: resource.MustParse("64Mi")}
	_, err := pods.Create(t.Context(), &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "borrower", Labels: map[string]string{v1alpha1.ClassLabel: v1alpha1.BatchLabelValue}},
		Spec: corev1.PodSpec{
			HostNetwork: true, TerminationGracePeriodSeconds: ptr.To[int64](1),
			Containers: []corev1.Container{{
				Name: "work", Image: batchImage, ImagePullPolicy: corev1.PullNever, Args: []string{"--threads=1", "--listen="},
				Resources: corev1.ResourceRequirements{Requests: lent, Limits: lent},
			}},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var pod *corev1.Pod
	eventually(t, "the borrower to run and its loan to be published", func(ctx context.Context) (bool, error) {
		if pod, err = pods.Get(ctx, "borrower", metav1.GetOptions{}); err != nil {
			return false, err
		}
		if pod.Status.Phase != corev1.PodRunning || !pod.Status.ContainerStatuses[0].Ready {
			return false, nil
		}
		s, err := n.utilization(ctx)
		return err == nil && s.Lendable != nil && s.Lendable.MilliCPU.Lent == 300, err
	})
	return pod
}

func (n *node) testRestartKeepsLoans(t *testing.T, batch *corev1.Pod) {
	if err := n.cluster.Restart(t.Context(), "kubelet"); err != nil {
		t.Fatal(err)
	}
	n.kubeletIsBack(t, time.Now())
	n.offersAtLeast(t, 300, soon)
	now, err := n.client.CoreV1().Pods(batch.Namespace).Get(t.Context(), batch.Name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if now.Status.Phase != corev1.PodRunning || containerID(now) != containerID(batch) || now.Status.ContainerStatuses[0].RestartCount != 0 {
		t.Errorf("the borrower did not run on: %s, %s %s", now.Status.Phase, now.Status.Reason, now.Status.Message)
	}
}

// kubeletIsBack waits for the restarted kubelet to renew its lease.
func (n *node) kubeletIsBack(t *testing.T, after time.Time) {
	t.Helper()
	eventually(t, "the restarted kubelet to renew its lease", func(ctx context.Context) (bool, error) {
		lease, err := n.client.CoordinationV1().Leases(corev1.NamespaceNodeLease).Get(ctx, n.cluster.NodeName(), metav1.GetOptions{})
		if err != nil {
			return false, ignoreNotFound(err)
		}
		return lease.Spec.RenewTime != nil && lease.Spec.RenewTime.After(after), nil
	})
}

func (n *node) testRegistrationKeepsOffer(t *testing.T) {
	nodes := n.client.CoreV1().Nodes()
	before, err := nodes.Get(t.Context(), n.cluster.NodeName(), metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := nodes.Delete(t.Context(), n.cluster.NodeName(), metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := n.cluster.Restart(t.Context(), "kubelet"); err != nil { // a kubelet registers when it starts
		t.Fatal(err)
	}
	eventually(t, "the kubelet to register its Node anew", func(ctx context.Context) (bool, error) {
		now, err := nodes.Get(ctx, n.cluster.NodeName(), metav1.GetOptions{})
		return err == nil && now.UID != before.UID, ignoreNotFound(err)
	})
	n.offersAtLeast(t, 300, soon)
}

func (n *node) testWithdrawal(t *testing.T) {
	if err := n.client.AppsV1().DaemonSets(systemNamespace).Delete(t.Context(), "plimsoll-agent", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the agent's pod to be gone", func(ctx context.Context) (bool, error) {
		list, err := n.client.CoreV1().Pods(systemNamespace).List(ctx, metav1.ListOptions{})
		return err == nil && len(list.Items) == 0, err
	})
	if _, _, ok, err := n.offers(t.Context()); err != nil || !ok {
		t.Errorf("the offer went with the agent (%v): a new agent's node must not look full meanwhile", err)
	}
	state := filepath.Join(n.cluster.Dir(), "node", "varlib", "plimsoll")
	out, err := exec.CommandContext(t.Context(), filepath.Join(binDir(t), "plimsoll-agent"), "release",
		"--kubelet-cgroup-root", n.cluster.CgroupRoot(), "--state-dir", state,
		"--kubeconfig", n.cluster.Kubeconfig(), "--node-name", n.cluster.NodeName()).CombinedOutput()
	// The batch branch may still hold the borrower; what is asked here is the Node.
	if !strings.Contains(string(out), "offers no batch resources") {
		t.Fatalf("release: %v\n%s", err, out)
	}
	gone := func(ctx context.Context) (bool, error) {
		node, err := n.client.CoreV1().Nodes().Get(ctx, n.cluster.NodeName(), metav1.GetOptions{})
		if err != nil {
			return false, err
		}
		for _, list := range []corev1.ResourceList{node.Status.Capacity, node.Status.Allocatable} {
			for name := range list {
				if strings.HasPrefix(string(name), v1alpha1.GroupName+"/") {
					return false, nil
				}
			}
		}
		return true, nil
	}
	eventually(t, "the Node to offer nothing", gone)
	restarted := time.Now()
	if err := n.cluster.Restart(t.Context(), "kubelet"); err != nil {
		t.Fatal(err)
	}
	n.kubeletIsBack(t, restarted)
	if ok, err := gone(t.Context()); err != nil || !ok {
		t.Errorf("the kubelet brought it back (%v)", err)
	}
}

// testStarvation lets a service have the node, with more threads than it has CPUs, until the batch pod goes. It
// has a request: the tier of pods without has less weight than the idle branch. A small one, so that how soon the
// agent gets the CPU is not what is tested here: TestTheAgentLooksInTimeOnANodeThatAServiceFills is for that.
func (n *node) testStarvation(t *testing.T, batch *corev1.Pod) {
	begin := time.Now()
	n.startBusy(t, "100m")
	var got v1alpha1.PodUtilization
	var refused []v1alpha1.ChangeStatus
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the last that was published of the batch pod: %+v; refused: %+v", got, refused)
		}
	})
	waitAtMost(t, 4*starveFor, "the batch pod to be evicted", func(ctx context.Context) (bool, error) {
		now, err := n.client.CoreV1().Pods(batch.Namespace).Get(ctx, batch.Name, metav1.GetOptions{})
		if s, err := n.utilization(ctx); err == nil {
			for _, p := range s.Pods {
				if p.UID == string(batch.UID) {
					got = p
				}
			}
			refused = slices.DeleteFunc(s.Changes, func(c v1alpha1.ChangeStatus) bool { return c.Outcome != v1alpha1.OutcomeRefused })
		}
		return apierrors.IsNotFound(err) || err == nil && now.DeletionTimestamp != nil, ignoreNotFound(err)
	})
	if took := time.Since(begin); took < starveFor {
		t.Errorf("it was evicted after %v, before it had starved for %v", took, starveFor)
	}
	eventually(t, "NodeUtilization to tell of the eviction", func(ctx context.Context) (bool, error) {
		s, err := n.utilization(ctx)
		return err == nil && slices.ContainsFunc(s.Changes, func(c v1alpha1.ChangeStatus) bool {
			return c.Strategy == "starvation" && c.Knob == "evict" && c.Value == batch.Namespace+"/"+batch.Name && c.Outcome == v1alpha1.OutcomeApplied
		}), err
	})
	text, err := os.ReadFile(filepath.Join(n.cluster.Dir(), "node", "varlib", "plimsoll", "audit", "audit-00000000000000000001.jsonl"))
	if err != nil || !strings.Contains(string(text), `"kind":"eviction"`) || !strings.Contains(string(text), string(batch.UID)) {
		t.Errorf("the audit log does not tell of the eviction: %v", err)
	}
}
