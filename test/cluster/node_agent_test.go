package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/utils/ptr"

	"github.com/plimsoll/plimsoll/pkg/api/v1alpha1"
	"github.com/plimsoll/plimsoll/pkg/cgroup"
	"github.com/plimsoll/plimsoll/pkg/localcluster"
	"github.com/plimsoll/plimsoll/pkg/qos"
)

const batchImage = "localhost/plimsoll/batch:dev"

// mostInstall is the time from applying the manifests, with the image on the node, to a node that is published, where
// PLIMSOLL_MEASURE says that the machine is otherwise idle.
const mostInstall = 15 * time.Second

// TestAgentOnARealNode runs the agent as a DaemonSet pod on a real kubelet, containerd and kernel, and
// follows one batch pod from its creation to its end.
func TestAgentOnARealNode(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("a real node needs root: run the tests as root to cover it")
	}
	n := startNode(t)
	n.installAgent(t)
	batch := n.startPod(t, "batch", map[string]string{v1alpha1.ClassLabel: v1alpha1.BatchLabelValue}, "plimsoll-scheduler")
	plain := n.startPod(t, "plain", nil, "")

	t.Run("a batch pod's container is in the batch branch, which is idle in the kernel", func(t *testing.T) { n.testPlacement(t, batch, plain) })
	t.Run("the node is published and served to Prometheus", func(t *testing.T) { n.testPublished(t, batch, plain) })
	t.Run("the planner's commands tell of the node", func(t *testing.T) { n.testPlanner(t, batch) })
	t.Run("the kubelet's statistics, logs and exec work on a batch pod", func(t *testing.T) { n.testKubeletAPIs(t, batch) })
	t.Run("a Job with ordinary requests is bounded from its first instruction", func(t *testing.T) { n.testBatchJob(t) })
	t.Run("kubectl describe node shows what batch pods were lent", func(t *testing.T) { n.testDescribed(t) })
	t.Run("the guard holds batch back while the agent is stopped", func(t *testing.T) { n.testStopAgent(t) })
	t.Run("killing the agent leaves the node protected", func(t *testing.T) { n.testKillAgent(t, batch) })
	t.Run("the kubelet restarts with the branch in force and the pods run on", func(t *testing.T) { n.testKubeletRestart(t, batch, plain) })
	t.Run("a setting that somebody changed is set again", func(t *testing.T) { n.testSetAgain(t) })
	t.Run("a deleted batch pod leaves nothing in any hierarchy", func(t *testing.T) { n.testDeletion(t, batch) })
	t.Run("release puts the node back", func(t *testing.T) { n.testRelease(t) })
	t.Run("the hook adds little to a creation", func(t *testing.T) { n.testHookCost(t) })
	t.Run("a hook that connects bounds what runs already", func(t *testing.T) { n.testHookSynchronizes(t) })
	t.Run("a stuck hook refuses batch containers soon, and no other", func(t *testing.T) { n.testStuckHook(t, plain) })
	t.Run("the audit log is one chain of every write", func(t *testing.T) { n.testAuditLog(t) })
}

func TestAgentRefusesABadConfiguration(t *testing.T) {
	agent := filepath.Join(binDir(t), "plimsoll-agent")
	for name, tc := range map[string]struct {
		config string
		want   []string
	}{
		"unknown field":    {"tickMilis: 5\n", []string{"unknown field", "tickMilis"}},
		"out of range":     {"tickMilliseconds: 5\n", []string{"tickMilliseconds", "5", "must be from 100 to 60000"}},
		"unknown mode":     {"runtimeHook: {mode: Always}\n", []string{"runtimeHook.mode", `"Always"`, `"Enforce"`}},
		"unknown strategy": {"strategies: [{name: batchidel}]\n", []string{"strategies[0].name", `"batchidel"`, "batchidle"}},
		"bad argument":     {"strategies: [{name: batchidle, args: {level: 2}}]\n", []string{"strategies[0].args", "level"}},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "agent.yaml")
			content := "apiVersion: plimsoll.dev/v1alpha1\nkind: AgentConfiguration\n" + tc.config
			if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
			out, err := exec.CommandContext(t.Context(), agent, "--config", file, "--node-name", "n", "--kubeconfig", "/nonexistent").CombinedOutput()
			if _, ok := errors.AsType[*exec.ExitError](err); !ok {
				t.Fatalf("the agent started: %v\n%s", err, out)
			}
			for _, want := range append(tc.want, file) {
				if !strings.Contains(string(out), want) {
					t.Errorf("the error does not name %q:\n%s", want, out)
				}
			}
		})
	}
}

