package agentcost

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/yaml"

	"github.com/plimsoll/plimsoll/pkg/localcluster"
)

const nodeName = "busy"

// warmUp is from the agent's start to the first measurement: its caches fill, the probe ends, Go's heap
// settles.
const (
	warmUp  = 15 * time.Second
	measure = 30 * time.Second
)

// BenchmarkAgentCost runs the real agent in mode Observe against a real API server, on 150 real pods' groups
// with the agent's own ticks: everything each second, pressure each tenth of one. What it reports is the CPU time
// of the process in thousandths of a core and its memory, from /proc; the targets are 30 and 48 MiB.
//
// Idle pods' groups are empty. Where they wait, tasks of one pod of each tier wait for a CPU in every tenth of a second,
// and batch does, so that all that a fast tick may read of CPUs is read.
func BenchmarkAgentCost(b *testing.B) {
	b.Run("idle", func(b *testing.B) { agentCost(b, false) })
	b.Run("waiting", func(b *testing.B) { agentCost(b, true) })
}

func agentCost(b *testing.B, waiting bool) {
	tr := newNodeTree(b)
	kubeconfig := controlPlane(b)
	containers := populate(b, tr, kubeconfig, pods)
	if waiting {
		for _, group := range []string{containers[0], containers[1], tr.batchContainer()} { // the first is BestEffort
			startSelf(b, tr, group, waits)
		}
	}
	agent := startAgent(b, tr, kubeconfig)
	<-time.After(warmUp) // not for a condition: how long is what is measured
	for b.Loop() {
		begin, before := time.Now(), cpuTime(b, agent.Process.Pid)
		<-time.After(measure)
		used := cpuTime(b, agent.Process.Pid) - before
		b.ReportMetric(float64(used.Microseconds())*1000/float64(time.Since(begin).Microseconds()), "mCPU")
	}
	b.ReportMetric(float64(statusKiB(b, agent.Process.Pid, "VmRSS:"))/1024, "MiB-RSS")
	// Of that the memory of its own, and the pages of its binary.
	b.ReportMetric(float64(statusKiB(b, agent.Process.Pid, "RssAnon:"))/1024, "MiB-own")
	b.ReportMetric(float64(statusKiB(b, agent.Process.Pid, "RssFile:"))/1024, "MiB-binary")
	b.ReportMetric(float64(statusKiB(b, agent.Process.Pid, "VmHWM:"))/1024, "MiB-RSS-peak")
	b.ReportMetric(pods, "pods")
}

func binDir(tb testing.TB) string {
	tb.Helper()
	dir := os.Getenv("PLIMSOLL_BIN")
	if dir == "" {
		dir = "../../../bin"
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		tb.Fatal(err)
	}
	for _, name := range []string{"etcd", "kube-apiserver", "kube-controller-manager", "plimsoll-scheduler", "plimsoll-agent"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			tb.Fatalf("%v: build the binaries with `make parts`, or say in PLIMSOLL_BIN where they are", err)
		}
	}
	return dir
}

// controlPlane starts an API server with our CRDs that ends with the benchmark.
func controlPlane(tb testing.TB) (kubeconfig string) {
	tb.Helper()
	parent, err := os.MkdirTemp("", "plimsoll-perf-") // not TempDir: the paths of sockets must be short
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = os.RemoveAll(parent) })
	var progress bytes.Buffer
	options := localcluster.Options{Dir: filepath.Join(parent, "cluster"), BinDir: binDir(tb), Port: freePort(tb), ControlPlaneOnly: true, Progress: &progress}
	tb.Cleanup(func() {
		if err := localcluster.Down(context.Background(), options.Dir, nil); err != nil {
			tb.Errorf("taking the control plane down: %v", err)
		}
	})
	if _, err := localcluster.Up(tb.Context(), options); err != nil {
		tb.Fatalf("bringing a control plane up: %v\n%s", err, progress.String())
	}
	return localcluster.Layout{Dir: options.Dir}.Kubeconfig()
}

