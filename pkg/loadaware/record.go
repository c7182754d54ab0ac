package loadaware

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/component-base/configz"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"

	"github.com/plimsoll/plimsoll/pkg/api/v1alpha1"
)

// The unmodified kube-scheduler lets a plugin add no handler to its port, but it serves all that is
// registered as configuration at /configz, behind its authentication and authorization, and a registered
// object is asked for its JSON at each request. So that is where the record of decisions is read.

// ConfigzName is the key under which the scheduler's /configz shows the record of decisions.
const ConfigzName = v1alpha1.GroupName + "/" + Name

const (
	maxRecords       = 256
	maxRecordedNodes = 16
	maxRefusedNodes  = 16
)

// Decision is what the plugin made of one scheduling cycle of a pod.
type Decision struct {
	Time      time.Time     `json:"time"`
	Profile   string        `json:"profile"`
	Mode      v1alpha1.Mode `json:"mode"`
	Namespace string        `json:"namespace"`
	Name      string        `json:"name"`
	UID       types.UID     `json:"uid"`
	Pod       Need          `json:"pod"`
	// Refused is how many nodes were refused, by reason; RefusedNodes names the first of them.
	Refused      map[string]int `json:"refused,omitempty"`
	RefusedNodes []RefusedNode  `json:"refusedNodes,omitempty"`
	// Considered is how many nodes were left; Nodes is the best of them by this plugin's score, best first.
	// None is scored if there was just one, or if the order of nodes was kept from a pod before that is alike.
	Considered int            `json:"considered"`
	Nodes      []NodeDecision `json:"nodes,omitempty"`
	// Node is where the pod went; empty if it went nowhere, or not yet.
	Node string `json:"node,omitempty"`
}

// Need is what the pod was expected to need.
type Need struct {
	Class           v1alpha1.Class `json:"class"`
	RequestMilliCPU int64          `json:"requestMilliCPU"`
	MedianMilliCPU  int64          `json:"medianMilliCPU"`
	PeakMilliCPU    int64          `json:"peakMilliCPU"`
	// HourlyPeakMilliCPU begins with the hour of the decision; absent where the time of day is not known.
	HourlyPeakMilliCPU []int32 `json:"hourlyPeakMilliCPU,omitempty"`
	MemoryBytes        int64   `json:"memoryBytes"`
	DurationSeconds    int64   `json:"durationSeconds,omitempty"`
}

// RefusedNode is a node that was refused, and why.
type RefusedNode struct {
	Node   string `json:"node"`
	Reason string `json:"reason"`
}

// NodeDecision is what the score of a node was made of.
type NodeDecision struct {
	Node  string `json:"node"`
	Score int64  `json:"score"` // after normalisation
	Prospect
}

// record is a Decision in the making.
type record struct {
	mu       sync.Mutex
	decision Decision
	feasible []fwk.NodeInfo // between PreScore and NormalizeScore
	// scored and explain are what decision.Nodes is made from, when it is read.
	scored   []scored
	explain  func(*outlook) Prospect
	waits    bool
	estimate int64 // of the pod's use
	compared bool  // with what was measured, which is done once
}

// scored is a node whose score is noted. What the score was made of is computed when it is read: nearly no record is.
type scored struct {
	node     string
	score    int64
	outlook  *outlook // nil where nothing was known of the node: then prospect says it
	prospect Prospect
}

// records is the last decisions.
type records struct {
	mu    sync.Mutex
	ring  [maxRecords]*record
	next  int
	byUID map[types.UID]*record
}

func newRecords() *records { return &records{byUID: map[types.UID]*record{}} }

// begin starts the record of a cycle.
func (r *records) begin(pod *corev1.Pod, p *Plugin, need *podNeed, now time.Time) *record {
	entry := &record{estimate: need.use.median, decision: Decision{
		Time: now, Profile: p.profile, Mode: p.args.Mode, Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID,
		Pod: Need{
			Class:           v1alpha1.ClassOf(pod.Labels, pod.Spec.PriorityClassName),
			RequestMilliCPU: need.requestMilliCPU, MedianMilliCPU: need.use.median, PeakMilliCPU: need.use.peak,
			MemoryBytes: need.memoryBytes, DurationSeconds: int64(need.duration.Seconds()),
		},
	}}
	if need.use.hourly != nil {
		entry.decision.Pod.HourlyPeakMilliCPU = need.use.hourly[:]
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if last := r.ring[r.next]; last != nil && r.byUID[last.decision.UID] == last {
		delete(r.byUID, last.decision.UID)
	}
	r.ring[r.next] = entry
	r.next = (r.next + 1) % maxRecords
	r.byUID[pod.UID] = entry
	return entry
}

// of is the newest record of the pod, or nil.
func (r *records) of(uid types.UID) *record {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.byUID[uid]
}

// refused notes a node that was refused. It reports whether it is the first.
func (e *record) refused(node string, why reason) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	d := &e.decision
	if d.Refused == nil {
		d.Refused = map[string]int{}
	}
	d.Refused[string(why)]++
	if len(d.RefusedNodes) < maxRefusedNodes {
		d.RefusedNodes = append(d.RefusedNodes, RefusedNode{Node: node, Reason: string(why)})
	}
	first := !e.waits
	e.waits = true
	return first
}

