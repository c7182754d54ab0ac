package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/remotecommand"

	"github.com/plimsoll/plimsoll/pkg/image"
	"github.com/plimsoll/plimsoll/pkg/localcluster"
)

const greeterImage = "localhost/plimsoll/greeter:dev"

// localInstance is a local cluster under test.
type localInstance struct {
	bin     string
	options localcluster.Options
	cluster *localcluster.Cluster
	config  *rest.Config
	client  kubernetes.Interface
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("a real node needs root: run the tests as root to cover it")
	}
}

// shortDir is a folder for an instance. t.TempDir is too long for the sockets below it.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "plimsoll-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// freeBlock is the first of a few free ports in a row, below those that the kernel hands out.
func freeBlock(t *testing.T, from int) int {
	t.Helper()
	free := func(port int) bool {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		return err == nil && l.Close() == nil
	}
	for first := from; first < from+2000; first += 20 {
		n := 0
		for n < 10 && free(first+n) {
			n++
		}
		if n == 10 {
			return first
		}
	}
	t.Fatalf("no free ports after %d", from)
	return 0
}

// newLocal prepares an instance that is taken down with the test, however that ends.
func newLocal(t *testing.T, port int) *localInstance {
	t.Helper()
	l := &localInstance{bin: binDir(t)}
	l.options = localcluster.Options{Dir: filepath.Join(shortDir(t), "c"), BinDir: l.bin, Port: port, Progress: testWriter{t},
		SchedulerConfig: plainScheduler(t)}
	t.Cleanup(func() {
		if err := localcluster.Down(context.Background(), l.options.Dir, testWriter{t}); err != nil {
			t.Errorf("down: %v", err)
		}
	})
	return l
}

