package cluster

import (
	"bytes"
	"context"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/discovery"
	"k8s.io/utils/ptr"

	"github.com/plimsoll/plimsoll/pkg/api/v1alpha1"
	"github.com/plimsoll/plimsoll/pkg/cgroup"
)

// TestUninstallLeavesTheNodeAsItWas installs on a real node, runs a batch pod, uninstalls with the one
// documented command, and compares every kernel setting and every API object with those before.
func TestUninstallLeavesTheNodeAsItWas(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("a real node needs root: run the tests as root to cover it")
	}
	n := startNode(t)
	kubectl := filepath.Join(t.TempDir(), "kubectl")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", kubectl, "k8s.io/kubernetes/cmd/kubectl").CombinedOutput(); err != nil {
		t.Fatalf("building kubectl: %v\n%s", err, out)
	}
	// The first pod of each tier has the runtime make groups that stay.
	n.runPod(t, "first", nil, nil)
	n.runPod(t, "second", nil, corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("10m")})
	n.deletePod(t, "first")
	n.deletePod(t, "second")
	n.settle(t)
	settings, objects := n.kernelSettings(t), n.apiObjects(t)

	n.installAgent(t)
	if err := n.cluster.Install(t.Context(), filepath.Join("testdata", "admission")); err != nil {
		t.Fatal(err)
	}
	n.lend(t, 1500, 1<<30)
	n.runPod(t, "uninstalled", map[string]string{v1alpha1.ClassLabel: v1alpha1.BatchLabelValue},
		corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("500m"), corev1.ResourceMemory: resource.MustParse("128Mi")})
	if cmp.Equal(settings, n.kernelSettings(t)) {
		t.Fatal("an agent and a batch pod changed nothing: the comparison cannot fail")
	}
	script := "../../hack/uninstall.sh"
	refused, err := exec.CommandContext(t.Context(), script, "--kubectl", kubectl+" --kubeconfig "+n.cluster.Kubeconfig()).CombinedOutput()
	if err == nil || !bytes.Contains(refused, []byte("1 batch pods run")) {
		t.Errorf("with a batch pod: %v, want a refusal that says so:\n%s", err, refused)
	}
	n.deletePod(t, "uninstalled")

	out, err := exec.CommandContext(t.Context(), script, "--kubectl", kubectl+" --kubeconfig "+n.cluster.Kubeconfig()).CombinedOutput()
	if err != nil {
		t.Fatalf("uninstall: %v\n%s", err, out)
	}
	n.settle(t)
	var differs string
	err = wait.PollUntilContextTimeout(t.Context(), time.Second, patience, true, func(context.Context) (bool, error) {
		differs = cmp.Diff(settings, n.kernelSettings(t)) + cmp.Diff(objects, n.apiObjects(t))
		return differs == "", nil
	})
	if err != nil {
		t.Errorf("the node is not as it was (-before +after):\n%s\n%s", differs, out)
	}
	state, err := os.ReadDir(filepath.Join(n.cluster.Dir(), "node", "varlib", "plimsoll"))
	if err != nil || len(state) != 0 {
		t.Errorf("left in the state directory: %v, %v", state, err)
	}
}

// settle waits until no pod is on the node, and until the kubelet, which looks once a minute, has given its
// tiers the weight of groups without pods.
func (n *node) settle(t *testing.T) {
	t.Helper()
	least := map[string]string{"cpu.shares": "2"}
	if n.host.Mode == cgroup.V2 {
		least = map[string]string{"cpu.weight": "1"}
	}
	waitAtMost(t, 2*patience, "the node to be without pods", func(ctx context.Context) (bool, error) {
		list, err := n.client.CoreV1().Pods("").List(ctx, metav1.ListOptions{})
		if err != nil || len(list.Items) > 0 {
			return false, err
		}
		for file, want := range least {
			b, err := os.ReadFile(filepath.Join(n.host.Dir("cpu", n.host.Kubepods+"/burstable"), file))
			if err != nil || strings.TrimSpace(string(b)) != want {
				return false, err
			}
		}
		groups, err := n.host.Scan()
		return err == nil && len(groups.Pods) == 0, err
	})
}

