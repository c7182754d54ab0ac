package main

import (
	"os"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"sigs.k8s.io/yaml"

	"github.com/plimsoll/plimsoll/pkg/api/v1alpha1"
)

func mustLoad(t *testing.T, manifest string) *corev1.Pod {
	t.Helper()
	pod, err := loadPod(manifest, map[string]string{"SERVICE_CPU": "1000m", "BATCH_CPU": "800m", "MACHINE_MILLICPU": "2000"}, map[string]string{"THREADS": "4"})
	if err != nil {
		t.Fatal(err)
	}
	return pod
}

func TestArmsDifferOnlyInWhatTheyAreNamedFor(t *testing.T) {
	base := mustLoad(t, manifestOf(bestEffort))

	withRequests := base.DeepCopy()
	withRequests.Spec.Containers[0].Resources.Requests = corev1.ResourceList{
		corev1.ResourceCPU: resource.MustParse("800m"), corev1.ResourceMemory: resource.MustParse("32Mi"),
	}
	if diff := cmp.Diff(withRequests, mustLoad(t, manifestOf(ordinary))); diff != "" {
		t.Errorf("ordinary differs from BestEffort in more than its requests (-want,+got):\n%s", diff)
	}

	withClass := base.DeepCopy()
	withClass.Labels["plimsoll.dev/class"] = "batch"
	withClass.Spec.SchedulerName = "plimsoll-scheduler"
	mayUseAll := `{"batch":{"milliCPU":100,"limitMilliCPU":2000,"memoryBytes":134217728}}`
	withClass.Annotations = map[string]string{v1alpha1.BatchResourcesAnnotation: mayUseAll}
	if _, err := v1alpha1.ParseBatchResources(mayUseAll); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff(withClass, mustLoad(t, manifestOf(plimsoll))); diff != "" {
		t.Errorf("Plimsoll differs from BestEffort in more than its class, scheduler and amounts (-want,+got):\n%s", diff)
	}

	if manifestOf(idleOnly) != manifestOf(plimsoll) {
		t.Errorf("with cpu.idle only, batch runs %s, want what Plimsoll runs", manifestOf(idleOnly))
	}
	if manifestOf(batchAlone) != manifestOf(bestEffort) {
		t.Errorf("batch alone runs %s, want what BestEffort runs", manifestOf(batchAlone))
	}
}

// The ordinary arm's pods are placed by their requests, on a machine of two CPUs too.
func TestWhatTheArmsRequestFitsTheNode(t *testing.T) {
	manifest, err := os.ReadFile("../../manifests/base/agent/daemonset.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var agent appsv1.DaemonSet
	if err := yaml.Unmarshal(manifest, &agent); err != nil {
		t.Fatal(err)
	}
	others := int64(0)
	for _, c := range slices.Concat(agent.Spec.Template.Spec.Containers, mustLoad(t, "loadgen").Spec.Containers) {
		others += c.Resources.Requests.Cpu().MilliValue()
	}
	perCPU := int64((serviceMilliCPU() + batchMilliCPU()) / onlineCPUs())
	if sum := 2*perCPU + others; others < 200 || sum > 2000 {
		t.Errorf("on two CPUs the pods request %d milli-CPU, of them %d of the agent and the load generator", sum, others)
	}
}

func TestServicePodsTakeTheirNumbers(t *testing.T) {
	payments := mustLoad(t, "payments")
	if got := payments.Spec.Containers[0].Resources.Requests.Cpu().String(); got != "1" {
		t.Errorf("payments requests %s CPU, want 1", got)
	}
	loadgen := mustLoad(t, "loadgen")
	if diff := cmp.Diff([]corev1.Capability{"SYS_NICE"}, loadgen.Spec.Containers[0].SecurityContext.Capabilities.Add); diff != "" {
		t.Errorf("capabilities of loadgen (-want,+got):\n%s", diff)
	}
	if diff := cmp.Diff([]corev1.EnvVar{{Name: "THREADS", Value: "4"}}, loadgen.Spec.Containers[0].Env); diff != "" {
		t.Errorf("variables (-want,+got):\n%s", diff)
	}
	if _, err := loadPod("no-such-pod", nil, nil); err == nil {
		t.Error("a manifest that is missing was loaded")
	}
}
