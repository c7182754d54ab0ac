package cluster

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/plimsoll/plimsoll/pkg/api/v1alpha1"
	"github.com/plimsoll/plimsoll/pkg/qos"
)

// TestBatchKeepsOffTheCPUsThatAStaticCPUManagerGaveAway has a real kubelet give a container a CPU for it alone beside
// a busy batch pod: batch leaves it, and comes back when the container has ended.
func TestBatchKeepsOffTheCPUsThatAStaticCPUManagerGaveAway(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("a real node needs root: run the tests as root to cover it")
	}
	n := startNode(t)
	allowed, err := n.host.AllowedCPUs()
	if err != nil {
		t.Fatal(err)
	}
	if len(allowed) < 2 {
		t.Skipf("needs two CPUs or more, one of them the system's: this machine has %v", allowed)
	}
	n.useStaticCPUManager(t)
	n.installConfigured(t, fmt.Sprintf("apiVersion: %s\nkind: AgentConfiguration\nruntimeHook: {mode: Enforce}\nstrategies:\n- {name: batchidle, mode: Enforce}\n- {name: batchcpuset, mode: Enforce}\n", v1alpha1.APIVersion), "cpuset")
	eventually(t, "the agent to protect and publish the node", func(ctx context.Context) (bool, error) {
		s, err := n.utilization(ctx)
		return err == nil && isTrue(s, v1alpha1.ConditionBatchProtected) && isTrue(s, v1alpha1.ConditionRuntimeHookReady), ignoreNotFound(err)
	})
	batch := n.startPod(t, "batch", map[string]string{v1alpha1.ClassLabel: v1alpha1.BatchLabelValue}, "plimsoll-scheduler")
	cpusOf := func(group string) []int {
		s, err := n.host.ReadSetting(group, qos.CPUSetCPUs)
		if err != nil {
			t.Log(err)
		}
		cpus, err := qos.ParseCPUs(s.Value)
		if err != nil {
			return allowed // the set of the group above
		}
		return cpus
	}
	container := n.host.BatchBranch() + "/" + containerID(batch)
	owner := n.startExclusive(t)
	group, err := n.groupOf(string(owner.UID))
	if err != nil {
		t.Fatal(err)
	}
	exclusive := cpusOf(group + "/" + containerID(owner))
	if len(exclusive) != 1 {
		t.Fatalf("the container has CPUs %v: the static CPU manager gave it none of its own", exclusive)
	}
	eventually(t, "batch to leave the exclusive CPU", func(context.Context) (bool, error) {
		return !slices.Contains(cpusOf(n.host.BatchBranch()), exclusive[0]) && !slices.Contains(cpusOf(container), exclusive[0]), nil
	})
	t.Logf("of CPUs %v, %v is exclusive: batch is on %v", allowed, exclusive, cpusOf(n.host.BatchBranch()))
	if err := n.client.CoreV1().Pods(owner.Namespace).Delete(t.Context(), owner.Name, metav1.DeleteOptions{GracePeriodSeconds: ptr.To[int64](0)}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "batch to have all CPUs again", func(context.Context) (bool, error) {
		return slices.Equal(cpusOf(n.host.BatchBranch()), allowed), nil
	})
}

// useStaticCPUManager has the kubelet start anew with the static policy and one CPU of the system's.
func (n *node) useStaticCPUManager(t *testing.T) {
	t.Helper()
	config := filepath.Join(n.cluster.Dir(), "config", "kubelet.yaml")
	f, err := os.OpenFile(config, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	// Half a core is reserved, and so one CPU is not given away: pods have the rest, 1.5 on two.
	if _, err := f.WriteString("cpuManagerPolicy: static\nsystemReserved: {cpu: 500m}\n"); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	found := 0
	err = filepath.WalkDir(n.cluster.Dir(), func(path string, d os.DirEntry, err error) error {
		if err == nil && d.Name() == "cpu_manager_state" { // of another policy: the kubelet does not start with it
			found++
			return os.Remove(path)
		}
		return nil
	})
	if err != nil || found != 1 {
		t.Fatalf("removing the CPU manager's state: %d files, %v", found, err)
	}
	if err := n.cluster.Restart(t.Context(), "kubelet"); err != nil {
		t.Fatal(err)
	}
}

// startExclusive runs a Guaranteed pod of one whole CPU.
func (n *node) startExclusive(t *testing.T) *corev1.Pod {
	t.Helper()
	pods := n.client.CoreV1().Pods(metav1.NamespaceDefault)
	amounts := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1"), corev1.ResourceMemory: resource.MustParse("64Mi")}
	if _, err := pods.Create(t.Context(), &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "owner"},
		Spec: corev1.PodSpec{
			HostNetwork: true, TerminationGracePeriodSeconds: ptr.To[int64](0),
			Containers: []corev1.Container{{
				Name: "work", Image: batchImage, ImagePullPolicy: corev1.PullNever, Args: []string{"--threads=1", "--listen="},
				Resources: corev1.ResourceRequirements{Requests: amounts, Limits: amounts},
			}},
		},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	var pod *corev1.Pod
	eventually(t, "the pod with a CPU of its own to run", func(ctx context.Context) (bool, error) {
		var err error
		if pod, err = pods.Get(ctx, "owner", metav1.GetOptions{}); err != nil {
			return false, err
		}
		return pod.Status.Phase == corev1.PodRunning && len(pod.Status.ContainerStatuses) == 1 && pod.Status.ContainerStatuses[0].Ready, nil
	})
	return pod
}
