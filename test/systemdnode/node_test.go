package systemdnode

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/plimsoll/plimsoll/pkg/api/v1alpha1"
	"github.com/plimsoll/plimsoll/pkg/cgroup"
	"github.com/plimsoll/plimsoll/pkg/localcluster"
)

const (
	nodeName   = "systemd"
	kubeconfig = "/etc/kubernetes/admin.conf"
	manifests  = "/manifests"
	namespace  = "plimsoll-system"
)

// node is the guest as a node of the cluster on the host.
type node struct {
	client kubernetes.Interface
	host   cgroup.Host
	// second is a batch pod that runs until Plimsoll is taken off.
	second *corev1.Pod
}

func TestANodeOfSystemd(t *testing.T) {
	first, err := os.ReadFile("/proc/1/comm")
	if _, missing := os.Stat(kubeconfig); err != nil || strings.TrimSpace(string(first)) != "systemd" || missing != nil {
		t.Skip("needs a machine of its own that runs systemd, and a control plane: make test-systemd")
	}
	n := join(t)
	before := n.snapshot(t)
	t.Run("looks on with overlay observe", n.testObserve)
	t.Run("protects with overlay enforce", n.testEnforce)
	t.Run("bounds a batch container from its first instruction", n.testBatchPod)
	t.Run("keeps batch off the cores of a service that asks", n.testCoreScheduling)
	t.Run("is set again when systemd reads its units again", n.testDaemonReload)
	t.Run("holds when the kubelet restarts", n.testKubeletRestart)
	t.Run("is as before when Plimsoll is taken off", func(t *testing.T) { n.testUninstall(t, before) })
}

