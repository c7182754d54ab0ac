package hooked

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"k8s.io/apimachinery/pkg/util/wait"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/plimsoll/plimsoll/pkg/api/v1alpha1"
	"github.com/plimsoll/plimsoll/pkg/cgroup"
	"github.com/plimsoll/plimsoll/pkg/runtimehook"
	"github.com/plimsoll/plimsoll/test/guestimage"
)

const (
	patience = 10 * time.Minute
	// insideVariable makes the test binary the program of the container that is looked at.
	insideVariable = "PLIMSOLL_INSIDE"
	workImage      = "localhost/plimsoll/inside:dev"
	pauseImage     = "localhost/plimsoll/pause:dev"
	podUID         = "11111111-2222-3333-4444-555555555555"
)

func TestMain(m *testing.M) {
	if os.Getenv(insideVariable) != "" {
		inside()
		return
	}
	os.Exit(m.Run())
}

// inside is what runs in the container: it tells what its group allows it as the first thing it does, and
// waits for its end.
func inside() {
	for _, file := range []string{"cpu.weight", "cpu.max", "memory.max", "pids.max"} {
		b, err := os.ReadFile("/sys/fs/cgroup/" + file)
		fmt.Printf("%s=%s %v\n", file, strings.TrimSpace(string(b)), err)
	}
	end := make(chan os.Signal, 1)
	signal.Notify(end, syscall.SIGTERM)
	<-end
}

