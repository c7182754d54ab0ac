package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"

	corev1 "k8s.io/api/core/v1"

	"github.com/plimsoll/plimsoll/pkg/localcluster"
)

const (
	manifests       = "../../manifests"
	systemNamespace = "plimsoll-system"
	// patience is for a machine that is busy with something else; idle, nothing here takes a second.
	patience = time.Minute
)

// TestAPIServer is everything that needs a real API server and no node. All of it runs on one control
// plane; the scheduler under test is started before its CRD is there, as it may be in a real cluster.
func TestAPIServer(t *testing.T) {
	cp := startControlPlane(t)
	cp.applyKustomization(t, "base/scheduler")
	s := startScheduler(t, cp)

	t.Run("scheduler places pods by requests while the CRD is missing", func(t *testing.T) { testPlacementWithoutCRD(t, cp, s) })
	t.Run("CRD is accepted and established", func(t *testing.T) { testCRDIsEstablished(t, cp) })
	t.Run("a good NodeUtilization is accepted and kept whole", func(t *testing.T) { testGoodObject(t, cp) })
	t.Run("a bad NodeUtilization is refused", func(t *testing.T) { testBadObjects(t, cp) })
	t.Run("kubectl get shows the columns that matter", func(t *testing.T) { testTable(t, cp) })
	t.Run("scheduler picks the less used of two nodes", func(t *testing.T) { testPicksTheLessUsedNode(t, cp) })
	t.Run("scheduler falls back to requests when measurements are stale", func(t *testing.T) { testStaleMeasurements(t, cp) })
	t.Run("scheduler tolerates a node's clock that is off", func(t *testing.T) { testClockSkew(t, cp, s) })
	t.Run("scheduler lets batch give way to online pods only", func(t *testing.T) { testBatchGivesWay(t, cp) })
	t.Run("scheduler counts pods that were just placed", func(t *testing.T) { testBurst(t, cp) })
	t.Run("scheduler refuses hot nodes until one cools", func(t *testing.T) { testRefusedUntilANodeCools(t, cp) })
	t.Run("scheduler puts batch on measured nodes only", func(t *testing.T) { testBatchNeedsAMeasurement(t, cp) })
	t.Run("scheduler lets services share a node whose peaks do not coincide", func(t *testing.T) { testTimeOfDay(t, cp) })
	t.Run("scheduler puts batch where room lasts as long as it runs", func(t *testing.T) { testExpectedDuration(t, cp) })
	t.Run("scheduler in mode Observe records and does not influence", func(t *testing.T) { testObserve(t, cp, s) })
	t.Run("scheduler explains its decisions", func(t *testing.T) { testExplain(t, cp, s) })
	t.Run("scheduler can batch pods with LoadAware enabled", func(t *testing.T) { testPodsAreSigned(t, cp, s) })
	t.Run("scheduler needs no more rights than its manifests give", func(t *testing.T) { testNothingWasForbidden(t, s) })
	t.Run("scheduler refuses bad arguments at start", func(t *testing.T) { testBadArguments(t, cp) })
}

// controlPlane is a real etcd, kube-apiserver and kube-controller-manager.
type controlPlane struct {
	bin        string
	kubeconfig string
	config     *rest.Config
	client     kubernetes.Interface
	// objects reads and writes what has no typed client.
	objects dynamic.Interface
}

// binDir is where the binaries of the local cluster are.
func binDir(t *testing.T) string {
	t.Helper()
	dir := os.Getenv("PLIMSOLL_BIN")
	if dir == "" {
		dir = "../../bin"
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"etcd", "kube-apiserver", "kube-controller-manager", "plimsoll-scheduler", "plimsoll-local"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Fatalf("%v: build the binaries with `make parts`, or say in PLIMSOLL_BIN where they are", err)
		}
	}
	return dir
}

func startControlPlane(t *testing.T, changes ...func(*localcluster.Options)) *controlPlane {
	t.Helper()
	cp := &controlPlane{bin: binDir(t)}
	cp.kubeconfig = bringUp(t, cp.bin, changes...)
	var err error
	if cp.config, err = clientcmd.BuildConfigFromFlags("", cp.kubeconfig); err != nil {
		t.Fatal(err)
	}
	cp.config.QPS = -1 // the tests wait for what they caused; the default would slow them down
	if cp.client, err = kubernetes.NewForConfig(cp.config); err != nil {
		t.Fatal(err)
	}
	if cp.objects, err = dynamic.NewForConfig(cp.config); err != nil {
		t.Fatal(err)
	}
	_, err = cp.client.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: systemNamespace}}, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		t.Fatal(err)
	}
	// Pods cannot be created before the controller manager has made this.
	eventually(t, "the default service account", func(ctx context.Context) (bool, error) {
		_, err := cp.client.CoreV1().ServiceAccounts(metav1.NamespaceDefault).Get(ctx, "default", metav1.GetOptions{})
		return err == nil, ignoreNotFound(err)
	})
	return cp
}