// plainScheduler keeps these tests apart from those of the plugin.
func plainScheduler(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "scheduler.yaml")
	if err := os.WriteFile(path, []byte("apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

type testWriter struct{ t testing.TB }

func (w testWriter) Write(b []byte) (int, error) {
	w.t.Log(strings.TrimRight(string(b), "\n"))
	return len(b), nil
}

func (l *localInstance) up(t *testing.T) {
	t.Helper()
	var err error
	if l.cluster, err = localcluster.Up(t.Context(), l.options); err != nil {
		t.Fatalf("up: %v", err)
	}
	if l.config, err = clientcmd.BuildConfigFromFlags("", l.cluster.Kubeconfig()); err != nil {
		t.Fatal(err)
	}
	l.config.QPS = -1
	if l.client, err = kubernetes.NewForConfig(l.config); err != nil {
		t.Fatal(err)
	}
}

func (l *localInstance) status(t *testing.T) *localcluster.Status {
	t.Helper()
	st, err := l.cluster.Status(t.Context())
	if err != nil {
		t.Fatalf("status: %v", err)
	}
	return st
}

func pids(st *localcluster.Status) map[string]int {
	found := map[string]int{}
	for _, c := range st.Components {
		found[c.Name] = c.PID
	}
	return found
}

// TestLocalClusterLivesAndLeavesNothing is the life of an instance, with all the deaths in it.
func TestLocalClusterLivesAndLeavesNothing(t *testing.T) {
	needRoot(t)
	l := newLocal(t, freeBlock(t, 16443))
	before := takeSnapshot(t, l.options.Dir, l.bin)
	l.up(t)
	l.loadGreeter(t)
	own := l.startGreeter(t, "own-network", false)
	host := l.startGreeter(t, "host-network", true)

	t.Run("up again is harmless", func(t *testing.T) {
		want := pids(l.status(t))
		l.up(t)
		if diff := cmp.Diff(want, pids(l.status(t))); diff != "" {
			t.Errorf("processes (-before +after):\n%s", diff)
		}
	})
	t.Run("up with other options is refused", func(t *testing.T) {
		other := l.options
		other.SimulatedNodes = 3
		if _, err := localcluster.Up(t.Context(), other); err == nil || !strings.Contains(err.Error(), "run down first") {
			t.Errorf("got error %v, want one that says to run down first", err)
		}
	})
	t.Run("pods find the API server, and logs and exec work", func(t *testing.T) {
		for _, pod := range []*corev1.Pod{own, host} {
			l.wantLogs(t, pod)
			l.wantExec(t, pod)
		}
	})
	t.Run("the API server passes on the kubelet's statistics", l.testSummary)
	t.Run("every component comes back after kill -9, and pods run on", func(t *testing.T) {
		for _, c := range l.status(t).Components {
			if err := l.cluster.Kill(t.Context(), c.Name); err != nil {
				t.Errorf("kill -9 of %s: %v", c.Name, err)
			}
		}
		l.waitReady(t)
		l.wantSameContainer(t, own)
		l.wantSameContainer(t, host)
		l.wantExec(t, own)
	})
	t.Run("the kubelet restarts and pods run on", func(t *testing.T) {
		if err := l.cluster.Restart(t.Context(), "kubelet"); err != nil {
			t.Fatal(err)
		}
		l.waitReady(t)
		l.wantSameContainer(t, own)
	})
	t.Run("up repairs after kill -9 of the supervisor", func(t *testing.T) {
		l.killSupervisor(t)
		if st := l.status(t); st.State != "down" {
			t.Errorf("state is %q, want down", st.State)
		}
		l.up(t)
		eventually(t, "the pods to be started again", func(ctx context.Context) (bool, error) {
			for _, name := range []string{own.Name, host.Name} {
				p, err := l.client.CoreV1().Pods("default").Get(ctx, name, metav1.GetOptions{})
				if err != nil || len(p.Status.ContainerStatuses) == 0 || !p.Status.ContainerStatuses[0].Ready || p.Status.ContainerStatuses[0].RestartCount == 0 {
					return false, err
				}
			}
			return true, nil
		})
		l.wantExec(t, own)
	})
	t.Run("down leaves nothing, and again is harmless", func(t *testing.T) {
		l.down(t)
		wantAsBefore(t, before, l.options.Dir, l.bin)
		l.down(t)
	})
}

// TestDownAfterKilledUp kills up at several moments and wants down to leave nothing each time.
func TestDownAfterKilledUp(t *testing.T) {
	needRoot(t)
	moments := map[string]func(l localcluster.Layout) string{
		"when the instance is written down":    func(l localcluster.Layout) string { return filepath.Join(l.Dir, "instance.json") },
		"when the supervisor starts":           func(l localcluster.Layout) string { return l.Log("supervisor") },
		"when containerd serves":               func(l localcluster.Layout) string { return l.ContainerdSocket() },
		"when the kubelet has begun to set up": func(l localcluster.Layout) string { return l.Log("kubelet") },
	}
	for name, file := range moments {
		t.Run(name, func(t *testing.T) {
			l := newLocal(t, freeBlock(t, 16443))
			before := takeSnapshot(t, l.options.Dir, l.bin)
			cmd := exec.Command(filepath.Join(l.bin, "plimsoll-local"), "up", "--dir", l.options.Dir, "--port", strconv.Itoa(l.options.Port), "--scheduler-config", l.options.SchedulerConfig)
			cmd.Stdout, cmd.Stderr = io.Discard, io.Discard
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			eventually(t, "the moment", func(context.Context) (bool, error) {
				_, err := os.Stat(file(localcluster.Layout{Dir: l.options.Dir}))
				return err == nil, nil
			})
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
			l.down(t)
			wantAsBefore(t, before, l.options.Dir, l.bin)
		})
	}
}

// TestTwoInstancesSideBySide wants each to leave the other alone and the machine as it was, in either order.
func TestTwoInstancesSideBySide(t *testing.T) {
	needRoot(t)
	first, second := newLocal(t, freeBlock(t, 16443)), newLocal(t, freeBlock(t, 18443))
	before := takeSnapshot(t, first.options.Dir, first.bin)
	first.up(t)
	second.up(t)
	if first.status(t).NodeIP == second.status(t).NodeIP || first.cluster.CgroupRoot() == second.cluster.CgroupRoot() {
		t.Errorf("the instances share an address or a cgroup: %+v and %+v", first.status(t), second.status(t))
	}
	first.down(t)
	second.waitReady(t)
	second.down(t)
	wantAsBefore(t, before, first.options.Dir, first.bin)
}

func (l *localInstance) down(t *testing.T) {
	t.Helper()
	if err := localcluster.Down(t.Context(), l.options.Dir, testWriter{t}); err != nil {
		t.Fatalf("down: %v", err)
	}
}

func (l *localInstance) waitReady(t *testing.T) {
	t.Helper()
	eventually(t, "all of the instance to be ready", func(ctx context.Context) (bool, error) {
		st, err := l.cluster.Status(ctx)
		return err == nil && st.State == "up", err
	})
}

func (l *localInstance) loadGreeter(t *testing.T) {
	t.Helper()
	loadProgram(t, l.cluster, "greeter", greeterImage)
}

// loadProgram builds testdata/name and loads it into the cluster as an image.
func loadProgram(t testing.TB, cluster *localcluster.Cluster, name, ref string) {
	t.Helper()
	dir := t.TempDir()
	cmd := exec.Command("go", "build", "-o", filepath.Join(dir, name), "./testdata/"+name)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("building the pods' program: %v\n%s", err, out)
	}
	archive := filepath.Join(dir, name+".tar")
	if err := image.WriteFile(archive, image.Spec{Ref: ref, Binary: filepath.Join(dir, name), User: "65532"}); err != nil {
		t.Fatal(err)
	}
	names, err := cluster.Load(t.Context(), testWriter{t}, archive)
	if diff := cmp.Diff([]string{ref}, names); diff != "" || err != nil {
		t.Fatalf("loaded images (-want +got):\n%s%v", diff, err)
	}
}

func (l *localInstance) startGreeter(t *testing.T, name string, hostNetwork bool) *corev1.Pod {
	t.Helper()
	pods := l.client.CoreV1().Pods("default")
	_, err := pods.Create(t.Context(), &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       corev1.PodSpec{HostNetwork: hostNetwork, Containers: []corev1.Container{{Name: "greeter", Image: greeterImage}}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var pod *corev1.Pod
	eventually(t, name+" to run", func(ctx context.Context) (bool, error) {
		pod, err = pods.Get(ctx, name, metav1.GetOptions{})
		return err == nil && pod.Status.Phase == corev1.PodRunning, err
	})
	return pod
}

func (l *localInstance) wantLogs(t *testing.T, pod *corev1.Pod) {
	t.Helper()
	var logs []byte
	eventually(t, "the logs of "+pod.Name, func(ctx context.Context) (bool, error) {
		var err error
		logs, err = l.client.CoreV1().Pods("default").GetLogs(pod.Name, &corev1.PodLogOptions{}).Do(ctx).Raw()
		return bytes.Count(logs, []byte("\n")) >= 2, err
	})
	if diff := cmp.Diff("hello\napi: 200 OK\n", string(logs)); diff != "" {
		t.Errorf("logs of %s (-want +got):\n%s", pod.Name, diff)
	}
}

func (l *localInstance) wantExec(t *testing.T, pod *corev1.Pod) {
	t.Helper()
	req := l.client.CoreV1().RESTClient().Post().Resource("pods").Namespace("default").Name(pod.Name).SubResource("exec").
		VersionedParams(&corev1.PodExecOptions{Command: []string{"/greeter", "from", "inside"}, Stdout: true}, scheme.ParameterCodec)
	executor, err := remotecommand.NewWebSocketExecutor(l.config, http.MethodGet, req.URL().String())
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	eventually(t, "exec in "+pod.Name, func(ctx context.Context) (bool, error) {
		out.Reset()
		// A kubelet that has just started is healthy before it knows its pods.
		return executor.StreamWithContext(ctx, remotecommand.StreamOptions{Stdout: &out}) == nil, nil
	})
	if diff := cmp.Diff("from inside\n", out.String()); diff != "" {
		t.Errorf("output of exec in %s (-want +got):\n%s", pod.Name, diff)
	}
}

func (l *localInstance) wantSameContainer(t *testing.T, pod *corev1.Pod) {
	t.Helper()
	now, err := l.client.CoreV1().Pods("default").Get(t.Context(), pod.Name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if want, got := containerID(pod), containerID(now); want != got {
		t.Errorf("the container of %s is %s, want still %s", pod.Name, got, want)
	}
}

func (l *localInstance) testSummary(t *testing.T) {
	raw, err := l.client.CoreV1().RESTClient().Get().Resource("nodes").Name(l.cluster.NodeName()).SubResource("proxy").Suffix("stats/summary").Do(t.Context()).Raw()
	if err != nil {
		t.Fatal(err)
	}
	var summary struct{ Node struct{ NodeName string } }
	if err := json.Unmarshal(raw, &summary); err != nil || summary.Node.NodeName != l.cluster.NodeName() {
		t.Errorf("summary is of node %q (%v), want %q", summary.Node.NodeName, err, l.cluster.NodeName())
	}
}

// killSupervisor does to the supervisor what no handler can soften, and waits until its components are gone with it.
func (l *localInstance) killSupervisor(t *testing.T) {
	t.Helper()
	etcd := pids(l.status(t))["etcd"]
	stat, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(etcd), "stat"))
	if err != nil {
		t.Fatal(err)
	}
	parent, err := strconv.Atoi(strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))[1])
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if err := syscall.Kill(parent, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the components to die with the supervisor", func(context.Context) (bool, error) {
		_, err := os.Stat(filepath.Join("/proc", strconv.Itoa(etcd)))
		return os.IsNotExist(err), nil
	})
	t.Logf("components died %s after the supervisor", time.Since(began).Round(time.Millisecond))
}