// join starts the node's services and waits until the cluster has a ready node.
func join(t *testing.T) *node {
	t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	config.QPS = -1
	server, err := url.Parse(config.Host)
	if err != nil {
		t.Fatal(err)
	}
	forward(t, server.Host, server.Port())
	n := &node{}
	if n.client, err = kubernetes.NewForConfig(config); err != nil {
		t.Fatal(err)
	}
	service, err := n.client.CoreV1().Services(metav1.NamespaceDefault).Get(t.Context(), "kubernetes", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	forward(t, service.Spec.ClusterIP+":443", server.Port())
	startServices(t)
	t.Log(stamp(), "the services run")
	until(t, "the node to be ready", func(ctx context.Context) (bool, error) {
		now, err := n.client.CoreV1().Nodes().Get(ctx, nodeName, metav1.GetOptions{})
		if err != nil {
			return false, nil //nolint:nilerr // asked again
		}
		return slices.ContainsFunc(now.Status.Conditions, func(c corev1.NodeCondition) bool {
			return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
		}), nil
	})
	t.Log(stamp(), "the node is ready")
	if n.host, err = cgroup.Detect("/proc", "/sys/fs/cgroup", "/"); err != nil {
		t.Fatal(err)
	}
	if n.host.Driver != cgroup.Systemd || n.host.Mode != cgroup.V2 {
		t.Fatalf("the node has %s and the driver %s, want v2 and systemd", n.host.Mode, n.host.Driver)
	}
	return n
}

func until(t *testing.T, what string, condition wait.ConditionWithContextFunc) {
	t.Helper()
	ctx, cancel := patient(t)
	defer cancel()
	if err := wait.PollUntilContextCancel(ctx, 200*time.Millisecond, true, condition); err != nil {
		t.Fatalf("%s waiting for %s: %v", stamp(), what, err)
	}
}

// patient leaves the time to say what went wrong before the test's own time is up.
func patient(t *testing.T) (context.Context, context.CancelFunc) {
	end, ok := t.Deadline()
	if !ok {
		return context.WithCancel(t.Context())
	}
	return context.WithDeadline(t.Context(), end.Add(-20*time.Second))
}

// install applies an overlay as an operator would, with the images that this node has.
func (n *node) install(t *testing.T, overlay string) {
	t.Helper()
	dir := t.TempDir()
	relative, err := filepath.Rel(dir, filepath.Join(manifests, overlay))
	if err != nil {
		t.Fatal(err)
	}
	name, tag, _ := strings.Cut(agentImage, ":")
	// The scheduler is a process on the host.
	text := fmt.Sprintf(`apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources: [%s]
images: [{name: plimsoll-agent, newName: %s, newTag: %s}]
`, relative, name, tag)
	if strings.HasPrefix(overlay, "overlays/") {
		text += "replicas: [{name: plimsoll-scheduler, count: 0}]\n"
	}
	if overlay == "overlays/enforce" {
		text += "configMapGenerator: [{name: plimsoll-agent, namespace: " + namespace + ", behavior: replace, files: [agent.yaml]}]\n"
		config := lendingNothing(t)
		if coreScheduling() {
			component, err := filepath.Rel(dir, filepath.Join(manifests, "components/coresched"))
			if err != nil {
				t.Fatal(err)
			}
			text += fmt.Sprintf("components: [%s]\n", component)
			config += fmt.Sprintf("- name: coresched\n  mode: Enforce\n  args: {namespaces: [%s]}\n", metav1.NamespaceDefault)
		}
		if err := os.WriteFile(filepath.Join(dir, "agent.yaml"), []byte(config), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "kustomization.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := patient(t)
	defer cancel()
	if err := localcluster.InstallOn(ctx, dir, kubeconfig); err != nil {
		t.Fatal(err)
	}
	t.Log(stamp(), overlay, "is installed")
}

// lendingNothing is the configuration that enforces with lending left to the test: an agent without a history of an
// hour would take the offer away. It ends with the strategies.
func lendingNothing(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(manifests, "components/enforce/agent.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Replace(string(b), "lending:\n  mode: Enforce\n", "lending:\n  mode: Observe\n", 1)
	if text == string(b) {
		t.Fatalf("the configuration that enforces has no lending:\n%s", b)
	}
	return text
}

func (n *node) setting(t *testing.T, group, file string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(n.host.FSRoot, group, file))
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(string(b))
}

func (n *node) testObserve(t *testing.T) {
	n.install(t, "overlays/observe")
	if _, err := os.Stat(n.host.Dir("cpu", n.host.BatchBranch())); err == nil {
		t.Error("an agent that observes has made the batch branch")
	}
}

// testEnforce changes the DaemonSet's pods, as an upgrade does, and counts agents meanwhile: two would both write.
func (n *node) testEnforce(t *testing.T) {
	most := make(chan int)
	ctx, stop := context.WithCancel(t.Context())
	go func() { most <- mostAgents(ctx) }()
	n.install(t, "overlays/enforce")
	stop()
	if got := <-most; got != 1 {
		t.Errorf("during the roll-out of another configuration %d agents ran at once, want 1", got)
	}
	until(t, "the branch to be idle", func(context.Context) (bool, error) {
		return n.setting(t, n.host.BatchBranch(), "cpu.idle") == "1", nil
	})
}

// startPod runs a batch pod that is written with ordinary requests.
func (n *node) startPod(t *testing.T, name string) *corev1.Pod {
	t.Helper()
	mount := corev1.VolumeMount{Name: "cgroup", MountPath: "/host/sys/fs/cgroup", ReadOnly: true}
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{v1alpha1.ClassLabel: v1alpha1.BatchLabelValue}},
		Spec: corev1.PodSpec{
			HostNetwork: true, TerminationGracePeriodSeconds: new(int64(1)),
			Containers: []corev1.Container{{
				Name: "work", Image: workImage, ImagePullPolicy: corev1.PullNever, VolumeMounts: []corev1.VolumeMount{mount},
				Resources: corev1.ResourceRequirements{Requests: resources("500m", "256Mi"), Limits: resources("1", "")},
			}},
			Volumes: []corev1.Volume{{Name: mount.Name, VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/sys/fs/cgroup"}}}},
		},
	}
	pods := n.client.CoreV1().Pods(metav1.NamespaceDefault)
	until(t, "the admission policies to be in force", func(ctx context.Context) (bool, error) {
		got, err := pods.Create(ctx, pod, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		return err == nil && got.Annotations[v1alpha1.BatchResourcesAnnotation] != "", nil
	})
	if _, err := pods.Create(t.Context(), pod, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	var now *corev1.Pod
	until(t, "pod "+name+" to run", func(ctx context.Context) (bool, error) {
		var err error
		if now, err = pods.Get(ctx, name, metav1.GetOptions{}); err != nil {
			return false, err
		}
		if now.Spec.NodeName == "" {
			n.lend(ctx)
		}
		if now.Status.Phase == corev1.PodFailed {
			return false, fmt.Errorf("it failed: %s %s", now.Status.Reason, now.Status.Message)
		}
		return now.Status.Phase == corev1.PodRunning, nil
	})
	t.Log(stamp(), "pod", name, "runs")
	return now
}

// lend has the node offer something. The kubelet may take it back, so it is asked for until a pod has it.
func (n *node) lend(ctx context.Context) {
	amounts := fmt.Sprintf(`{"%s":"1500","%s":"1073741824"}`, v1alpha1.BatchCPUResource, v1alpha1.BatchMemoryResource)
	patch := fmt.Sprintf(`{"status":{"capacity":%s,"allocatable":%s}}`, amounts, amounts)
	_, _ = n.client.CoreV1().Nodes().Patch(ctx, nodeName, types.MergePatchType, []byte(patch), metav1.PatchOptions{}, "status")
}

// log is what a pod's container has printed. The API server on the host cannot reach the kubelet.
func (n *node) log(t *testing.T, pod *corev1.Pod) string {
	t.Helper()
	var text string
	until(t, "the container's words", func(context.Context) (bool, error) {
		names, err := filepath.Glob(fmt.Sprintf("/var/log/pods/%s_%s_%s/work/*.log", pod.Namespace, pod.Name, pod.UID))
		if err != nil || len(names) == 0 {
			return false, err
		}
		b, err := os.ReadFile(names[0])
		text = string(b)
		return strings.Contains(text, "that is all"), err
	})
	return text
}

func (n *node) wantBounded(t *testing.T, pod *corev1.Pod) {
	t.Helper()
	log := n.log(t, pod)
	// 500 milli-cores weigh 512 shares, of which runc makes a weight of 59.
	for _, want := range []string{"cpu.weight=59 ", "cpu.max=100000 100000 ", "memory.max=268435456 ", "pids.max=4096 ", "cpu.idle=1 "} {
		if !strings.Contains(log, want) {
			t.Errorf("the container did not see %s at its first instruction:\n%s", want, log)
		}
	}
	_, id, _ := strings.Cut(pod.Status.ContainerStatuses[0].ContainerID, "//")
	scope := n.host.BatchBranch() + "/cri-containerd-" + id + ".scope"
	if got := n.setting(t, scope, "cpu.max"); got != "100000 100000" {
		t.Errorf("cpu.max of %s is %s", scope, got)
	}
	if got := systemctl(t, "show", "--property=Slice", "--value", "cri-containerd-"+id+".scope"); strings.TrimSpace(got) != "kubepods-plimsollbatch.slice" {
		t.Errorf("systemd has the container in slice %s", got)
	}
}

// testBatchPod starts two: when the first one does, systemd hears of the slice.
func (n *node) testBatchPod(t *testing.T) {
	n.wantBounded(t, n.startPod(t, "first"))
	n.second = n.startPod(t, "second")
	n.wantBounded(t, n.second)
	logWrites(t)
}

// stays says that the branch is idle, and how it was right after.
func (n *node) stays(t *testing.T, what string) {
	t.Helper()
	t.Logf("%s right after %s: cpu.idle is %s", stamp(), what, n.setting(t, n.host.BatchBranch(), "cpu.idle"))
	until(t, "the branch to be idle after "+what, func(context.Context) (bool, error) {
		return n.setting(t, n.host.BatchBranch(), "cpu.idle") == "1", nil
	})
}

func (n *node) testDaemonReload(t *testing.T) {
	systemctl(t, "daemon-reload")
	n.stays(t, "daemon-reload")
	// Whoever sets a property of the slice has systemd write all of that controller.
	systemctl(t, "set-property", "--runtime", "kubepods-plimsollbatch.slice", "CPUAccounting=yes")
	n.stays(t, "set-property")
	n.wantBounded(t, n.startPod(t, "reloaded"))
	logWrites(t)
}

func (n *node) testKubeletRestart(t *testing.T) {
	systemctl(t, "restart", "kubelet.service")
	began := time.Now()
	n.stays(t, "the kubelet's restart")
	before := n.second.Status.ContainerStatuses[0].ContainerID
	until(t, "the restarted kubelet to renew its lease", func(ctx context.Context) (bool, error) {
		lease, err := n.client.CoordinationV1().Leases(corev1.NamespaceNodeLease).Get(ctx, nodeName, metav1.GetOptions{})
		return err == nil && lease.Spec.RenewTime.After(began), nil
	})
	now, err := n.client.CoreV1().Pods(metav1.NamespaceDefault).Get(t.Context(), n.second.Name, metav1.GetOptions{})
	if err != nil || now.Status.Phase != corev1.PodRunning || now.Status.ContainerStatuses[0].ContainerID != before {
		t.Errorf("the batch pod after the kubelet's restart: %+v, %v, want container %s to run on", now.Status, err, before)
	}
	n.wantBounded(t, n.second)
}

func (n *node) deletePods(t *testing.T) {
	t.Helper()
	pods := n.client.CoreV1().Pods(metav1.NamespaceDefault)
	if err := pods.DeleteCollection(t.Context(), metav1.DeleteOptions{}, metav1.ListOptions{}); err != nil {
		t.Fatal(err)
	}
	until(t, "the pods to be gone", func(ctx context.Context) (bool, error) {
		list, err := pods.List(ctx, metav1.ListOptions{})
		return err == nil && len(list.Items) == 0, err
	})
}

func (n *node) deleteDaemonSet(t *testing.T, name string) {
	t.Helper()
	foreground := metav1.DeletePropagationForeground
	sets := n.client.AppsV1().DaemonSets(namespace)
	if err := sets.Delete(t.Context(), name, metav1.DeleteOptions{PropagationPolicy: &foreground}); err != nil {
		t.Fatal(err)
	}
	until(t, "DaemonSet "+name+" to be gone", func(ctx context.Context) (bool, error) {
		_, err := sets.Get(ctx, name, metav1.GetOptions{})
		return apierrors.IsNotFound(err), nil
	})
}

// testUninstall does what hack/uninstall.sh does to a node.
func (n *node) testUninstall(t *testing.T, before []string) {
	n.deletePods(t)
	n.deleteDaemonSet(t, "plimsoll-agent")
	n.install(t, "uninstall")
	n.deleteDaemonSet(t, "plimsoll-release")
	// What there was of the branch is gone; its name stays in systemd's list, which nobody but systemd can change.
	if group := n.host.Dir("cpu", n.host.BatchBranch()); exists(group) {
		t.Errorf("%s is left", group)
	}
	systemctl(t, "stop", "kubepods-plimsollbatch.slice")
	// The kubelet removes the groups of pods that are gone in its own time.
	ctx, cancel := patient(t)
	defer cancel()
	var after []string
	err := wait.PollUntilContextCancel(ctx, time.Second, true, func(context.Context) (bool, error) {
		after = n.snapshot(t)
		return slices.Equal(before, after), nil
	})
	if err != nil {
		t.Errorf("the groups and units are not as before (-before +after):\n%s", cmp.Diff(before, after))
	}
}

func exists(name string) bool {
	_, err := os.Stat(name)
	return err == nil
}

// snapshot is every group below kubepods, with what is set there, and systemd's slices and scopes.
func (n *node) snapshot(t *testing.T) []string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "/usr/bin/systemctl", "list-units", "--all", "--plain", "--no-legend", "--type=slice,scope", "kubepods*", "cri-*").CombinedOutput()
	if err != nil {
		t.Fatalf("listing units: %v\n%s", err, out)
	}
	all := strings.Split(strings.TrimSpace(string(out)), "\n")
	return append(all, groupsBelow(t, n.host.Dir("cpu", n.host.Kubepods))...)
}
