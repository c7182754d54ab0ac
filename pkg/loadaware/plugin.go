// Package loadaware is the kube-scheduler plugin LoadAware: it places pods by what nodes really use and will
// use, as measured and published by their agents in NodeUtilization, instead of by what pods request.
//
// For a latency-sensitive pod, batch use counts as free: batch gives way. A node is refused that would
// exceed its limit, and the others are scored by how likely and how far use will exceed the safe line.
// For a batch pod the score is the room that stays below the safe line for as long as the pod runs. A node
// of which there is no measurement, or an old one, is scored by requests on the same curve.
//
// Units: milli-cores (MilliCPU), bytes, milliseconds; times by the scheduler's clock unless said otherwise.
// The formulas stand above the functions in score.go and outlook.go.
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

// stateKey is where PreFilter leaves what the other extension points need.
const stateKey fwk.StateKey = Name

var (
	_ fwk.PreFilterPlugin   = &Plugin{}
	_ fwk.FilterPlugin      = &Plugin{}
	_ fwk.PreScorePlugin    = &Plugin{}
	_ fwk.ScorePlugin       = &Plugin{}
	_ fwk.ScoreExtensions   = &Plugin{}
	_ fwk.PostBindPlugin    = &Plugin{}
	_ fwk.SignPlugin        = &Plugin{}
	_ fwk.EnqueueExtensions = &Plugin{}
)

// Plugin is LoadAware for one profile of the scheduler.
type Plugin struct {
	args                      v1alpha1.LoadAwareArgs
	fresh, stale, batchMaxAge time.Duration
	profile                   string
	index                     int // of this profile in View.outlooks

	snapshot *atomic.Pointer[Snapshot]
	history  *history
	records  *records
	waiting  *waiting
	metrics  *metrics
	now      func() time.Time
	start    time.Time // that since counts from
	shortcut *shortcut
	latest   atomic.Pointer[latestCycle]
}

// latestCycle is the cycle that was begun last, and whose it is: most reads are of it, and this one is
// quicker than the framework's.
type latestCycle struct {
	state fwk.CycleState
	cycle *cycle
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
		logger := klog.LoggerWithName(klog.FromContext(ctx), Name)
		s := newStore(logger, time.Now)
		client, err := newRESTClient(handle.KubeConfig(), func(date time.Time) { s.server.dated(date, s.now()) })
		if err != nil {
			return nil, fmt.Errorf("building the client for NodeUtilization: %w", err)
		}
		f.store = s
		f.store.metrics.register(logger)
		f.store.records.serve(logger)
		go follow(klog.NewContext(ctx, logger), client, f.store)
	}
	p := newPlugin(*a, handle.ProfileName(), f.store, time.Now)
	p.waiting.activator = handle
	return p, nil
}

// newPlugin is a profile on a store.
func newPlugin(args v1alpha1.LoadAwareArgs, profile string, s *store, now func() time.Time) *Plugin {
	p := &Plugin{
		args: args, profile: profile,
		fresh:       time.Duration(min(args.FreshSeconds, args.StaleAfterSeconds)) * time.Second,
		stale:       time.Duration(args.StaleAfterSeconds) * time.Second,
		batchMaxAge: time.Duration(args.BatchMaxAgeSeconds) * time.Second,
		snapshot:    &s.current, history: s.history, records: s.records, metrics: s.metrics,
		now: now, start: now(), shortcut: &shortcut{},
	}
	p.waiting = newWaiting(p)
	p.index = s.join(p)
	return p
}

// Name returns the plugin's name.
func (p *Plugin) Name() string { return Name }

// cycle is what all nodes of one scheduling cycle are judged by. It never changes; what is recorded of the
// cycle does.
type cycle struct {
	snapshot *Snapshot
	now      time.Time
	unixNano int64 // now
	since    int64 // now, by the plugin's own clock
	need     podNeed
	lastHour int // of a batch pod, from the present hour on
	record   *record
}

// Clone returns the cycle itself: nothing in it ever changes.
func (c *cycle) Clone() fwk.StateData { return c }

func (p *Plugin) newCycle(pod *corev1.Pod) *cycle {
	now := p.now()
	c := &cycle{snapshot: p.snapshot.Load(), now: now, unixNano: now.UnixNano(), since: p.since(now), need: p.needOf(pod, now)}
	c.lastHour = lastHour(c.need.duration, now)
	c.record = p.records.begin(pod, p, &c.need, now)
	return c
}

// cycleOf is what PreFilter left, or a new cycle where PreFilter is switched off in the profile.
func (p *Plugin) cycleOf(state fwk.CycleState, pod *corev1.Pod) *cycle {
	if latest := p.latest.Load(); latest != nil && latest.state == state {
		return latest.cycle
	}
	if data, err := state.Read(stateKey); err == nil {
		if c, ok := data.(*cycle); ok {
			return c
		}
	}
	return p.begin(state, pod)
}

// begin begins the cycle that state is of.
func (p *Plugin) begin(state fwk.CycleState, pod *corev1.Pod) *cycle {
	c := p.newCycle(pod)
	state.Write(stateKey, c)
	p.latest.Store(&latestCycle{state, c})
	return c
}

// since is a time as nanoseconds of the plugin's own clock, which never leaps.
func (p *Plugin) since(t time.Time) int64 { return int64(t.Sub(p.start)) }

