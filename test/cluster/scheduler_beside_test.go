package cluster

import (
	"context"
	"fmt"
	"strings"
	"syscall"
	"testing"

	corev1 "k8s.io/api/core/v1"
	schedulingv1beta1 "k8s.io/api/scheduling/v1beta1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/plimsoll/plimsoll/pkg/api/v1alpha1"
	"github.com/plimsoll/plimsoll/pkg/localcluster"
)

// simulated is how many nodes kwok runs beside the scheduler under test: a half that carries pods, and a half that
// carries none and is busy.
const simulated = 6

// TestSchedulerBesideOthers is how LoadAware gets on with what else decides about pods: gangs, quotas, and another
// scheduler that takes over.
func TestSchedulerBesideOthers(t *testing.T) {
	const gate = "GenericWorkload=true"
	cp := startControlPlane(t, func(o *localcluster.Options) {
		o.FeatureGates, o.RuntimeConfig = gate, "scheduling.k8s.io/v1beta1=true"
		o.SimulatedNodes = simulated
	})
	cp.applyKustomization(t, "base/scheduler")
	cp.installCRDs(t)
	s := startScheduler(t, cp, "--feature-gates="+gate)

	t.Run("a gang is placed as a whole or not at all", func(t *testing.T) { testGang(t, cp) })
	t.Run("a ResourceQuota counts what batch pods ask for", func(t *testing.T) { testQuota(t, cp) })
	t.Run("a new leader does not take running pods for new", func(t *testing.T) {
		testLeaderChange(t, cp, s, startScheduler(t, cp, "--feature-gates="+gate))
	})
	t.Run("scheduler needs no more rights than its manifests give", func(t *testing.T) { testNothingWasForbidden(t, s) })
}

// lend gives both nodes of the pair batch resources, as their agents would.
func (p *nodePair) lend(t *testing.T, milliCPU string) {
	t.Helper()
	for _, which := range []string{"a", "b"} {
		patch := fmt.Sprintf(`{"status":{"capacity":{"plimsoll.dev/batch-cpu":%q},"allocatable":{"plimsoll.dev/batch-cpu":%q}}}`, milliCPU, milliCPU)
		if _, err := p.cp.client.CoreV1().Nodes().Patch(t.Context(), p.node(which), types.MergePatchType, []byte(patch), metav1.PatchOptions{}, "status"); err != nil {
			t.Fatal(err)
		}
	}
}

// asksForBatch makes a pod ask for what nodes lend.
func asksForBatch(milliCPU string) func(*corev1.Pod) {
	return func(pod *corev1.Pod) {
		list := corev1.ResourceList{v1alpha1.GroupName + "/batch-cpu": resource.MustParse(milliCPU)}
		pod.Labels = map[string]string{v1alpha1.ClassLabel: v1alpha1.BatchLabelValue}
		pod.Spec.Containers[0].Resources = corev1.ResourceRequirements{Requests: list, Limits: list}
	}
}

// Each node lends 2000, so that three pods of 1000 need both. While LoadAware refuses b, which is not measured, two of
// them would fit a: a scheduler that places pod by pod would start two and have them wait for ever.
func testGang(t *testing.T, cp *controlPlane) {
	p := cp.newNodePair(t, "gang")
	p.lend(t, "2000")
	p.publish(t, "a", 300, 0, 0)
	p.wantPicks(t, "a", nil, asksForBatch("100"))

	group := &schedulingv1beta1.PodGroup{
		ObjectMeta: metav1.ObjectMeta{Name: "trio"},
		Spec:       schedulingv1beta1.PodGroupSpec{SchedulingPolicy: schedulingv1beta1.PodGroupSchedulingPolicy{Gang: &schedulingv1beta1.GangSchedulingPolicy{MinCount: 3}}},
	}
	groups := cp.client.SchedulingV1beta1().PodGroups(metav1.NamespaceDefault)
	if _, err := groups.Create(t.Context(), group, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = groups.Delete(context.Background(), group.Name, metav1.DeleteOptions{}) })
	inGroup := func(pod *corev1.Pod) {
		asksForBatch("1000")(pod)
		pod.Spec.SchedulingGroup = &corev1.PodSchedulingGroup{PodGroupName: &group.Name}
	}
	var pods []*corev1.Pod
	for range 3 {
		pods = append(pods, p.createPod(t, "", "0", nil, inGroup))
	}
	for _, pod := range pods {
		p.refused(t, pod, "")
	}
	for _, pod := range pods {
		got, err := cp.client.CoreV1().Pods(pod.Namespace).Get(t.Context(), pod.Name, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if got.Spec.NodeName != "" {
			t.Fatalf("%s is on %s although the gang does not fit", pod.Name, got.Spec.NodeName)
		}
	}
	p.publish(t, "b", 300, 0, 0)
	on := map[string]int{}
	for _, pod := range pods {
		on[p.picked(t, pod)]++
	}
	if on["a"]+on["b"] != 3 || on["a"] == 0 || on["b"] == 0 {
		t.Errorf("pods on the nodes = %v, want 2 and 1", on)
	}
}