func (e *record) considered(nodes []fwk.NodeInfo) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.feasible, e.decision.Considered = nodes, len(nodes)
}

func (e *record) bound(node string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.decision.Node = node
}

// recordScores notes the best of the scored nodes; scores are raw.
func (p *Plugin) recordScores(c *cycle, scores fwk.NodeScoreList) {
	e := c.record
	e.mu.Lock()
	defer e.mu.Unlock()
	infos := e.feasible
	e.feasible = nil // not kept: it holds on to pods
	if len(infos) != len(scores) {
		return // the order of a pod before is being kept up to date: this record has its nodes, or none
	}
	best := bestOf(scores, maxRecordedNodes)
	span, high := spanOf(scores)
	e.scored = make([]scored, 0, len(best))
	for _, i := range best {
		node := infos[i].Node()
		if node == nil || node.Name != scores[i].Name {
			continue
		}
		noted := scored{node: node.Name, score: normal(scores[i].Score, high, span)}
		if noted.outlook = p.outlookOf(c, node, infos[i]); noted.outlook == nil || !noted.outlook.known {
			noted.outlook, noted.prospect = nil, p.byRequests(&c.need, infos[i])
		}
		e.scored = append(e.scored, noted)
	}
	// Without the Snapshot, which holds on to all Views of its time.
	judged := *c
	judged.snapshot, judged.record = nil, nil
	e.explain = func(o *outlook) Prospect { return p.foreseen(o, &judged.need, nil, &judged) }
}

// nodes is what the scores that are noted were made of, best first, computed anew at each reading of the record.
func (e *record) nodes() []NodeDecision {
	out := make([]NodeDecision, 0, len(e.scored))
	for i := range e.scored {
		noted := &e.scored[i]
		d := NodeDecision{Node: noted.node, Score: noted.score, Prospect: noted.prospect}
		if noted.outlook != nil {
			d.Prospect = e.explain(noted.outlook)
		}
		out = append(out, d)
	}
	return out
}

// bestOf is the indices of the n highest scores, highest first.
func bestOf(scores fwk.NodeScoreList, n int) []int {
	best := make([]int, 0, n+1)
	for i := range scores {
		if len(best) == n && scores[i].Score <= scores[best[n-1]].Score {
			continue
		}
		at, _ := slices.BinarySearchFunc(best, scores[i].Score, func(b int, score int64) int {
			return cmp.Or(cmp.Compare(score, scores[b].Score), -1) // behind its equals
		})
		best = slices.Insert(best, at, i)
		if len(best) > n {
			best = best[:n]
		}
	}
	return best
}

// copies is the decisions, oldest first.
func (r *records) copies() []Decision {
	r.mu.Lock()
	entries := slices.Concat(r.ring[r.next:], r.ring[:r.next])
	r.mu.Unlock()
	var out []Decision
	for _, e := range entries {
		if e == nil {
			continue
		}
		e.mu.Lock()
		d := e.decision
		d.RefusedNodes = slices.Clone(d.RefusedNodes)
		d.Refused = make(map[string]int, len(d.Refused))
		maps.Copy(d.Refused, e.decision.Refused)
		d.Nodes = e.nodes()
		e.mu.Unlock()
		out = append(out, d)
	}
	return out
}

// Record is what /configz shows under ConfigzName.
type Record struct {
	metav1.TypeMeta `json:",inline"`
	Decisions       []Decision `json:"decisions"` // oldest first
}

// KindRecord is the kind of a Record.
const KindRecord = "LoadAwareRecord"

// served makes records an object that can be registered.
type served struct {
	metav1.TypeMeta
	records *records
}

var _ runtime.Object = &served{}

// DeepCopyObject returns the object itself, which only refers to the records.
func (s *served) DeepCopyObject() runtime.Object { return s }

// MarshalJSON is called at each request.
func (s *served) MarshalJSON() ([]byte, error) {
	return json.Marshal(Record{TypeMeta: s.TypeMeta, Decisions: s.records.copies()})
}

// serve makes the record readable on the scheduler's port.
func (r *records) serve(logger klog.Logger) {
	c, err := configz.New(ConfigzName)
	if err == nil {
		object := &served{metav1.TypeMeta{APIVersion: v1alpha1.APIVersion, Kind: KindRecord}, r}
		switch set := any(c).(type) {
		case interface {
			Set(object runtime.Object) error
		}:
			err = set.Set(object)
		case interface{ Set(object any) }: // until Kubernetes 1.35
			set.Set(object)
		default:
			err = fmt.Errorf("%T has no Set that is known", c)
		}
	}
	if err != nil { // two schedulers in one process, as in tests: the first one's record is served
		logger.Info("The record of decisions is not served", "err", err)
	}
}