// PreFilter takes the snapshot that this scheduling cycle works on. It excludes no node.
func (p *Plugin) PreFilter(_ context.Context, state fwk.CycleState, pod *corev1.Pod, _ []fwk.NodeInfo) (*fwk.PreFilterResult, *fwk.Status) {
	p.begin(state, pod)
	return nil, nil
}

// PreFilterExtensions is nil: what pods are on a node is read from the NodeInfo at hand.
func (p *Plugin) PreFilterExtensions() fwk.PreFilterExtensions { return nil }

// Filter refuses a node that would be overloaded, and for batch pods one that is not known well enough.
// No refusal is resolved by preemption: nobody's pod is evicted because a node is busy.
func (p *Plugin) Filter(_ context.Context, state fwk.CycleState, pod *corev1.Pod, nodeInfo fwk.NodeInfo) *fwk.Status {
	node := nodeInfo.Node()
	if node == nil {
		return noNode()
	}
	c := p.cycleOf(state, pod)
	if p.shortcut.admits(nodeInfo.GetGeneration(), c, p) {
		return nil
	}
	o := p.outlookOf(c, node, nodeInfo)
	why := p.refuse(o, &c.need, c.since)
	if why == reasonNone {
		return nil
	}
	first := c.record.refused(node.Name, why)
	p.metrics.refused(p.profile, why)
	if p.args.Mode == v1alpha1.ModeObserve {
		return nil
	}
	if first {
		p.waiting.add(pod, &c.need, c.now)
	}
	return fwk.NewStatus(fwk.UnschedulableAndUnresolvable, why.message())
}

// PreScore notes the nodes between which the scores decide.
func (p *Plugin) PreScore(_ context.Context, state fwk.CycleState, pod *corev1.Pod, nodes []fwk.NodeInfo) *fwk.Status {
	p.cycleOf(state, pod).record.considered(nodes)
	return nil
}

// Score rates the node for the pod from 0 to maxRaw.
func (p *Plugin) Score(_ context.Context, state fwk.CycleState, pod *corev1.Pod, nodeInfo fwk.NodeInfo) (int64, *fwk.Status) {
	node := nodeInfo.Node()
	if node == nil {
		return 0, noNode()
	}
	c := p.cycleOf(state, pod)
	if c.need.batch {
		if l, ok := p.shortcut.batchLoad(nodeInfo.GetGeneration(), c); ok {
			return p.batchUnderLoad(&l, &c.need, c).Raw, nil
		}
	} else if c.need.use.hourly == nil {
		if l, ok := p.shortcut.load(nodeInfo.GetGeneration(), c); ok {
			return p.underLoad(&l, l.few[:l.fewCount], &c.need, c).Raw, nil
		}
	}
	o := p.outlookOf(c, node, nodeInfo)
	return p.foreseen(o, &c.need, nodeInfo, c).Raw, nil
}

// ScoreExtensions returns the plugin: its raw scores are finer than the framework's.
func (p *Plugin) ScoreExtensions() fwk.ScoreExtensions { return p }

// NormalizeScore brings the scores to the framework's range and records them. In mode Observe it then makes
// them all alike.
func (p *Plugin) NormalizeScore(_ context.Context, state fwk.CycleState, pod *corev1.Pod, scores fwk.NodeScoreList) *fwk.Status {
	c := p.cycleOf(state, pod)
	p.recordScores(c, scores)
	normalise(scores)
	if p.args.Mode == v1alpha1.ModeObserve {
		for i := range scores {
			scores[i].Score = minScore
		}
	}
	return nil
}

// PostBind notes which node the pod went to.
func (p *Plugin) PostBind(_ context.Context, state fwk.CycleState, pod *corev1.Pod, node string) {
	c := p.cycleOf(state, pod)
	c.record.bound(node)
	p.waiting.remove(pod.UID)
	p.metrics.placed(p, c, node)
}

// SignPod tells what of a pod its scores depend on. Without it the scheduler would switch batching
// off for every pod of the profile.
func (p *Plugin) SignPod(_ context.Context, pod *corev1.Pod) ([]fwk.SignFragment, *fwk.Status) {
	const prefix = v1alpha1.GroupName + "/" + Name
	need := p.needOf(pod, p.now())
	fragments := []fwk.SignFragment{
		{Key: prefix + ".Batch()", Value: need.batch},
		{Key: prefix + ".MilliCPU()", Value: [3]int64{need.requestMilliCPU, need.use.median, need.use.peak}},
		{Key: prefix + ".MemoryBytes()", Value: need.memoryBytes},
	}
	if need.batch {
		fragments = append(fragments, fwk.SignFragment{Key: prefix + ".DurationSeconds()", Value: int64(need.duration.Seconds())})
	}
	if need.use.hourly != nil {
		fragments = append(fragments, fwk.SignFragment{Key: prefix + ".HourlyMilliCPU()", Value: *need.use.hourly})
	}
	return fragments, nil
}

func noNode() *fwk.Status {
	return fwk.NewStatus(fwk.Error, "node of the scheduler's snapshot has no object")
}

// message is what the user reads in the pod's condition.
func (r reason) message() string {
	switch r {
	case reasonCPU:
		return "node(s) would use more CPU than is safe"
	case reasonMemory:
		return "node(s) would use more memory than is safe"
	case reasonNoMeasurement:
		return "node(s) had no measurement, which batch pods need"
	case reasonStale:
		return "node(s) had no fresh measurement, which batch pods need"
	default:
		return string(r)
	}
}