// node is a local cluster with a real node.
type node struct {
	cluster *localcluster.Cluster
	host    cgroup.Host
	config  *rest.Config
	client  kubernetes.Interface
	objects dynamic.Interface
}

func startNode(t *testing.T) *node {
	t.Helper()
	bin := binDir(t)
	dir, err := os.MkdirTemp("", "plimsoll-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := localcluster.Down(context.Background(), filepath.Join(dir, "cluster"), nil); err != nil {
			t.Errorf("taking the cluster down: %v", err)
		}
		_ = os.RemoveAll(dir)
	})
	var progress bytes.Buffer
	n := &node{}
	n.cluster, err = localcluster.Up(t.Context(), localcluster.Options{Dir: filepath.Join(dir, "cluster"), BinDir: bin, Port: freePort(t), Progress: &progress})
	if err != nil {
		t.Fatalf("bringing a cluster up: %v\n%s", err, progress.String())
	}
	if n.config, err = clientcmd.BuildConfigFromFlags("", n.cluster.Kubeconfig()); err != nil {
		t.Fatal(err)
	}
	n.config.QPS = -1
	if n.client, err = kubernetes.NewForConfig(n.config); err != nil {
		t.Fatal(err)
	}
	if n.objects, err = dynamic.NewForConfig(n.config); err != nil {
		t.Fatal(err)
	}
	archives, err := localcluster.BuildImages(t.Context(), localcluster.FindSource("."), filepath.Join(dir, "images"), []string{"plimsoll-agent", "batch"}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := n.cluster.Load(t.Context(), io.Discard, archives...); err != nil {
		t.Fatal(err)
	}
	if n.host, err = cgroup.Detect("/proc", "/sys/fs/cgroup", n.cluster.CgroupRoot()); err != nil {
		t.Fatal(err)
	}
	return n
}

func (n *node) installAgent(t *testing.T) {
	t.Helper()
	begin := time.Now()
	if err := n.cluster.Install(t.Context(), filepath.Join(manifests, "overlays/local")); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the agent to protect and publish the node", func(ctx context.Context) (bool, error) {
		s, err := n.utilization(ctx)
		if err != nil {
			return false, ignoreNotFound(err)
		}
		return isTrue(s, v1alpha1.ConditionBatchProtected) && isTrue(s, v1alpha1.ConditionRuntimeHookReady), nil
	})
	if took := time.Since(begin); took > mostInstall && os.Getenv("PLIMSOLL_MEASURE") != "" {
		t.Errorf("from installing to the first NodeUtilization of a protected node: %v, more than %v", took, mostInstall)
	} else {
		t.Logf("from installing to the first NodeUtilization of a protected node: %v", took)
	}
}