func TestABatchContainerIsPlacedAndBoundedFromItsFirstInstruction(t *testing.T) {
	if mode, err := cgroup.DetectMode("/sys/fs/cgroup"); err != nil || mode != cgroup.V2 {
		t.Skipf("this machine has cgroup %s (%v): the test needs v2 alone, as of Linux 4.15: make test-vm", mode, err)
	}
	if _, err := os.Stat("/bin/containerd"); err != nil {
		t.Skipf("%v: say -programs to vmrun", err)
	}
	host := makeKubepods(t)
	dir := startContainerd(t)
	runtime := connect(t, dir)
	importImages(t, dir)
	startHook(t, dir, host)

	pod := &cri.PodSandboxConfig{
		Metadata:     &cri.PodSandboxMetadata{Name: "nightly", Uid: podUID, Namespace: "default"},
		Labels:       map[string]string{v1alpha1.ClassLabel: v1alpha1.BatchLabelValue},
		Annotations:  map[string]string{v1alpha1.BatchResourcesAnnotation: `{"work":{"milliCPU":500,"memoryBytes":268435456,"limitMilliCPU":1000}}`},
		LogDirectory: filepath.Join(dir, "logs"),
		Linux: &cri.LinuxPodSandboxConfig{CgroupParent: "/kubepods/besteffort/pod" + podUID, SecurityContext: &cri.LinuxSandboxSecurityContext{
			NamespaceOptions: &cri.NamespaceOption{Network: cri.NamespaceMode_NODE, Pid: cri.NamespaceMode_CONTAINER, Ipc: cri.NamespaceMode_POD},
		}},
	}
	ctx := t.Context()
	sandbox, err := runtime.RunPodSandbox(ctx, &cri.RunPodSandboxRequest{Config: pod})
	if err != nil {
		t.Fatal(err)
	}
	created, err := runtime.CreateContainer(ctx, &cri.CreateContainerRequest{PodSandboxId: sandbox.PodSandboxId, SandboxConfig: pod, Config: &cri.ContainerConfig{
		Metadata: &cri.ContainerMetadata{Name: "work"}, Image: &cri.ImageSpec{Image: workImage}, LogPath: "work.log",
		Envs:  []*cri.KeyValue{{Key: insideVariable, Value: []byte("1")}},
		Linux: &cri.LinuxContainerConfig{Resources: &cri.LinuxContainerResources{CpuShares: 2, OomScoreAdj: 1000}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := runtime.StartContainer(ctx, &cri.StartContainerRequest{ContainerId: created.ContainerId}); err != nil {
		t.Fatal(err)
	}
	var log string
	until(t, "the container to tell its limits", func() bool {
		b, _ := os.ReadFile(filepath.Join(dir, "logs", "work.log"))
		log = string(b)
		return strings.Contains(log, "pids.max")
	})
	// 500 milli-cores weigh 512 shares, of which runc makes a weight of 59.
	for _, want := range []string{"cpu.weight=59 ", "cpu.max=100000 100000 ", "memory.max=268435456 ", "pids.max=4096 "} {
		if !strings.Contains(log, want) {
			t.Errorf("the container did not see %s at its first instruction:\n%s", want, log)
		}
	}
	groups, err := host.Scan()
	if err != nil {
		t.Fatal(err)
	}
	if len(groups.BatchContainers) != 1 || groups.BatchContainers[0].ID != created.ContainerId {
		t.Errorf("containers in the batch branch: %+v, want %s", groups.BatchContainers, created.ContainerId)
	}
	if len(groups.Pods) != 1 || len(groups.Pods[0].Containers) != 1 || groups.Pods[0].Containers[0].ID != sandbox.PodSandboxId {
		t.Errorf("pods' groups: %+v, want the sandbox alone in the pod's", groups.Pods)
	}
	if _, err := runtime.StopPodSandbox(ctx, &cri.StopPodSandboxRequest{PodSandboxId: sandbox.PodSandboxId}); err != nil {
		t.Error(err)
	}
	if groups, err = host.Scan(); err != nil || len(groups.BatchContainers) != 0 {
		t.Errorf("left in the batch branch: %+v, %v", groups.BatchContainers, err)
	}
}

func until(t *testing.T, what string, condition func() bool) {
	t.Helper()
	err := wait.PollUntilContextTimeout(t.Context(), 50*time.Millisecond, patience, true, func(context.Context) (bool, error) { return condition(), nil })
	if err != nil {
		t.Fatalf("waiting for %s: %v", what, err)
	}
}

// makeKubepods makes the groups that a kubelet with the driver cgroupfs makes.
func makeKubepods(t *testing.T) cgroup.Host {
	t.Helper()
	dir := "/sys/fs/cgroup"
	for _, name := range []string{"kubepods", "besteffort", "pod" + podUID} {
		dir = filepath.Join(dir, name)
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		controllers, err := os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
		if err != nil {
			t.Fatal(err)
		}
		enable := "+" + strings.Join(strings.Fields(string(controllers)), " +")
		if err := os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte(enable), 0); err != nil {
			t.Fatal(err)
		}
	}
	host, err := cgroup.Detect("/proc", "/sys/fs/cgroup", "/")
	if err != nil {
		t.Fatal(err)
	}
	return host
}

func startContainerd(t *testing.T) (dir string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "hooked-")
	if err != nil {
		t.Fatal(err)
	}
	// The runtime copies these for each pod; the guest has none.
	for _, file := range []string{"/etc/hosts", "/etc/resolv.conf"} {
		if _, err := os.Stat(file); err == nil {
			continue
		}
		if err := errors.Join(os.MkdirAll("/etc", 0o755), os.WriteFile(file, nil, 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	config := fmt.Sprintf(containerdConfig, dir, pauseImage)
	log, err := os.Create(filepath.Join(dir, "containerd.log"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "config.toml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	c := exec.Command("/bin/containerd", "--config", filepath.Join(dir, "config.toml"), "--log-level", "info")
	c.Stdout, c.Stderr = log, log
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Process.Signal(syscall.SIGTERM)
		_, _ = c.Process.Wait() // in the guest init may have reaped it
		if t.Failed() {
			b, _ := os.ReadFile(log.Name())
			t.Logf("containerd said:\n%s", b)
		}
	})
	return dir
}

// The guest's root is its initrd, from which nothing can pivot.
const containerdConfig = `version = 3
root = '%[1]s/root'
state = '%[1]s/state'
imports = []
disabled_plugins = ['io.containerd.internal.v1.tracing', 'io.containerd.tracing.processor.v1.otlp', 'io.containerd.snapshotter.v1.devmapper',
  'io.containerd.snapshotter.v1.zfs', 'io.containerd.snapshotter.v1.erofs', 'io.containerd.snapshotter.v1.blockfile', 'io.containerd.differ.v1.erofs']
[grpc]
  address = '%[1]s/containerd.sock'
[plugins.'io.containerd.cri.v1.images']
  snapshotter = 'native'
[plugins.'io.containerd.cri.v1.images'.pinned_images]
  sandbox = '%[2]s'
[plugins.'io.containerd.cri.v1.runtime']
  disable_apparmor = true
  restrict_oom_score_adj = true
  enable_unprivileged_ports = false
  enable_unprivileged_icmp = false
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
  runtime_type = 'io.containerd.runc.v2'
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
  BinaryName = '/bin/runc'
  NoPivotRoot = true
  SystemdCgroup = false
[plugins.'io.containerd.cri.v1.runtime'.cni]
  bin_dirs = ['%[1]s/cnibin']
  conf_dir = '%[1]s/cni'
[plugins.'io.containerd.nri.v1.nri']
  disable = false
  socket_path = '%[1]s/nri.sock'
  plugin_path = '%[1]s/plugins'
  plugin_config_path = '%[1]s/pluginconfig'
  plugin_request_timeout = '60s'
  plugin_registration_timeout = '60s'
`

func connect(t *testing.T, dir string) cri.RuntimeServiceClient {
	t.Helper()
	conn, err := grpc.NewClient("unix://"+filepath.Join(dir, "containerd.sock"), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	runtime := cri.NewRuntimeServiceClient(conn)
	until(t, "containerd", func() bool {
		_, err := runtime.Version(t.Context(), &cri.VersionRequest{})
		return err == nil
	})
	return runtime
}

func importImages(t *testing.T, dir string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	guestimage.Import(t, filepath.Join(dir, "containerd.sock"), "native", map[string]string{pauseImage: "/bin/pause", workImage: self})
}

// startHook runs the hook until the test ends, and waits until the runtime has synchronized it.
func startHook(t *testing.T, dir string, host cgroup.Host) {
	t.Helper()
	hook := runtimehook.New(runtimehook.Options{
		SocketPath: filepath.Join(dir, "nri.sock"), Enforce: true, CgroupsPath: host.BatchContainerPath, ContainerQuota: true, PIDs: 4096,
		Timeout: time.Minute, Fallback: runtimehook.Fallback{MilliCPU: 1000, MemoryBytes: 1 << 30}, Log: slog.New(slog.DiscardHandler),
	})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { hook.Run(ctx); close(done) }()
	t.Cleanup(func() { cancel(); <-done })
	until(t, "the hook to connect", hook.Connected)
}
