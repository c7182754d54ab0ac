package cluster

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/kubectl/pkg/describe"
	"k8s.io/utils/ptr"

	"github.com/plimsoll/plimsoll/pkg/api/v1alpha1"
	"github.com/plimsoll/plimsoll/pkg/cgroup"
)

const boundsImage = "localhost/plimsoll/bounds:dev"

// lend gives the node so many milli-cores and bytes to lend.
func (n *node) lend(t *testing.T, milliCPU, memoryBytes int64) {
	t.Helper()
	amounts := fmt.Sprintf(`{"%s":"%d","%s":"%d"}`, v1alpha1.BatchCPUResource, milliCPU, v1alpha1.BatchMemoryResource, memoryBytes)
	patch := fmt.Sprintf(`{"status":{"capacity":%s,"allocatable":%s}}`, amounts, amounts)
	if _, err := n.client.CoreV1().Nodes().Patch(t.Context(), n.cluster.NodeName(), types.MergePatchType, []byte(patch), metav1.PatchOptions{}, "status"); err != nil {
		t.Fatal(err)
	}
}

// testBatchJob runs a Job that is written with ordinary cpu and memory, whose container first of all tells
// what its own control group allows it.
func (n *node) testBatchJob(t *testing.T) {
	loadProgram(t, n.cluster, "bounds", boundsImage)
	if err := n.cluster.Install(t.Context(), filepath.Join("testdata", "admission")); err != nil {
		t.Fatal(err)
	}
	n.lend(t, 1500, 1<<30)
	quantity := resource.MustParse
	job := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: "nightly"}, Spec: batchv1.JobSpec{
		Completions: ptr.To[int32](2), Parallelism: ptr.To[int32](1), BackoffLimit: ptr.To[int32](0),
		Template: corev1.PodTemplateSpec{
			ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{v1alpha1.ClassLabel: v1alpha1.BatchLabelValue}},
			Spec: corev1.PodSpec{HostNetwork: true, RestartPolicy: corev1.RestartPolicyNever, Containers: []corev1.Container{{
				Name: "work", Image: boundsImage, ImagePullPolicy: corev1.PullNever,
				Resources: corev1.ResourceRequirements{
					Requests: corev1.ResourceList{corev1.ResourceCPU: quantity("500m"), corev1.ResourceMemory: quantity("256Mi")},
					Limits:   corev1.ResourceList{corev1.ResourceCPU: quantity("1")},
				},
			}}},
		},
	}}
	n.createOnceConverted(t, job)
	pods := n.client.CoreV1().Pods(metav1.NamespaceDefault)
	var list *corev1.PodList
	eventually(t, "the Job to complete", func(ctx context.Context) (bool, error) {
		now, err := n.client.BatchV1().Jobs(metav1.NamespaceDefault).Get(ctx, job.Name, metav1.GetOptions{})
		if err != nil {
			return false, err
		}
		if list, err = pods.List(ctx, metav1.ListOptions{LabelSelector: "job-name=" + job.Name}); err != nil {
			return false, err
		}
		if now.Status.Failed > 0 {
			return false, fmt.Errorf("a pod of the Job failed: %+v", list.Items)
		}
		return now.Status.Succeeded == 2, nil
	})
	for _, pod := range list.Items {
		log, err := pods.GetLogs(pod.Name, &corev1.PodLogOptions{}).Do(t.Context()).Raw()
		if err != nil {
			t.Fatal(err)
		}
		n.wantBounds(t, string(log), containerID(&pod))
	}
}

// createOnceConverted waits for the policies, then creates the job.
func (n *node) createOnceConverted(t *testing.T, job *batchv1.Job) {
	t.Helper()
	probe := &corev1.Pod{ObjectMeta: job.Spec.Template.ObjectMeta, Spec: job.Spec.Template.Spec}
	probe.Name = "probe"
	eventually(t, "the admission policies to be in force", func(ctx context.Context) (bool, error) {
		got, err := n.client.CoreV1().Pods(metav1.NamespaceDefault).Create(ctx, probe, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		return err == nil && got.Annotations[v1alpha1.BatchResourcesAnnotation] != "", nil
	})
	if _, err := n.client.BatchV1().Jobs(metav1.NamespaceDefault).Create(t.Context(), job, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// wantBounds checks what the container saw of its own group.
func (n *node) wantBounds(t *testing.T, log, containerID string) {
	t.Helper()
	// 500 milli-cores weigh 500 x 1024 / 1000 = 512 shares; runc makes a weight of 59 of them.
	want := []string{"cpu/cpu.shares=512", "cpu/cpu.cfs_quota_us=100000", "cpu/cpu.cfs_period_us=100000", "memory/memory.limit_in_bytes=268435456", "pids/pids.max=4096"}
	if n.host.Mode == cgroup.V2 {
		want = []string{"cpu.weight=59", "cpu.max=100000 100000", "memory.max=268435456", "pids.max=4096"}
	}
	if n.host.Mode != cgroup.V2 { // on v2 a container sees itself as the root
		want = append(want, n.host.BatchBranch()+"/"+containerID)
	}
	for _, w := range want {
		if !strings.Contains(log, w) {
			t.Errorf("the container did not see %s at its first instruction:\n%s", w, log)
		}
	}
}

// testDescribed looks at a running batch pod the way `kubectl describe node` does.
func (n *node) testDescribed(t *testing.T) {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "described", Labels: map[string]string{v1alpha1.ClassLabel: v1alpha1.BatchLabelValue}},
		Spec: corev1.PodSpec{HostNetwork: true, TerminationGracePeriodSeconds: ptr.To[int64](1), Containers: []corev1.Container{{
			Name: "work", Image: batchImage, ImagePullPolicy: corev1.PullNever, Args: []string{"--threads=1", "--listen="},
			Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("750m"), corev1.ResourceMemory: resource.MustParse("128Mi")}},
		}}},
	}
	pods := n.client.CoreV1().Pods(metav1.NamespaceDefault)
	if _, err := pods.Create(t.Context(), pod, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the batch pod to run", func(ctx context.Context) (bool, error) {
		now, err := pods.Get(ctx, pod.Name, metav1.GetOptions{})
		return err == nil && now.Status.Phase == corev1.PodRunning, err
	})
	d := describe.NodeDescriber{Interface: n.client}
	text, err := d.Describe("", n.cluster.NodeName(), describe.DescriberSettings{})
	if err != nil {
		t.Fatal(err)
	}
	_, allocated, _ := strings.Cut(text, "Allocated resources:")
	for _, want := range [][]string{{v1alpha1.BatchCPUResource, "750", "750"}, {v1alpha1.BatchMemoryResource, "134217728", "134217728"}} {
		if !strings.Contains(strings.Join(strings.Fields(allocated), " "), strings.Join(want, " ")) {
			t.Errorf("kubectl describe node does not show %v:\n%s", want, allocated)
		}
	}
	if err := pods.Delete(t.Context(), pod.Name, metav1.DeleteOptions{}); err != nil {
		t.Error(err)
	}
}
