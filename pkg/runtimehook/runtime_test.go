package runtimehook

import (
	"context"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/containerd/nri/pkg/adaptation"
	"github.com/containerd/nri/pkg/api"
	"github.com/containerd/nri/pkg/stub"
	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/plimsoll/plimsoll/pkg/api/v1alpha1"
)

// aRuntime is the runtime's side of NRI, the one that containerd and CRI-O run, on a socket of its own,
// without a runtime behind it.
type aRuntime struct {
	*adaptation.Adaptation
	socket string
	pods   []*api.PodSandbox

	mu         sync.Mutex
	containers []*api.Container
	// updates are what plugins asked for, at Synchronize or without being asked.
	updates []*api.ContainerUpdate
}

func startRuntime(t testing.TB, dir string, containers ...*api.Container) *aRuntime {
	t.Helper()
	r := &aRuntime{socket: filepath.Join(dir, "nri.sock"), pods: []*api.PodSandbox{batchPod(), onlinePod()}, containers: containers}
	keep := func(updates []*api.ContainerUpdate) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.updates = append(r.updates, updates...)
	}
	var err error
	r.Adaptation, err = adaptation.New("test", "1", func(ctx context.Context, ask adaptation.SyncCB) error {
		updates, err := ask(ctx, r.pods, r.containers)
		keep(updates)
		return err
	}, func(_ context.Context, updates []*api.ContainerUpdate) ([]*api.ContainerUpdate, error) {
		keep(updates)
		return nil, nil
	}, adaptation.WithSocketPath(r.socket), adaptation.WithPluginPath(dir), adaptation.WithPluginConfigPath(dir))
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Start(); err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *aRuntime) asked() []*api.ContainerUpdate {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.updates
}

func (r *aRuntime) create(t testing.TB, pod *api.PodSandbox, id string) (*api.ContainerAdjustment, error) {
	t.Helper()
	answer, err := r.CreateContainer(t.Context(), &api.CreateContainerRequest{Pod: pod, Container: &api.Container{Id: id, PodSandboxId: pod.Id, Name: "work"}})
	return answer.GetAdjust(), err
}

func batchPod() *api.PodSandbox {
	return &api.PodSandbox{Id: "s1", Uid: "u1", Namespace: "ns", Name: "batch", Labels: map[string]string{v1alpha1.ClassLabel: v1alpha1.BatchLabelValue},
		Annotations: map[string]string{v1alpha1.BatchResourcesAnnotation: `{"work":{"milliCPU":500,"memoryBytes":1073741824,"limitMilliCPU":1500}}`}}
}

func onlinePod() *api.PodSandbox {
	return &api.PodSandbox{Id: "s2", Uid: "u2", Namespace: "ns", Name: "online"}
}

// socketDir is short enough for a socket's path.
func socketDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "nri-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// runHook runs a hook until the test ends, and waits until the runtime asks it.
func runHook(t testing.TB, r *aRuntime, change func(*Options)) *Hook {
	t.Helper()
	o := testOptions()
	o.SocketPath = r.socket
	if change != nil {
		change(&o)
	}
	h := New(o)
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { h.Run(ctx); close(done) }()
	t.Cleanup(func() { stop(); <-done })
	r.waitToAsk(t, h)
	return h
}

// waitToAsk waits until the runtime asks the hook, which is a moment after it has synchronized it.
func (r *aRuntime) waitToAsk(t testing.TB, h *Hook) {
	t.Helper()
	until(t, "the hook to connect", h.Connected)
	until(t, "the runtime to ask the hook", func() bool {
		_, err := r.create(t, onlinePod(), "asked")
		_, asked := h.PodOf("asked")
		return err == nil && asked
	})
}

func until(t testing.TB, what string, condition func() bool) {
	t.Helper()
	err := wait.PollUntilContextTimeout(t.Context(), time.Millisecond, 20*time.Second, true, func(context.Context) (bool, error) { return condition(), nil })
	if err != nil {
		t.Fatalf("waiting for %s: %v", what, err)
	}
}

