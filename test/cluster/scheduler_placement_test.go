package cluster

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/plimsoll/plimsoll/pkg/api/v1alpha1"
)

// runOfPicks is how often in a row a node must be picked: by chance, one of two is once in a million times. What
// was published may arrive late, after a watch that ended was begun anew, so runs are tried until patience ends.
const runOfPicks = 20

// nodePair is two nodes of 4 cores that exist as objects only, and pods that fit nowhere else.
type nodePair struct {
	cp            *controlPlane
	label         string
	schedulerName string
	pods          int
}

const pairLabel = "test.plimsoll.dev/pair"

func (cp *controlPlane) newNodePair(t *testing.T, label string) *nodePair {
	t.Helper()
	p := &nodePair{cp: cp, label: label, schedulerName: "plimsoll-scheduler"}
	for _, which := range []string{"a", "b"} {
		capacity := corev1.ResourceList{
			corev1.ResourceCPU:    resource.MustParse("4"),
			corev1.ResourceMemory: resource.MustParse("8Gi"),
			corev1.ResourcePods:   resource.MustParse("110"),
		}
		node := &corev1.Node{
			ObjectMeta: metav1.ObjectMeta{Name: p.node(which), Labels: map[string]string{pairLabel: label}},
			Status: corev1.NodeStatus{
				Capacity: capacity, Allocatable: capacity,
				Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue, LastHeartbeatTime: metav1.Now()}},
			},
		}
		if _, err := cp.client.CoreV1().Nodes().Create(t.Context(), node, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = cp.client.CoreV1().Nodes().Delete(context.Background(), node.Name, metav1.DeleteOptions{})
		})
	}
	return p
}

func (p *nodePair) node(which string) string { return p.label + "-" + which }

// createPod makes a pod of the pair; on says which node it is on already, "" that it waits for the scheduler.
func (p *nodePair) createPod(t *testing.T, on, cpu string, labels map[string]string, changes ...func(*corev1.Pod)) *corev1.Pod {
	t.Helper()
	p.pods++
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("%s-%d", p.label, p.pods), Labels: labels},
		Spec: corev1.PodSpec{
			SchedulerName: p.schedulerName,
			NodeSelector:  map[string]string{pairLabel: p.label},
			// No kubelet reports for these nodes, so the control plane will taint them sooner or later.
			Tolerations: []corev1.Toleration{{Operator: corev1.TolerationOpExists}},
			Containers: []corev1.Container{{
				Name: "main", Image: "none",
				Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu)}},
			}},
		},
	}
	if on != "" {
		pod.Spec.NodeName = p.node(on)
	}
	for _, change := range changes {
		change(pod)
	}
	pod, err := p.cp.client.CoreV1().Pods(cmp.Or(pod.Namespace, metav1.NamespaceDefault)).Create(t.Context(), pod, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.delete(pod) })
	return pod
}

// delete has the pod gone when it returns, or the scheduler would count it further.
func (p *nodePair) delete(pod *corev1.Pod) {
	now := int64(0)
	pods := p.cp.client.CoreV1().Pods(pod.Namespace)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	_ = wait.PollUntilContextCancel(ctx, 20*time.Millisecond, true, func(ctx context.Context) (bool, error) {
		return apierrors.IsNotFound(pods.Delete(ctx, pod.Name, metav1.DeleteOptions{GracePeriodSeconds: &now})), nil
	})
}

// picked waits until the pod is bound, and says to which node of the pair.
func (p *nodePair) picked(t *testing.T, pod *corev1.Pod) string {
	t.Helper()
	node := ""
	eventually(t, "pod "+pod.Name+" to be bound", func(ctx context.Context) (bool, error) {
		got, err := p.cp.client.CoreV1().Pods(pod.Namespace).Get(ctx, pod.Name, metav1.GetOptions{})
		if err != nil {
			return false, err
		}
		node = got.Spec.NodeName
		return node != "", nil
	})
	return strings.TrimPrefix(node, p.label+"-")
}

// pick has the scheduler place a pod, which is then gone again.
func (p *nodePair) pick(t *testing.T, labels map[string]string, changes ...func(*corev1.Pod)) string {
	t.Helper()
	pod := p.createPod(t, "", "100m", labels, changes...)
	defer p.delete(pod)
	return p.picked(t, pod)
}

// wantPicks waits until the scheduler has seen what was published, and picks the node in a whole run.
func (p *nodePair) wantPicks(t *testing.T, want string, labels map[string]string, changes ...func(*corev1.Pod)) {
	t.Helper()
	eventually(t, fmt.Sprintf("%d picks in a row of node %s", runOfPicks, want), func(context.Context) (bool, error) {
		for range runOfPicks {
			if p.pick(t, labels, changes...) != want {
				return false, nil
			}
		}
		return true, nil
	})
}

// publish writes what a node uses, of that by batch, as measured so long ago.
func (p *nodePair) publish(t *testing.T, which string, nodeMilliCPU, batchMilliCPU int64, age time.Duration, measured ...*corev1.Pod) {
	t.Helper()
	p.cp.putUtilization(t, p.utilization(which, nodeMilliCPU, batchMilliCPU, age, measured...))
}

