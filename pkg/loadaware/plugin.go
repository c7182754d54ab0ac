// Package loadaware is the kube-scheduler plugin LoadAware: it scores nodes by what they really use,
// as measured and published by their agents in NodeUtilization, instead of by what pods request.
//
// It scores; it never filters, so it cannot keep a pod from being scheduled. A node whose measurement
// is missing or stale is scored by requests on the same curve.
//
// The score of a node for a pod, with everything in milli-cores:
//
//	safe  = safeCPUPercent/100 x allocatable CPU of the node
//	load  = measured use + estimate of the pods not yet measured + estimate of this pod
//	score = 100 x (1 - load/safe), cut off at 0 and 100
//
// For a batch pod the measured use is that of the whole node. For every other pod it leaves batch
// out, since batch gives way to it: the node's use minus that of the class Batch. The estimate of a
// pod is its request (at least the scheduler's 100 milli-cores for a container that names none); the
// estimate of a placed pod fades in proportion to the time it has been measured, and is gone at
// maturityMilliseconds.
//
// Units: milli-cores (MilliCPU), bytes, milliseconds; times by the scheduler's clock unless said otherwise.
//
// The trap: everything a scheduling cycle reads comes from one Snapshot, loaded once in PreFilter.
// Loading the store again in Score would compare nodes by measurements of different moments.
package loadaware

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"

	"github.com/plimsoll/plimsoll/pkg/api/v1alpha1"
)

// Name is the plugin's name in a scheduler's configuration.
const Name = "LoadAware"

// stateKey is where PreFilter leaves what Score needs.
const stateKey fwk.StateKey = Name

var (
	_ fwk.PreFilterPlugin = &Plugin{}
	_ fwk.ScorePlugin     = &Plugin{}
	_ fwk.SignPlugin      = &Plugin{}
)

// Plugin is LoadAware for one profile of the scheduler.
type Plugin struct {
	args     v1alpha1.LoadAwareArgs
	snapshot *atomic.Pointer[Snapshot]
	now      func() time.Time
}

// Factory builds the plugin for each profile of one scheduler. The profiles differ in their arguments and
// share one watch of NodeUtilization.
type Factory struct {
	mu    sync.Mutex
	store *store // nil until the first profile is built
}

// New builds the plugin for a profile from its arguments; a scheduler registers it under Name. The
// first call starts the watch, which lasts until its ctx ends. No call waits for measurements.
func (f *Factory) New(ctx context.Context, args runtime.Object, handle fwk.Handle) (fwk.Plugin, error) {
	a, err := parseArgs(args, handle.ProfileName())
	if err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.store == nil {
		client, err := newRESTClient(handle.KubeConfig())
		if err != nil {
			return nil, fmt.Errorf("building the client for NodeUtilization: %w", err)
		}
		logger := klog.LoggerWithName(klog.FromContext(ctx), Name)
		f.store = newStore(logger, time.Now)
		go watch(klog.NewContext(ctx, logger), client, f.store)
	}
	return &Plugin{args: *a, snapshot: &f.store.current, now: time.Now}, nil
}

// Name returns the plugin's name.
func (p *Plugin) Name() string { return Name }

// cycle is what all nodes of one scheduling cycle are scored from. It never changes.
type cycle struct {
	snapshot *Snapshot
	now      time.Time
	pod      podNeed
}

// Clone returns the cycle itself: nothing in it ever changes.
func (c *cycle) Clone() fwk.StateData { return c }

func (p *Plugin) newCycle(pod *corev1.Pod) *cycle {
	return &cycle{snapshot: p.snapshot.Load(), now: p.now(), pod: needOf(pod)}
}

// PreFilter takes the snapshot that this scheduling cycle works on. It excludes no node.
func (p *Plugin) PreFilter(_ context.Context, state fwk.CycleState, pod *corev1.Pod, _ []fwk.NodeInfo) (*fwk.PreFilterResult, *fwk.Status) {
	state.Write(stateKey, p.newCycle(pod))
	return nil, nil
}

// PreFilterExtensions is nil: the snapshot does not depend on pods that preemption adds or removes.
func (p *Plugin) PreFilterExtensions() fwk.PreFilterExtensions { return nil }

// Score rates the node for the pod from 0 (at or above the safe line) to 100 (idle).
func (p *Plugin) Score(_ context.Context, state fwk.CycleState, pod *corev1.Pod, nodeInfo fwk.NodeInfo) (int64, *fwk.Status) {
	var c *cycle
	if data, err := state.Read(stateKey); err == nil {
		c, _ = data.(*cycle)
	}
	if c == nil { // PreFilter is switched off in this profile
		c = p.newCycle(pod)
	}
	node := nodeInfo.Node()
	if node == nil {
		return 0, fwk.NewStatus(fwk.Error, "node of the scheduler's snapshot has no object")
	}
	view := c.snapshot.View(node.Name)
	if !view.fresh(c.now, time.Duration(p.args.StaleAfterSeconds)*time.Second) {
		view = nil
	}
	load := loadMilliCPU(view, nodeInfo.GetPods(), c.pod, p.args.MaturityMilliseconds)
	return score(load, nodeInfo.GetAllocatable().GetMilliCPU(), p.args.SafeCPUPercent), nil
}

// ScoreExtensions is nil: scores are absolute, so there is nothing to normalise.
func (p *Plugin) ScoreExtensions() fwk.ScoreExtensions { return nil }

// SignPod tells what of a pod its scores depend on. Without it the scheduler would switch batching
// off for every pod of the profile.
func (p *Plugin) SignPod(_ context.Context, pod *corev1.Pod) ([]fwk.SignFragment, *fwk.Status) {
	need := needOf(pod)
	return []fwk.SignFragment{
		{Key: v1alpha1.GroupName + "/LoadAware.Batch()", Value: need.batch},
		{Key: v1alpha1.GroupName + "/LoadAware.MilliCPU()", Value: need.milliCPU},
	}, nil
}