// installConfigured installs the agent of the local overlay with another configuration, and with components.
func (n *node) installConfigured(t *testing.T, config string, components ...string) {
	t.Helper()
	folder, err := filepath.Abs(manifests)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	relative, err := filepath.Rel(dir, folder)
	if err != nil {
		t.Fatal(err)
	}
	for i, c := range components {
		components[i] = filepath.Join(relative, "components", c)
	}
	kustomization := fmt.Sprintf(`apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources: [%s]
components: [%s]
configMapGenerator:
- {name: plimsoll-agent, namespace: %s, behavior: replace, files: [agent.yaml]}
`, filepath.Join(relative, "overlays/local"), strings.Join(components, ", "), systemNamespace)
	for name, content := range map[string]string{"agent.yaml": config, "kustomization.yaml": kustomization} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := n.cluster.Install(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
}

func isTrue(s *v1alpha1.NodeUtilizationStatus, condition string) bool {
	return slices.ContainsFunc(s.Conditions, func(c metav1.Condition) bool {
		return c.Type == condition && c.Status == metav1.ConditionTrue
	})
}

func (n *node) utilization(ctx context.Context) (*v1alpha1.NodeUtilizationStatus, error) {
	u, err := n.objects.Resource(v1alpha1.NodeUtilizationResource()).Get(ctx, n.cluster.NodeName(), metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	var nu v1alpha1.NodeUtilization
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, &nu); err != nil {
		return nil, err
	}
	if len(nu.OwnerReferences) != 1 || nu.OwnerReferences[0].Kind != "Node" {
		return nil, fmt.Errorf("owners of NodeUtilization: %+v, want its Node", nu.OwnerReferences)
	}
	return &nu.Status, nil
}

// startPod runs a pod of two busy threads and waits for it.
func (n *node) startPod(t *testing.T, name string, labels map[string]string, schedulerName string, args ...string) *corev1.Pod {
	t.Helper()
	pods := n.client.CoreV1().Pods(metav1.NamespaceDefault)
	eventually(t, "the default service account", func(ctx context.Context) (bool, error) {
		_, err := n.client.CoreV1().ServiceAccounts(metav1.NamespaceDefault).Get(ctx, "default", metav1.GetOptions{})
		return err == nil, ignoreNotFound(err)
	})
	_, err := pods.Create(t.Context(), &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels},
		Spec: corev1.PodSpec{
			HostNetwork: true, SchedulerName: schedulerName, TerminationGracePeriodSeconds: ptr.To[int64](1),
			Containers: []corev1.Container{{Name: "work", Image: batchImage, ImagePullPolicy: corev1.PullNever, Args: append([]string{"--threads=2", "--listen="}, args...)}},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var pod *corev1.Pod
	eventually(t, "pod "+name+" to run", func(ctx context.Context) (bool, error) {
		if pod, err = pods.Get(ctx, name, metav1.GetOptions{}); err != nil {
			return false, err
		}
		return pod.Status.Phase == corev1.PodRunning && len(pod.Status.ContainerStatuses) == 1 && pod.Status.ContainerStatuses[0].Ready, nil
	})
	return pod
}

func containerID(pod *corev1.Pod) string {
	return idOf(pod.Status.ContainerStatuses[0])
}

func idOf(s corev1.ContainerStatus) string {
	_, id, _ := strings.Cut(s.ContainerID, "//")
	return id
}

func (n *node) idle(t *testing.T, group string) string {
	t.Helper()
	s, err := n.host.ReadSetting(group, qos.CPUIdle)
	if err != nil || !s.OK {
		t.Fatalf("reading cpu.idle of %s: %+v, %v", group, s, err)
	}
	return s.Value
}

// tasks are the processes in a group itself, by the hierarchy of the CPU controller.
func (n *node) tasks(group string) []string {
	b, err := os.ReadFile(filepath.Join(n.host.Dir("cpu", group), "cgroup.procs"))
	if err != nil {
		return nil
	}
	return strings.Fields(string(b))
}

func (n *node) testPlacement(t *testing.T, batch, plain *corev1.Pod) {
	branch := n.host.BatchBranch()
	if len(n.tasks(branch+"/"+containerID(batch))) == 0 {
		t.Errorf("no process of the batch pod is in %s/%s", branch, containerID(batch))
	}
	if got := n.idle(t, branch); got != "1" {
		t.Errorf("cpu.idle of the batch branch is %s, want 1", got)
	}
	for _, tier := range []string{n.host.Kubepods, n.host.Kubepods + "/besteffort", n.host.Kubepods + "/burstable"} {
		if got := n.idle(t, tier); got != "0" {
			t.Errorf("cpu.idle of %s is %s: it is the kubelet's", tier, got)
		}
	}
	if len(n.tasks(n.host.Kubepods+"/besteffort/pod"+string(plain.UID)+"/"+containerID(plain))) == 0 {
		t.Error("the pod without a class is not where the kubelet puts it")
	}
}

func (n *node) testPublished(t *testing.T, batch, plain *corev1.Pod) {
	eventually(t, "both pods' CPU to be published", func(ctx context.Context) (bool, error) {
		s, err := n.utilization(ctx)
		if err != nil {
			return false, err
		}
		use := map[v1alpha1.Class]int64{}
		for _, p := range s.Pods {
			if p.UID == string(batch.UID) || p.UID == string(plain.UID) {
				use[p.Class] += p.MilliCPU
			}
		}
		// Idle batch work gets what is left: with a plain pod that wants both cores, little, yet never a
		// reading of nothing at all.
		return use[v1alpha1.ClassLatencySensitive] > 500 && use[v1alpha1.ClassBatch] > 0, nil
	})
	for path, want := range map[string]string{
		"/metrics": `plimsoll_cpu_cores{class="Batch"}`, "/healthz": "ok", "/readyz": "ok",
	} {
		if body := get(t, "http://127.0.0.1:8470"+path); !strings.Contains(body, want) {
			t.Errorf("%s lacks %q:\n%s", path, want, body)
		}
	}
}

func get(t *testing.T, url string) string {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

func (n *node) testKubeletAPIs(t *testing.T, batch *corev1.Pod) {
	eventually(t, "the kubelet's CPU time of the batch container", func(ctx context.Context) (bool, error) {
		raw, err := n.client.CoreV1().RESTClient().Get().Resource("nodes").Name(n.cluster.NodeName()).SubResource("proxy").Suffix("stats/summary").Do(ctx).Raw()
		if err != nil {
			return false, err
		}
		var summary struct {
			Pods []struct {
				PodRef     struct{ UID string }
				Containers []struct {
					Name string
					CPU  struct{ UsageCoreNanoSeconds uint64 }
				}
			}
		}
		if err := json.Unmarshal(raw, &summary); err != nil {
			return false, err
		}
		for _, p := range summary.Pods {
			for _, c := range p.Containers {
				if p.PodRef.UID == string(batch.UID) && c.Name == "work" && c.CPU.UsageCoreNanoSeconds > 0 {
					return true, nil
				}
			}
		}
		return false, nil
	})
	pods := n.client.CoreV1().Pods(metav1.NamespaceDefault)
	if _, err := pods.GetLogs(batch.Name, &corev1.PodLogOptions{}).Do(t.Context()).Raw(); err != nil {
		t.Errorf("kubectl logs: %v", err)
	}
	request := n.client.CoreV1().RESTClient().Post().Resource("pods").Namespace(batch.Namespace).Name(batch.Name).SubResource("exec").
		VersionedParams(&corev1.PodExecOptions{Command: []string{"/batch", "--help"}, Stdout: true, Stderr: true}, scheme.ParameterCodec)
	executor, err := remotecommand.NewSPDYExecutor(n.config, http.MethodPost, request.URL())
	if err != nil {
		t.Fatal(err)
	}
	// A command that ends at once may do so before the runtime has its streams attached, and its output is
	// then lost on any pod; so it is asked until it answers.
	eventually(t, "the output of a command in the batch pod", func(ctx context.Context) (bool, error) {
		var out bytes.Buffer
		if err := executor.StreamWithContext(ctx, remotecommand.StreamOptions{Stdout: &out, Stderr: &out}); err != nil {
			return false, fmt.Errorf("kubectl exec: %w\n%s", err, out.String())
		}
		return strings.Contains(out.String(), "threads"), nil
	})
}

func (n *node) agentPod(ctx context.Context) (*corev1.Pod, error) {
	list, err := n.client.CoreV1().Pods(systemNamespace).List(ctx, metav1.ListOptions{LabelSelector: "app.kubernetes.io/name=plimsoll-agent"})
	if err != nil {
		return nil, err
	}
	if len(list.Items) != 1 || len(list.Items[0].Status.ContainerStatuses) != 2 {
		return nil, fmt.Errorf("%d agent pods, want one with two containers", len(list.Items))
	}
	return &list.Items[0], nil
}

// statusOf is the status of a container of a pod.
func statusOf(p *corev1.Pod, container string) corev1.ContainerStatus {
	i := slices.IndexFunc(p.Status.ContainerStatuses, func(s corev1.ContainerStatus) bool { return s.Name == container })
	if i < 0 {
		return corev1.ContainerStatus{}
	}
	return p.Status.ContainerStatuses[i]
}

// agentProcess is the one process of the agent's container.
func (n *node) agentProcess(t *testing.T, p *corev1.Pod) int {
	t.Helper()
	group, err := n.groupOf(string(p.UID))
	if err != nil {
		t.Fatal(err)
	}
	pids := n.tasks(group + "/" + idOf(statusOf(p, "agent")))
	if len(pids) != 1 {
		t.Fatalf("processes of the agent: %v, want one", pids)
	}
	pid, err := strconv.Atoi(pids[0])
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

// testStopAgent stops the agent's process as a kernel or a debugger might: it neither ends nor goes on.
func (n *node) testStopAgent(t *testing.T) {
	p, err := n.agentPod(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	pid := n.agentProcess(t, p)
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := syscall.Kill(pid, syscall.SIGCONT); err != nil {
			t.Errorf("the agent did not outlive being stopped: %v", err)
		}
	}()
	stopped := time.Now()
	idle := filepath.Join(n.host.Dir("cpu", n.host.BatchBranch()), "cpu.idle")
	if err := os.WriteFile(idle, []byte("0"), 0); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the guard to hold batch back", func(context.Context) (bool, error) {
		return n.idle(t, n.host.BatchBranch()) == "1", nil
	})
	t.Logf("held back %v after the agent was stopped", time.Since(stopped).Round(time.Millisecond))
}

func (n *node) testKillAgent(t *testing.T, batch *corev1.Pod) {
	before, err := n.agentPod(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	pid := n.agentProcess(t, before)
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if got := n.idle(t, n.host.BatchBranch()); got != "1" {
		t.Errorf("cpu.idle of the branch is %s without the agent, want 1", got)
	}
	if len(n.tasks(n.host.BatchBranch()+"/"+containerID(batch))) == 0 {
		t.Error("the batch container went with the agent")
	}
	eventually(t, "the kubelet to start the agent again", func(ctx context.Context) (bool, error) {
		now, err := n.agentPod(ctx)
		if err != nil {
			return false, err
		}
		s := statusOf(now, "agent")
		return s.RestartCount > statusOf(before, "agent").RestartCount && s.Ready, nil
	})
}

// groupOf finds the group of a pod in any tier.
func (n *node) groupOf(uid string) (string, error) {
	groups, err := n.host.Scan()
	if err != nil {
		return "", err
	}
	for _, p := range groups.Pods {
		if p.UID == uid {
			return p.Path, nil
		}
	}
	return "", fmt.Errorf("no group of pod %s", uid)
}

func (n *node) testKubeletRestart(t *testing.T, pods ...*corev1.Pod) {
	restarted := time.Now()
	if err := n.cluster.Restart(t.Context(), "kubelet"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the restarted kubelet to renew its lease and the node to be ready", func(ctx context.Context) (bool, error) {
		lease, err := n.client.CoordinationV1().Leases(corev1.NamespaceNodeLease).Get(ctx, n.cluster.NodeName(), metav1.GetOptions{})
		if err != nil {
			return false, err
		}
		node, err := n.client.CoreV1().Nodes().Get(ctx, n.cluster.NodeName(), metav1.GetOptions{})
		if err != nil {
			return false, err
		}
		ready := slices.ContainsFunc(node.Status.Conditions, func(c corev1.NodeCondition) bool {
			return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
		})
		return ready && lease.Spec.RenewTime != nil && lease.Spec.RenewTime.After(restarted), nil
	})
	if got := n.idle(t, n.host.BatchBranch()); got != "1" {
		t.Errorf("cpu.idle of the branch is %s after the kubelet's restart, want 1", got)
	}
	for _, before := range pods {
		now, err := n.client.CoreV1().Pods(before.Namespace).Get(t.Context(), before.Name, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if now.Status.Phase != corev1.PodRunning || containerID(now) != containerID(before) || now.Status.ContainerStatuses[0].RestartCount != 0 {
			t.Errorf("pod %s did not run on: %s, container %s, was %s", now.Name, now.Status.Phase, containerID(now), containerID(before))
		}
	}
}

func (n *node) testSetAgain(t *testing.T) {
	file, err := n.host.KnobFile(n.host.BatchBranch(), qos.CPUIdle)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte("0"), 0); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the agent to set cpu.idle again", func(context.Context) (bool, error) {
		return n.idle(t, n.host.BatchBranch()) == "1", nil
	})
	eventually(t, "the change to be published", func(ctx context.Context) (bool, error) {
		s, err := n.utilization(ctx)
		if err != nil {
			return false, err
		}
		return len(s.Changes) > 0 && s.Changes[0].Outcome == v1alpha1.OutcomeApplied && s.Changes[0].Knob == "cpu.idle", nil
	})
}