func TestABatchContainerIsBoundedAtItsCreation(t *testing.T) {
	r := startRuntime(t, socketDir(t))
	defer r.Stop()
	runHook(t, r, nil)
	adjust, err := r.create(t, batchPod(), "c1")
	if err != nil {
		t.Fatal(err)
	}
	resources := adjust.GetLinux().GetResources()
	got := map[string]any{
		"path": adjust.GetLinux().GetCgroupsPath(), "shares": resources.GetCpu().GetShares().GetValue(), "quota": resources.GetCpu().GetQuota().GetValue(),
		"period": resources.GetCpu().GetPeriod().GetValue(), "memory": resources.GetMemory().GetLimit().GetValue(), "pids": resources.GetPids().GetLimit(),
	}
	want := map[string]any{"path": "/kubepods/plimsoll-batch/c1", "shares": uint64(512), "quota": int64(150_000), "period": uint64(100_000), "memory": int64(1 << 30), "pids": int64(99)}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("adjustment (-want +got):\n%s", d)
	}
	if adjust, err = r.create(t, onlinePod(), "c2"); err != nil || adjust.GetLinux().GetCgroupsPath() != "" || adjust.GetLinux().GetResources().GetCpu().GetShares() != nil {
		t.Errorf("an online container was adjusted: %v, %v", adjust, err)
	}
}

// rival is another plugin, which sets fields of its own choice.
type rival struct {
	adjust func(*api.ContainerAdjustment)
}

func (r *rival) CreateContainer(context.Context, *api.PodSandbox, *api.Container) (*api.ContainerAdjustment, []*api.ContainerUpdate, error) {
	a := &api.ContainerAdjustment{}
	r.adjust(a)
	return a, nil, nil
}

func (r *rival) Synchronize(context.Context, []*api.PodSandbox, []*api.Container) ([]*api.ContainerUpdate, error) {
	return nil, nil
}

func startRival(t *testing.T, socket string, adjust func(*api.ContainerAdjustment)) {
	t.Helper()
	s, err := stub.New(&rival{adjust}, stub.WithPluginName("rival"), stub.WithPluginIdx("10"), stub.WithSocketPath(socket))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
}

func TestTwoPluginsThatAdjustOneFieldDoNotBlockAPod(t *testing.T) {
	for name, tc := range map[string]struct {
		adjust func(*api.ContainerAdjustment)
		// failures is how often the creation fails before it goes on with less.
		failures int
		wantPath string
	}{
		"a limit":   {func(a *api.ContainerAdjustment) { a.SetLinuxCPUShares(7) }, 1, "/kubepods/plimsoll-batch/c1"},
		"the place": {func(a *api.ContainerAdjustment) { a.SetLinuxCgroupsPath("/elsewhere") }, 2, "/elsewhere"},
	} {
		t.Run(name, func(t *testing.T) {
			r := startRuntime(t, socketDir(t))
			defer r.Stop()
			startRival(t, r.socket, tc.adjust)
			h := runHook(t, r, nil)
			// The kubelet tries again with another ID each time.
			for _, id := range []string{"c3", "c2"}[:tc.failures] {
				if _, err := r.create(t, batchPod(), id); err == nil || !strings.Contains(err.Error(), "rival") {
					t.Fatalf("creation %s: %v, want a conflict with the other plugin", id, err)
				}
				// containerd undoes what it could not create by telling that it is gone.
				if err := r.RemoveContainer(t.Context(), &api.RemoveContainerRequest{Pod: batchPod(), Container: &api.Container{Id: id, PodSandboxId: "s1", Name: "work"}}); err != nil {
					t.Fatal(err)
				}
			}
			adjust, err := r.create(t, batchPod(), "c1")
			if err != nil {
				t.Fatalf("the pod is blocked: %v", err)
			}
			if got := adjust.GetLinux().GetCgroupsPath(); got != tc.wantPath {
				t.Errorf("cgroups path %s, want %s", got, tc.wantPath)
			}
			container := &api.Container{Id: "c1", PodSandboxId: "s1", Name: "work"}
			if err := r.PostCreateContainer(t.Context(), &api.PostCreateContainerRequest{Pod: batchPod(), Container: container}); err != nil {
				t.Fatal(err)
			}
			if !h.Reduced("c1") {
				t.Error("the container does not count as one that was not bounded at its creation")
			}
			if err := r.PostStartContainer(t.Context(), &api.PostStartContainerRequest{Pod: batchPod(), Container: container}); err != nil {
				t.Fatal(err)
			}
			until(t, "the limits to follow the start", func() bool { return len(r.asked()) == 1 })
			if u := r.asked()[0]; u.GetContainerId() != "c1" || u.GetLinux().GetResources().GetMemory().GetLimit().GetValue() != 1<<30 || u.GetLinux().GetResources().GetCpu().GetQuota().GetValue() != 150_000 {
				t.Errorf("update %v", u)
			}
			if got := h.Conflict(); !strings.Contains(got, "ns/batch") || !strings.Contains(got, "another NRI plugin") {
				t.Errorf("conflict %q", got)
			}
			if err := r.RemoveContainer(t.Context(), &api.RemoveContainerRequest{Pod: batchPod(), Container: container}); err != nil {
				t.Fatal(err)
			}
			if got := h.Conflict(); got != "" || h.Reduced("c1") {
				t.Errorf("conflict %q after the container is gone", got)
			}
		})
	}
}