func freePort(tb testing.TB) int {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// populate makes the node and its pods in the API server, and each pod's groups under the UID it got. It returns
// the groups of the pods' containers.
func populate(tb testing.TB, tr *nodeTree, kubeconfig string, pods int) (containers []string) {
	tb.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		tb.Fatal(err)
	}
	config.QPS = -1
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		tb.Fatal(err)
	}
	objects, err := dynamic.NewForConfig(config)
	if err != nil {
		tb.Fatal(err)
	}
	applyCRDs(tb, objects)
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: nodeName}}
	if _, err := client.CoreV1().Nodes().Create(tb.Context(), node, metav1.CreateOptions{}); err != nil {
		tb.Fatal(err)
	}
	// Pods cannot be created before the controller manager has made this.
	eventually(tb, "the default service account", func() bool {
		_, err := client.CoreV1().ServiceAccounts(metav1.NamespaceDefault).Get(tb.Context(), "default", metav1.GetOptions{})
		return err == nil
	})
	for i := range pods {
		made, err := client.CoreV1().Pods(metav1.NamespaceDefault).Create(tb.Context(), &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("service-%d", i), Labels: map[string]string{"app": "service"}},
			Spec: corev1.PodSpec{
				NodeName: nodeName, Tolerations: []corev1.Toleration{{Operator: corev1.TolerationOpExists}},
				Containers: []corev1.Container{{Name: "service", Image: "localhost/none"}},
			},
		}, metav1.CreateOptions{})
		if err != nil {
			tb.Fatal(err)
		}
		containers = append(containers, tr.pod(i, string(made.UID))[1])
	}
	return containers
}

func applyCRDs(tb testing.TB, objects dynamic.Interface) {
	tb.Helper()
	files, err := filepath.Glob("../../../manifests/base/crd/plimsoll.dev_*.yaml")
	if err != nil || len(files) == 0 {
		tb.Fatalf("finding the CRDs: %v in %q", err, files)
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			tb.Fatal(err)
		}
		var crd unstructured.Unstructured
		if err := yaml.Unmarshal(b, &crd.Object); err != nil {
			tb.Fatal(err)
		}
		resource := schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}
		if _, err := objects.Resource(resource).Create(tb.Context(), &crd, metav1.CreateOptions{}); err != nil {
			tb.Fatal(err)
		}
	}
}

// startAgent runs the agent's binary with its defaults, which observe, and what flags say.
func startAgent(tb testing.TB, tr *nodeTree, kubeconfig string, flags ...string) *exec.Cmd {
	tb.Helper()
	var log bytes.Buffer
	agent := exec.Command(filepath.Join(binDir(tb), "plimsoll-agent"), append([]string{
		"--kubeconfig", kubeconfig, "--node-name", nodeName, "--state-dir", tb.TempDir(),
		"--cgroup-fs", fsRoot, "--proc", procRoot, "--kubelet-cgroup-root", tr.root,
		"--listen", fmt.Sprintf("127.0.0.1:%d", freePort(tb)), "--nri-socket", filepath.Join(tb.TempDir(), "nri.sock"),
	}, flags...)...)
	agent.Stdout, agent.Stderr = &log, &log
	if err := agent.Start(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		err := agent.Process.Signal(syscall.SIGTERM)
		if err == nil {
			err = agent.Wait()
		}
		if err != nil {
			tb.Errorf("ending the agent: %v", err)
		}
		if tb.Failed() {
			tb.Logf("the agent said:\n%s", log.String())
		}
	})
	return agent
}

// cpuTime is what a process has used, from the 14th and 15th field of its stat file, in ticks of 10 ms.
func cpuTime(tb testing.TB, pid int) time.Duration {
	tb.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		tb.Fatalf("the agent has ended: %v", err)
	}
	fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:])) // from the third on
	var ticks int64
	for _, f := range fields[11:13] {
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			tb.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}

func statusKiB(tb testing.TB, pid int, key string) int64 {
	tb.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		tb.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == key {
			n, err := strconv.ParseInt(f[1], 10, 64)
			if err != nil {
				tb.Fatal(err)
			}
			return n
		}
	}
	tb.Fatalf("no %s of process %d", key, pid)
	return 0
}