func (n *node) testDeletion(t *testing.T, pod *corev1.Pod) {
	if err := n.client.CoreV1().Pods(pod.Namespace).Delete(t.Context(), pod.Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	var left []string
	eventually(t, "nothing to be left of the pod", func(ctx context.Context) (bool, error) {
		if _, err := n.client.CoreV1().Pods(pod.Namespace).Get(ctx, pod.Name, metav1.GetOptions{}); ignoreNotFound(err) != nil || err == nil {
			return false, ignoreNotFound(err)
		}
		left = left[:0]
		hierarchies, err := n.host.Hierarchies()
		if err != nil {
			return false, err
		}
		for _, h := range hierarchies {
			err := filepath.WalkDir(h+n.cluster.CgroupRoot(), func(path string, d fs.DirEntry, err error) error {
				if err != nil || !d.IsDir() {
					return nil //nolint:nilerr // it may vanish while it is walked
				}
				if strings.Contains(path, string(pod.UID)) || strings.Contains(path, containerID(pod)) {
					left = append(left, path)
				}
				return nil
			})
			if err != nil {
				return false, err
			}
		}
		return len(left) == 0, nil
	})
}

func (n *node) testRelease(t *testing.T) {
	if err := n.client.AppsV1().DaemonSets(systemNamespace).Delete(t.Context(), "plimsoll-agent", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the agent's pod to be gone", func(ctx context.Context) (bool, error) {
		list, err := n.client.CoreV1().Pods(systemNamespace).List(ctx, metav1.ListOptions{})
		return err == nil && len(list.Items) == 0, err
	})
	state := filepath.Join(n.cluster.Dir(), "node", "varlib", "plimsoll")
	out, err := exec.CommandContext(t.Context(), filepath.Join(binDir(t), "plimsoll-agent"), "release",
		"--kubelet-cgroup-root", n.cluster.CgroupRoot(), "--state-dir", state).CombinedOutput()
	if err != nil {
		t.Fatalf("release: %v\n%s", err, out)
	}
	hierarchies, err := n.host.Hierarchies()
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range hierarchies {
		if _, err := os.Stat(h + n.host.BatchBranch()); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s%s is still there: %v", h, n.host.BatchBranch(), err)
		}
	}
}