func TestContainersThatRunAlreadyAreBounded(t *testing.T) {
	b, _ := testOptions().boundsOf(batchPod(), &api.Container{Name: "work"})
	held := &api.ContainerAdjustment{}
	b.adjust(held)
	running := func(id, sandbox string, state api.ContainerState, r *api.LinuxResources) *api.Container {
		return &api.Container{Id: id, PodSandboxId: sandbox, Name: "work", State: state, Linux: &api.LinuxContainer{Resources: r}}
	}
	r := startRuntime(t, socketDir(t),
		running("unbounded", "s1", api.ContainerState_CONTAINER_RUNNING, nil),
		running("paused", "s1", api.ContainerState_CONTAINER_PAUSED, nil),
		running("bounded", "s1", api.ContainerState_CONTAINER_RUNNING, held.GetLinux().GetResources()),
		running("ended", "s1", api.ContainerState_CONTAINER_STOPPED, nil),
		running("online", "s2", api.ContainerState_CONTAINER_RUNNING, nil))
	defer r.Stop()
	h := runHook(t, r, nil)
	until(t, "two updates", func() bool { return len(r.asked()) >= 2 })
	got := map[string]int64{}
	for _, u := range r.asked() {
		got[u.GetContainerId()] = u.GetLinux().GetResources().GetMemory().GetLimit().GetValue()
	}
	if d := cmp.Diff(map[string]int64{"unbounded": 1 << 30, "paused": 1 << 30}, got); d != "" {
		t.Errorf("memory limits set (-want +got):\n%s", d)
	}
	if ref, ok := h.PodOf("online"); !ok || ref.Name != "online" {
		t.Errorf("pod of a container that ran already: %v, %v", ref, ok)
	}
}

func TestContainersThatTheLoopBoundsAreLeftToIt(t *testing.T) {
	r := startRuntime(t, socketDir(t), &api.Container{Id: "unbounded", PodSandboxId: "s1", Name: "work", State: api.ContainerState_CONTAINER_RUNNING})
	defer r.Stop()
	h := runHook(t, r, func(o *Options) { o.LeaveExisting = true })
	if _, ok := h.PodOf("unbounded"); !ok || len(r.asked()) != 0 {
		t.Errorf("known: %v, updates %v, want the container known and left alone", ok, r.asked())
	}
}