// The quota is on what is asked of nodes' lent CPU, under the name that the API server has for requests of it.
func testQuota(t *testing.T, cp *controlPlane) {
	const namespace = "bounded"
	if _, err := cp.client.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the service account of "+namespace, func(ctx context.Context) (bool, error) {
		_, err := cp.client.CoreV1().ServiceAccounts(namespace).Get(ctx, "default", metav1.GetOptions{})
		return err == nil, ignoreNotFound(err)
	})
	const counted = corev1.ResourceName("requests." + v1alpha1.GroupName + "/batch-cpu")
	quotas := cp.client.CoreV1().ResourceQuotas(namespace)
	quota := &corev1.ResourceQuota{
		ObjectMeta: metav1.ObjectMeta{Name: "batch"},
		Spec:       corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{counted: resource.MustParse("1500")}},
	}
	if _, err := quotas.Create(t.Context(), quota, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	used := func(want int64) {
		t.Helper()
		eventually(t, fmt.Sprintf("%d to be counted", want), func(ctx context.Context) (bool, error) {
			got, err := quotas.Get(ctx, quota.Name, metav1.GetOptions{})
			if err != nil {
				return false, err
			}
			q, ok := got.Status.Used[counted]
			return ok && q.Value() == want, nil
		})
	}
	used(0)

	p := cp.newNodePair(t, "quota")
	p.lend(t, "8000") // room is not what holds the second pod back
	p.publish(t, "a", 300, 0, 0)
	p.publish(t, "b", 2500, 0, 0)
	p.wantPicks(t, "a", nil, asksForBatch("100"))
	bounded := func(pod *corev1.Pod) {
		asksForBatch("1000")(pod)
		pod.Namespace = namespace
	}
	first := p.createPod(t, "", "0", nil, bounded)
	if got := p.picked(t, first); got != "a" {
		t.Errorf("the pod within the quota is on %s, want a, where more room lasts", got)
	}
	second := first.DeepCopy()
	second.ObjectMeta = metav1.ObjectMeta{Name: "second", Namespace: namespace, Labels: first.Labels}
	second.Spec.NodeName = ""
	_, err := cp.client.CoreV1().Pods(namespace).Create(t.Context(), second, metav1.CreateOptions{})
	if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "exceeded quota") {
		t.Fatalf("a pod above the quota: %v, want it forbidden for the quota", err)
	}
	p.delete(first)
	used(0)
	if got := p.picked(t, p.createPod(t, "", "0", nil, bounded)); got != "a" {
		t.Errorf("the pod after it is on %s, want a", got)
	}
}

// The new leader sees hundreds of running pods for the first time. On each of the nodes that carry them they asked
// for 10 cores and use 1, as measured; each of the others uses 6. If they were taken for pods that were just placed,
// these nodes would count as carrying 11.
func testLeaderChange(t *testing.T, cp *controlPlane, leader, follower *scheduler) {
	const podsPerNode = 100
	ctx := t.Context()
	pods := cp.client.CoreV1().Pods(metav1.NamespaceDefault)
	node := func(i int) string { return fmt.Sprintf("simulated-%04d", i) }
	label := map[string]string{"test.plimsoll.dev/fleet": "resident"}
	p := &nodePair{cp: cp, label: "fleet", schedulerName: "plimsoll-scheduler"}
	onFleet := func(pod *corev1.Pod) { pod.Spec.NodeSelector = map[string]string{localcluster.SimulatedLabel: "true"} }
	for i := range podsPerNode * simulated / 2 {
		p.createPod(t, "", "100m", label, func(pod *corev1.Pod) {
			pod.Spec.NodeSelector = map[string]string{corev1.LabelHostname: node(i % (simulated / 2))}
		})
	}
	running := map[string][]*corev1.Pod{}
	eventually(t, "all pods to run", func(ctx context.Context) (bool, error) {
		clear(running)
		list, err := pods.List(ctx, metav1.ListOptions{LabelSelector: "test.plimsoll.dev/fleet=resident"})
		if err != nil {
			return false, err
		}
		count := 0
		for i := range list.Items {
			if pod := &list.Items[i]; pod.Status.Phase == corev1.PodRunning {
				running[pod.Spec.NodeName] = append(running[pod.Spec.NodeName], pod)
				count++
			}
		}
		return count == podsPerNode*simulated/2, nil
	})
	for i := range simulated {
		use := int64(6000)
		if i < simulated/2 {
			use = 1000
		}
		u := p.utilization("", use, 0, 0, running[node(i)]...)
		u.Name, u.Status.Capacity = node(i), v1alpha1.Resources{MilliCPU: 32_000, MemoryBytes: 128 << 30}
		cp.putUtilization(t, u)
	}
	wantCarrying := func(who string, picks int) {
		t.Helper()
		for range picks {
			pod := p.createPod(t, "", "100m", nil, onFleet)
			if on := p.picked(t, pod); running[on] == nil {
				t.Errorf("%s puts a pod on %s, want one of the nodes that use less", who, on)
			}
			p.delete(pod)
		}
	}
	eventually(t, "the leader to go by use", func(ctx context.Context) (bool, error) {
		pod := p.createPod(t, "", "100m", nil, onFleet)
		defer p.delete(pod)
		return running[p.picked(t, pod)] != nil, nil
	})
	wantCarrying("the leader", 5)

	lease := func() string {
		l, err := cp.client.CoordinationV1().Leases(systemNamespace).Get(ctx, "plimsoll-scheduler", metav1.GetOptions{})
		if err != nil || l.Spec.HolderIdentity == nil {
			t.Fatalf("reading the lease: %v", err)
		}
		return *l.Spec.HolderIdentity
	}
	before := lease()
	if err := leader.process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-leader.exited
	// Nothing is measured meanwhile: what the new leader goes by is what it lists when it starts.
	first := p.createPod(t, "", "100m", nil, onFleet)
	if on := p.picked(t, first); running[on] == nil {
		t.Errorf("the new leader puts its first pod on %s, want one of the nodes that use less", on)
	}
	if after := lease(); after == before {
		t.Error("the pod was placed by the leader that was killed")
	}
	wantCarrying("the new leader", 5)
	testNothingWasForbidden(t, follower)
}