// runPod runs a pod; one with labels is converted first.
func (n *node) runPod(t *testing.T, name string, labels map[string]string, requests corev1.ResourceList) {
	t.Helper()
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels},
		Spec: corev1.PodSpec{HostNetwork: true, TerminationGracePeriodSeconds: ptr.To[int64](1), Containers: []corev1.Container{{
			Name: "work", Image: batchImage, ImagePullPolicy: corev1.PullNever, Args: []string{"--threads=1", "--listen="},
			Resources: corev1.ResourceRequirements{Requests: requests},
		}}},
	}
	pods := n.client.CoreV1().Pods(metav1.NamespaceDefault)
	eventually(t, "the API server to take the pod as it shall be", func(ctx context.Context) (bool, error) {
		got, err := pods.Create(ctx, pod, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		return err == nil && (labels == nil || got.Annotations[v1alpha1.BatchResourcesAnnotation] != ""), nil
	})
	if _, err := pods.Create(t.Context(), pod, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "pod "+name+" to run", func(ctx context.Context) (bool, error) {
		now, err := pods.Get(ctx, pod.Name, metav1.GetOptions{})
		return err == nil && now.Status.Phase == corev1.PodRunning, err
	})
}

func (n *node) deletePod(t *testing.T, name string) {
	t.Helper()
	pods := n.client.CoreV1().Pods(metav1.NamespaceDefault)
	if err := pods.Delete(t.Context(), name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the pod to be gone", func(ctx context.Context) (bool, error) {
		_, err := pods.Get(ctx, name, metav1.GetOptions{})
		return err != nil, ignoreNotFound(err)
	})
}

// kernelSettings is the content of every writable control group file below the kubelet's root in every
// hierarchy, without those that count.
func (n *node) kernelSettings(t *testing.T) map[string]string {
	t.Helper()
	counts := []string{"cgroup.procs", "tasks", "cgroup.threads", "memory.reclaim", "memory.peak", "memory.swap.peak", "cgroup.event_control"}
	settings := map[string]string{}
	hierarchies, err := n.host.Hierarchies()
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range hierarchies {
		err := filepath.WalkDir(filepath.Join(h, n.host.Kubepods), func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return nil //nolint:nilerr // a group that vanishes, or a hierarchy without it
			}
			name := d.Name()
			if d.IsDir() {
				settings[path+"/"] = ""
				return nil
			}
			info, err := d.Info()
			counter := slices.Contains(counts, name) || strings.Contains(name, "usage") || strings.HasSuffix(name, ".pressure") || strings.HasSuffix(name, "failcnt") || strings.Contains(name, "reset_stats")
			if err != nil || info.Mode().Perm()&0o200 == 0 || info.Mode().Perm()&0o400 == 0 || counter {
				return nil //nolint:nilerr // it has vanished
			}
			if b, err := os.ReadFile(path); err == nil {
				settings[path] = strings.TrimSpace(string(b))
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return settings
}

// apiObjects is the names of every object of every kind, and what the node has and lends.
func (n *node) apiObjects(t *testing.T) []string {
	t.Helper()
	lists, err := discovery.ServerPreferredResources(n.client.Discovery())
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, l := range lists {
		for _, r := range l.APIResources {
			// Events tell of what was; their kind, leases and endpoint lists come and go by themselves.
			if !slices.Contains(r.Verbs, "list") || r.Kind == "Event" || r.Kind == "Lease" || r.Kind == "ComponentStatus" {
				continue
			}
			group, err := schema.ParseGroupVersion(l.GroupVersion)
			if err != nil {
				t.Fatal(err)
			}
			list, err := n.objects.Resource(group.WithResource(r.Name)).List(t.Context(), metav1.ListOptions{})
			if err != nil {
				t.Fatalf("listing %s: %v", r.Name, err)
			}
			for _, o := range list.Items {
				names[strings.Join([]string{l.GroupVersion, r.Name, o.GetNamespace(), o.GetName()}, "/")] = true
			}
		}
	}
	node, err := n.client.CoreV1().Nodes().Get(t.Context(), n.cluster.NodeName(), metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for field, list := range map[string]corev1.ResourceList{"capacity": node.Status.Capacity, "allocatable": node.Status.Allocatable} {
		for name, q := range list {
			names["node "+field+" "+string(name)+" "+q.String()] = true
		}
	}
	for key, value := range node.Labels {
		names["node label "+key+"="+value] = true
	}
	for key, value := range node.Annotations {
		names["node annotation "+key+"="+value] = true
	}
	for _, taint := range node.Spec.Taints {
		names["node taint "+taint.ToString()] = true
	}
	return slices.Sorted(maps.Keys(names))
}