// bringUp starts a control plane that ends with the test, and returns its administrator's kubeconfig.
func bringUp(t *testing.T, bin string, changes ...func(*localcluster.Options)) string {
	t.Helper()
	// Not t.TempDir: sockets are below it, and the path of a socket must be short.
	parent, err := os.MkdirTemp("", "plimsoll-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Remove(parent) })
	var progress bytes.Buffer
	options := localcluster.Options{
		Dir: filepath.Join(parent, "cluster"), BinDir: bin, Port: freePort(t), ControlPlaneOnly: true, Progress: &progress,
		// Its own scheduler leaves the profile under test to the one that the test starts.
		SchedulerConfig: writeYAML(t, t.TempDir(), "scheduler.yaml", map[string]any{
			"apiVersion": "kubescheduler.config.k8s.io/v1", "kind": "KubeSchedulerConfiguration",
		}),
	}
	for _, change := range changes {
		change(&options)
	}
	if _, err := localcluster.Up(t.Context(), options); err != nil {
		t.Fatalf("bringing a control plane up: %v\n%s", err, progress.String())
	}
	t.Cleanup(func() {
		if err := localcluster.Down(context.Background(), options.Dir, nil); err != nil {
			t.Errorf("taking the control plane down: %v", err)
		}
	})
	return localcluster.Layout{Dir: options.Dir}.Kubeconfig()
}

// freePort is one that a cluster can have, with those after it. It is below those that the kernel gives to
// connections (net.ipv4.ip_local_port_range): one of them may be taken again before the cluster listens.
func freePort(t *testing.T) int {
	t.Helper()
	for range 100 {
		port := 20_000 + rand.IntN(10_000)
		if l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
			_ = l.Close() // it has served
			return port
		}
	}
	t.Fatal("no port from 20000 to 29999 is free")
	return 0
}

// eventually waits for the condition; an error of the condition is final.
func eventually(t *testing.T, what string, condition wait.ConditionWithContextFunc) {
	t.Helper()
	waitAtMost(t, patience, what, condition)
}

func waitAtMost(t *testing.T, limit time.Duration, what string, condition wait.ConditionWithContextFunc) {
	t.Helper()
	if err := wait.PollUntilContextTimeout(t.Context(), 20*time.Millisecond, limit, true, condition); err != nil {
		t.Fatalf("waiting for %s: %v", what, err)
	}
}

func ignoreNotFound(err error) error {
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// applyKustomization applies a folder below manifests as `kubectl apply --server-side -k` would.
func (cp *controlPlane) applyKustomization(t *testing.T, folder string) {
	t.Helper()
	resources, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), filepath.Join(manifests, folder))
	if err != nil {
		t.Fatalf("building the kustomization %s: %v", folder, err)
	}
	for _, r := range resources.Resources() {
		m, err := r.Map()
		if err != nil {
			t.Fatal(err)
		}
		cp.apply(t, &unstructured.Unstructured{Object: m})
	}
}

// applyFiles applies the objects in the files, one each.
func (cp *controlPlane) applyFiles(t *testing.T, pattern string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(manifests, pattern))
	if err != nil || len(files) == 0 {
		t.Fatalf("no files match %s: %v", pattern, err)
	}
	for _, f := range files {
		content, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		u := &unstructured.Unstructured{}
		if err := yaml.Unmarshal(content, &u.Object); err != nil {
			t.Fatalf("decoding %s: %v", f, err)
		}
		cp.apply(t, u)
	}
}

// apply is a server-side apply, which refuses unknown fields.
func (cp *controlPlane) apply(t *testing.T, u *unstructured.Unstructured) {
	t.Helper()
	groups, err := restmapper.GetAPIGroupResources(cp.client.Discovery())
	if err != nil {
		t.Fatal(err)
	}
	gvk := u.GroupVersionKind()
	mapping, err := restmapper.NewDiscoveryRESTMapper(groups).RESTMapping(gvk.GroupKind(), gvk.Version)
	if err != nil {
		t.Fatal(err)
	}
	if _, err = cp.objects.Resource(mapping.Resource).Namespace(u.GetNamespace()).Apply(t.Context(), u.GetName(), u,
		metav1.ApplyOptions{FieldManager: "test", Force: true}); err != nil {
		t.Errorf("applying %s %s: %v", gvk.Kind, u.GetName(), err)
	}
}

// installCRDs is harmless when they are installed.
func (cp *controlPlane) installCRDs(t *testing.T) {
	t.Helper()
	cp.applyFiles(t, "base/crd/plimsoll.dev_*.yaml")
	eventually(t, "NodeUtilization to be served", func(ctx context.Context) (bool, error) {
		_, err := cp.utilizations().List(ctx, metav1.ListOptions{})
		return err == nil, ignoreNotFound(err)
	})
}

var errNoCondition = errors.New("no such condition")

// condition reads one of the status conditions of u.
func condition(u *unstructured.Unstructured, conditionType string) (status, message string, err error) {
	list, _, err := unstructured.NestedSlice(u.Object, "status", "conditions")
	if err != nil {
		return "", "", fmt.Errorf("reading the conditions of %s: %w", u.GetName(), err)
	}
	for _, c := range list {
		if c, ok := c.(map[string]any); ok && c["type"] == conditionType {
			return fmt.Sprint(c["status"]), fmt.Sprint(c["message"]), nil
		}
	}
	return "", "", errNoCondition
}