func (p *nodePair) utilization(which string, nodeMilliCPU, batchMilliCPU int64, age time.Duration, measured ...*corev1.Pod) *v1alpha1.NodeUtilization {
	u := goodUtilization(p.node(which))
	u.Status.ObservedTime = metav1.NewMicroTime(time.Now().Add(-age))
	u.Status.Node.MilliCPU = nodeMilliCPU
	u.Status.Classes[0].MilliCPU = nodeMilliCPU - batchMilliCPU
	u.Status.Classes[1].MilliCPU = batchMilliCPU
	u.Status.Pods = nil
	for _, pod := range measured {
		u.Status.Pods = append(u.Status.Pods, v1alpha1.PodUtilization{
			UID: string(pod.UID), Namespace: pod.Namespace, Name: pod.Name, Class: v1alpha1.ClassLatencySensitive, MeasuredMilliseconds: 60_000,
		})
	}
	return u
}

func testPlacementWithoutCRD(t *testing.T, cp *controlPlane, s *scheduler) {
	p := cp.newNodePair(t, "nocrd")
	p.createPod(t, "a", "2", nil)
	p.wantPicks(t, "b", nil)
	const notice = "NodeUtilization is not served by this API server"
	eventually(t, "the scheduler's notice", func(context.Context) (bool, error) {
		return strings.Contains(s.output(t), notice), nil
	})
	if got := strings.Count(s.output(t), notice); got != 1 {
		t.Errorf("the scheduler says %d times that the CRD is missing, want once", got)
	}
}

func testPicksTheLessUsedNode(t *testing.T, cp *controlPlane) {
	cp.installCRDs(t)
	p := cp.newNodePair(t, "used")
	// Equal requests: all that differs is use. Scores: 100 x (1 - (300+100)/3200) = 87 and 100 x (1 - 2600/3200) = 18.
	p.publish(t, "a", 300, 0, 0)
	p.publish(t, "b", 2500, 0, 0)
	p.wantPicks(t, "a", nil)

	p.publish(t, "a", 2500, 0, 0)
	p.publish(t, "b", 300, 0, 0)
	p.wantPicks(t, "b", nil)
}

func testStaleMeasurements(t *testing.T, cp *controlPlane) {
	cp.installCRDs(t)
	p := cp.newNodePair(t, "stale")
	// By requests a is the fuller one, by use it is the idler one.
	resident := p.createPod(t, "a", "2", nil)
	p.publish(t, "a", 100, 0, 0, resident)
	p.publish(t, "b", 2500, 0, 0)
	p.wantPicks(t, "a", nil)

	p.publish(t, "a", 100, 0, 10*time.Minute, resident)
	p.publish(t, "b", 2500, 0, 10*time.Minute)
	p.wantPicks(t, "b", nil)
}

// The clock of a is ten minutes behind. By requests a is the fuller node, by use it is the idler one, and what its
// agent writes is as young as what b's does: the API server's stamp says so, from the first time on.
func testClockSkew(t *testing.T, cp *controlPlane, s *scheduler) {
	cp.installCRDs(t)
	p := cp.newNodePair(t, "skew")
	resident := p.createPod(t, "a", "3", nil)
	for _, u := range []*v1alpha1.NodeUtilization{p.utilization("a", 100, 0, 10*time.Minute, resident), p.utilization("b", 2500, 0, 0)} {
		// The API server keeps no account of who wrote an object that was empty when it was made. The agent's has an owner.
		u.Labels = map[string]string{pairLabel: p.label}
		cp.putUtilizationAs(t, u, v1alpha1.FieldManager)
	}
	p.wantPicks(t, "a", nil)
	p.wantPicks(t, "a", map[string]string{v1alpha1.ClassLabel: v1alpha1.BatchLabelValue})
	const notice = "The clock of a node differs from the API server's"
	if got := s.output(t); !strings.Contains(got, notice) || !strings.Contains(got, `node="skew-a"`) {
		t.Errorf("the scheduler does not say %q of skew-a", notice)
	}
}

func testBatchGivesWay(t *testing.T, cp *controlPlane) {
	cp.installCRDs(t)
	p := cp.newNodePair(t, "batch")
	// a is full of batch with 100 of online use, b carries 1500 of online use and no batch.
	p.publish(t, "a", 3100, 3000, 0)
	p.publish(t, "b", 1500, 0, 0)
	p.wantPicks(t, "a", nil)
	p.wantPicks(t, "b", map[string]string{v1alpha1.ClassLabel: v1alpha1.BatchLabelValue})
}

// Pods that were just placed count before they are measured. What is published stays frozen at 0 and
// 1000. If the placed pods did not count, a would lead by 3 x 31 points for good and get all ten; if
// use did not count, each would get five. As they do, a gets pods of 300 until it carries about what b
// does: three or so more.
func testBurst(t *testing.T, cp *controlPlane) {
	cp.installCRDs(t)
	p := cp.newNodePair(t, "burst")
	p.publish(t, "a", 0, 0, 0)
	p.publish(t, "b", 1000, 0, 0)
	p.wantPicks(t, "a", nil)
	var pods []*corev1.Pod
	for range 10 {
		pods = append(pods, p.createPod(t, "", "300m", nil))
	}
	on := map[string]int{}
	for _, pod := range pods {
		on[p.picked(t, pod)]++
	}
	if on["a"] < 6 || on["a"] > 7 {
		t.Errorf("pods on the nodes = %v, want 6 or 7 on a", on)
	}
}
