package agent

import (
	"context"
	"fmt"
	"time"

	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/plimsoll/plimsoll/pkg/api/v1alpha1"
	"github.com/plimsoll/plimsoll/pkg/audit"
	"github.com/plimsoll/plimsoll/pkg/qos"
	"github.com/plimsoll/plimsoll/pkg/usage"
)

// evictTimeout bounds one request to the API server.
const evictTimeout = 10 * time.Second

// evictKnob is how an eviction is named among the changes of NodeUtilization.
const evictKnob = "evict"

// wantedEviction is an eviction that a strategy wants, and outcome what the API server made of it.
type wantedEviction struct {
	qos.Eviction
	strategy string
	inputs   map[string]string
}

type evictionOutcome struct {
	wantedEviction
	err error
}

// evictor asks the API server to evict pods, one at a time and beside the loop. The API server keeps to
// PodDisruptionBudgets and the pod's grace period.
type evictor struct {
	client  kubernetes.Interface
	waiting chan wantedEviction
	done    chan evictionOutcome
}

func newEvictor(kube *rest.Config) (*evictor, error) {
	client, err := kubernetes.NewForConfig(kube)
	if err != nil {
		return nil, fmt.Errorf("making a Kubernetes client: %w", err)
	}
	return &evictor{client: client, waiting: make(chan wantedEviction), done: make(chan evictionOutcome, 1)}, nil
}

// offer begins an eviction unless one is under way; the strategy asks again.
func (e *evictor) offer(w wantedEviction) {
	select {
	case e.waiting <- w:
	default:
	}
}

// run evicts until ctx ends.
func (e *evictor) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case w := <-e.waiting:
			select {
			case e.done <- evictionOutcome{w, e.evict(ctx, w.Pod)}:
			case <-ctx.Done():
				return
			}
		}
	}
}

func (e *evictor) evict(ctx context.Context, p qos.BatchPod) error {
	ctx, cancel := context.WithTimeout(ctx, evictTimeout)
	defer cancel()
	err := e.client.PolicyV1().Evictions(p.Namespace).Evict(ctx, &policyv1.Eviction{
		ObjectMeta: metav1.ObjectMeta{Namespace: p.Namespace, Name: p.Name},
		// Another pod of the same name has done nothing to deserve it.
		DeleteOptions: &metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: new(types.UID(p.UID))}},
	})
	if err != nil {
		return fmt.Errorf("evicting pod %s/%s: %w", p.Namespace, p.Name, err)
	}
	return nil
}

// evictAll begins what a plan wants to evict, or only tells of it.
func (a *actor) evictAll(s qos.State, strategy running, wanted []qos.Eviction) {
	for _, e := range wanted {
		if strategy.mode != v1alpha1.ModeEnforce || a.evictor == nil {
			a.record(s.Now, strategy.Name, evictionChange(e), v1alpha1.OutcomeObserved, "")
			continue
		}
		a.evictor.offer(wantedEviction{e, strategy.Name, inputsOf(s, qos.Change{Group: e.Pod.Group, Inputs: e.Inputs})})
	}
}

// settleEvictions tells of what became of evictions.
func (a *actor) settleEvictions(now time.Time) {
	if a.evictor == nil {
		return
	}
	select {
	case done := <-a.evictor.done:
		outcome, problem := v1alpha1.OutcomeApplied, ""
		if done.err != nil {
			outcome, problem = v1alpha1.OutcomeRefused, done.err.Error()
		} else {
			a.evicted++
		}
		if a.record(now, done.strategy, evictionChange(done.Eviction), outcome, problem) {
			a.auditor.eviction(now, done)
		}
	default:
	}
}

// evictionChange is an eviction as NodeUtilization tells of it.
func evictionChange(e qos.Eviction) qos.Change {
	return qos.Change{Group: e.Pod.Group, Knob: evictKnob, Value: clipText(e.Pod.Namespace+"/"+e.Pod.Name, 256), Reason: e.Reason}
}

// eviction records a pod that was evicted, or that could not be.
func (a *auditor) eviction(at time.Time, done evictionOutcome) {
	p := done.Pod
	e := audit.Entry{
		Time: at, Kind: audit.KindEviction, Node: a.node, Group: p.Group, Pod: fmt.Sprintf("%s/%s (%s)", p.Namespace, p.Name, p.UID),
		Strategy: done.strategy, Why: done.Reason, Inputs: done.inputs, ConfigHash: a.configHash,
	}
	if done.err != nil {
		e.Error = done.err.Error()
	}
	a.log.Append(e)
}

// batchPods is each batch pod that the API server has told of, and what its groups have used.
func (r reading) batchPods(u usage.Usage) []qos.BatchPod {
	var done map[usage.GroupKey]usage.Reading
	var out []qos.BatchPod
	for _, p := range r.Pods {
		if p.Info.Class != v1alpha1.ClassBatch || p.Info.Name == "" {
			continue
		}
		if done == nil {
			done = make(map[usage.GroupKey]usage.Reading, len(r.Sample.Groups))
			for _, g := range r.Sample.Groups {
				done[g.Key] = g.CPUMicros
			}
		}
		b := qos.BatchPod{UID: p.UID, Namespace: p.Info.Namespace, Name: p.Info.Name, Group: p.Key.Path, RequestMilliCPU: p.Info.Lent.MilliCPU}
		b.MilliCPU, b.CPUSomePermille, b.DoneCPUMicros = u.Groups[p.Key].MilliCPU, u.Groups[p.Key].CPUSomePermille, done[p.Key]
		for _, c := range p.BatchContainers { // in the branch: what is in the pod's own group is the sandbox
			b.MilliCPU = sum(b.MilliCPU, u.Groups[c].MilliCPU)
			b.DoneCPUMicros = sum(b.DoneCPUMicros, done[c])
			if some := u.Groups[c].CPUSomePermille; some.OK && (!b.CPUSomePermille.OK || some.Value > b.CPUSomePermille.Value) {
				b.CPUSomePermille = some
			}
		}
		out = append(out, b)
	}
	return out
}

// sum is known where both are.
func sum(a, b usage.Reading) usage.Reading {
	return usage.Reading{Value: a.Value + b.Value, OK: a.OK && b.OK}
}