// lose puts itself between the hook and the runtime, and returns what cuts every connection, as when the
// runtime's process ends: by itself the runtime's side never lets go.
func lose(t *testing.T, r *aRuntime) (cut func()) {
	t.Helper()
	behind := r.socket
	r.socket = behind + ".front"
	listener, err := net.Listen("unix", r.socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	var mu sync.Mutex
	var open []net.Conn
	go func() {
		for {
			front, err := listener.Accept()
			if err != nil {
				return
			}
			back, err := net.Dial("unix", behind)
			if err != nil {
				_ = front.Close()
				continue
			}
			mu.Lock()
			open = append(open, front, back)
			mu.Unlock()
			go func() { _, _ = io.Copy(back, front); _ = back.Close() }()
			go func() { _, _ = io.Copy(front, back); _ = front.Close() }()
		}
	}()
	return func() {
		mu.Lock()
		defer mu.Unlock()
		for _, c := range open {
			_ = c.Close()
		}
		open = nil
	}
}

func TestTheHookConnectsAgain(t *testing.T) {
	r := startRuntime(t, socketDir(t))
	defer r.Stop()
	cut := lose(t, r)
	h := runHook(t, r, nil)
	cut()
	until(t, "the loss to be noticed", func() bool { return !h.Connected() })
	r.waitToAsk(t, h)
	if adjust, err := r.create(t, batchPod(), "c1"); err != nil || adjust.GetLinux().GetCgroupsPath() == "" {
		t.Errorf("a batch container after the connection was lost: %v, %v", adjust, err)
	}
}

func TestAStuckHookDelaysNobodyForLong(t *testing.T) {
	r := startRuntime(t, socketDir(t))
	defer r.Stop()
	release := make(chan struct{})
	defer close(release) // the hook is stuck until both creations are over
	stuck := func(string, string) string { <-release; return "" }
	runHook(t, r, func(o *Options) { o.CgroupsPath, o.Timeout = stuck, 50*time.Millisecond })
	if _, err := r.create(t, batchPod(), "c1"); err == nil || !strings.Contains(err.Error(), "must not run unbounded") {
		t.Errorf("a batch container that could not be bounded: %v", err)
	}
	if _, err := r.create(t, onlinePod(), "c2"); err != nil {
		t.Errorf("an online container: %v", err)
	}
}

func TestABatchContainerStartsAfterTheBranchWasSeenTo(t *testing.T) {
	r := startRuntime(t, socketDir(t))
	defer r.Stop()
	var asked atomic.Int32
	runHook(t, r, func(o *Options) {
		o.Timeout = 50 * time.Millisecond
		o.BeforeStart = func(ctx context.Context) {
			if asked.Add(1) == 2 {
				<-ctx.Done() // stuck
			}
		}
	})
	start := func(pod *api.PodSandbox) {
		t.Helper()
		if err := r.StartContainer(t.Context(), &api.StartContainerRequest{Pod: pod, Container: &api.Container{Id: "c1", PodSandboxId: pod.Id, Name: "work"}}); err != nil {
			t.Errorf("a container does not start: %v", err)
		}
	}
	for want, pod := range []*api.PodSandbox{onlinePod(), batchPod(), batchPod()} {
		start(pod)
		if got := asked.Load(); int(got) != want {
			t.Errorf("start %d: asked %d times, want %d", want+1, got, want)
		}
	}
}

func TestTheRuntimeAsksBeforeAStartOnlyWhoHasSomethingToDoThen(t *testing.T) {
	for name, row := range map[string]struct {
		change func(*Options)
		want   bool
	}{
		"nothing to do":    {func(*Options) {}, false},
		"only looks on":    {func(o *Options) { o.Enforce, o.BeforeStart = false, func(context.Context) {} }, false},
		"keeps the branch": {func(o *Options) { o.BeforeStart = func(context.Context) {} }, true},
	} {
		o := testOptions()
		row.change(&o)
		if _, got := newPlugin(New(o)).(stub.StartContainerInterface); got != row.want {
			t.Errorf("%s: asked is %v, want %v", name, got, row.want)
		}
	}
}

func testOptions() Options {
	return Options{
		Enforce: true, ContainerQuota: true, PIDs: 99, Timeout: 10 * time.Second, Fallback: Fallback{MilliCPU: 700, MemoryBytes: 1 << 28},
		CgroupsPath: func(id, _ string) string { return "/kubepods/plimsoll-batch/" + id },
		Log:         slog.New(slog.DiscardHandler),
	}
}
