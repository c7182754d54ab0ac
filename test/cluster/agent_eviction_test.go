package cluster

import (
	"context"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/plimsoll/plimsoll/pkg/api/v1alpha1"
)

// evict asks for an eviction as an agent does.
func (a *agentClient) evict(ctx context.Context, name string, uid types.UID) error {
	return a.PolicyV1().Evictions(metav1.NamespaceDefault).Evict(ctx, &policyv1.Eviction{
		ObjectMeta:    metav1.ObjectMeta{Namespace: metav1.NamespaceDefault, Name: name},
		DeleteOptions: &metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid}, DryRun: []string{metav1.DryRunAll}},
	})
}

// TestAgentEvictsBatchPodsOfItsOwnNodeOnly uses tokens as the kubelet gives them to agents.
func TestAgentEvictsBatchPodsOfItsOwnNodeOnly(t *testing.T) {
	cp := startControlPlane(t)
	cp.applyKustomization(t, "overlays/observe")
	cp.createNode(t, "node-a")
	cp.createNode(t, "node-b")
	a := cp.agentOn(t, "node-a")
	pods := map[string]*corev1.Pod{}
	for name, p := range map[string]struct{ node, class string }{
		"mine": {"node-a", "batch"}, "protected": {"node-a", "batch"}, "service": {"node-a", ""}, "theirs": {"node-b", "batch"}, "waiting": {"", "batch"},
	} {
		pod := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"name": name}},
			Spec:       corev1.PodSpec{NodeName: p.node, SchedulerName: "nobody", Containers: []corev1.Container{{Name: "work", Image: "example.com/work"}}},
		}
		if p.class != "" {
			pod.Labels[v1alpha1.ClassLabel] = p.class
		}
		var err error
		if pods[name], err = cp.client.CoreV1().Pods(metav1.NamespaceDefault).Create(t.Context(), pod, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	if err := a.evict(t.Context(), "mine", pods["mine"].UID); !apierrors.IsForbidden(err) {
		t.Errorf("without the component an agent may evict: %v", err)
	}
	cp.applyKustomization(t, "../test/cluster/testdata/eviction")
	eventually(t, "the policy that guards evictions to be in force", func(ctx context.Context) (bool, error) {
		err := a.evict(ctx, "theirs", pods["theirs"].UID)
		return apierrors.IsForbidden(err) && strings.Contains(err.Error(), "may not evict pods of other nodes"), nil
	})
	budget := &policyv1.PodDisruptionBudget{ObjectMeta: metav1.ObjectMeta{Name: "protected"}, Spec: policyv1.PodDisruptionBudgetSpec{
		MinAvailable: new(intstr.FromInt32(1)), Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"name": "protected"}},
	}}
	if _, err := cp.client.PolicyV1().PodDisruptionBudgets(metav1.NamespaceDefault).Create(t.Context(), budget, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	for pod, want := range map[string]string{
		"service": "batch pods only", "theirs": "other nodes", "waiting": "other nodes", "mine": "",
	} {
		err := a.evict(t.Context(), pod, pods[pod].UID)
		if want == "" && err != nil || want != "" && (!apierrors.IsForbidden(err) || !strings.Contains(err.Error(), want)) {
			t.Errorf("evicting pod %s: %v, want %q", pod, err, want)
		}
	}
	if err := a.evict(t.Context(), "mine", "another-pod-of-the-same-name"); !apierrors.IsConflict(err) {
		t.Errorf("evicting another pod of the same name: %v, want a conflict", err)
	}
	if err := a.evict(t.Context(), "nobody", "x"); err == nil {
		t.Error("a pod that is not there was evicted")
	}
	if err := cp.withToken(t, cp.agentToken(t, nil)).evict(t.Context(), "mine", pods["mine"].UID); !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "names no node") {
		t.Errorf("a token that is not bound to a node: %v", err)
	}
	if err := a.CoreV1().Pods(metav1.NamespaceDefault).Delete(t.Context(), "mine", metav1.DeleteOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("an agent may delete pods: %v", err)
	}
}
