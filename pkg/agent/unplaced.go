package agent

import (
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"github.com/plimsoll/plimsoll/pkg/api/v1alpha1"
	"github.com/plimsoll/plimsoll/pkg/cgroup"
	"github.com/plimsoll/plimsoll/pkg/qos"
	"github.com/plimsoll/plimsoll/pkg/qos/batchbound"
	"github.com/plimsoll/plimsoll/pkg/runtimehook"
	"github.com/plimsoll/plimsoll/pkg/usage"
)

// batchPod is what the limits of a batch pod's containers are made of.
type batchPod struct {
	// Amounts are from the pod's annotation, by container; nil for a pod that was not converted.
	Amounts map[string]v1alpha1.BatchResources
	// Initial and Sidecars are the names of containers that run before the others, and beside them.
	Initial, Sidecars []string
	// Names are the containers' by ID, as far as the kubelet has told them.
	Names map[string]string
}

// limits is what bounds batch containers beside what the pod says.
type limits struct {
	Fallback runtimehook.Fallback
	PIDs     int64
	// Quota is true where containers in the batch branch have CPU quotas of their own.
	Quota bool
}

// unplaced is a group in a batch pod's own group.
type unplaced struct {
	Path   string
	Bounds qos.Bounds
}

// batchPod returns what the limits of a pod's containers are made of.
func (w *podWatch) batchPod(uid string) (batchPod, bool) {
	pod := w.first("uid", uid)
	if pod == nil {
		return batchPod{}, false
	}
	b := batchPod{Names: make(map[string]string, len(pod.Status.ContainerStatuses))}
	if annotation, ok := pod.Annotations[v1alpha1.BatchResourcesAnnotation]; ok {
		b.Amounts, _ = v1alpha1.ParseBatchResources(annotation) // one that cannot be read converts nothing
	}
	for _, c := range pod.Spec.InitContainers {
		if ptr.Deref(c.RestartPolicy, "") == corev1.ContainerRestartPolicyAlways {
			b.Sidecars = append(b.Sidecars, c.Name)
		} else {
			b.Initial = append(b.Initial, c.Name)
		}
	}
	for _, s := range pod.Status.ContainerStatuses {
		if id := idOf(s); id != "" {
			b.Names[id] = s.Name
		}
	}
	return b, true
}

// readUnplaced adds the groups of a batch pod that no hook bounds, with what each is to be held to and what it
// is held to. Where the hook is at work, those are containers that the kubelet names and that are in the pod's
// own group all the same: they were created before. Where it is not, they are all groups in the pod's, unless
// its containers were placed before the hook went.
func (s *sensor) readUnplaced(r *reading, p *pod, group cgroup.Pod, placed bool) {
	if p.Info.Class != v1alpha1.ClassBatch || len(s.knobs[qos.KindUnplaced]) == 0 {
		return
	}
	b, known := s.pods.batchPod(p.UID)
	if !known {
		return
	}
	inside := slices.ContainsFunc(group.Containers, func(c cgroup.Container) bool { return b.Names[c.ID] != "" })
	if !inside && (placed || s.placing()) {
		return
	}
	// A setting that cannot be read is asked for anew; the groups may be gone.
	if b.Amounts != nil && group.Tier == cgroup.BestEffort {
		p.Bounds = b.podBounds(s.limits)
		r.Settings[group.Path], _ = s.settings(group.Path, batchbound.PodKnobs())
	}
	for _, c := range group.Containers {
		if bounds := b.containerBounds(b.Names[c.ID], s.limits); bounds != nil {
			p.Unplaced = append(p.Unplaced, unplaced{c.Path, *bounds})
			r.Settings[c.Path], _ = s.settings(c.Path, batchbound.ContainerKnobs())
		}
	}
}

// readReduced adds what a container in the batch branch is to be held to that the hook could not bound.
func (s *sensor) readReduced(r *reading, p *pod, c cgroup.Container) {
	if len(s.knobs[qos.KindUnplaced]) == 0 || !s.reduced(c.ID) {
		return
	}
	b, known := s.pods.batchPod(p.UID)
	bounds := b.containerBounds(b.Names[c.ID], s.limits)
	if !known || bounds == nil {
		return
	}
	if !s.limits.Quota { // the branch has one
		bounds.QuotaMicros = 0
	}
	if p.Reduced == nil {
		p.Reduced = map[string]*qos.Bounds{}
	}
	p.Reduced[c.Path] = bounds
	r.Settings[c.Path], _ = s.settings(c.Path, batchbound.ContainerKnobs())
}

// podBounds is what the pod's own group is held to. A limit of tasks there is the kubelet's (podPidsLimit).
func (b batchPod) podBounds(l limits) *qos.Bounds {
	var initial, sidecars, others []batchbound.Amounts
	for name, r := range b.Amounts {
		switch a := batchbound.Amounts(r); {
		case slices.Contains(b.Initial, name):
			initial = append(initial, a)
		case slices.Contains(b.Sidecars, name):
			sidecars = append(sidecars, a)
		default:
			others = append(others, a)
		}
	}
	most := batchbound.Of(batchbound.OfPod(initial, sidecars, others), l.PIDs*int64(len(b.Amounts)))
	return &qos.Bounds{QuotaMicros: most.QuotaMicros, MemoryBytes: most.MemoryBytes, PIDs: most.PIDs, Yields: []qos.Knob{qos.PIDsMax},
		Reason: "no runtime hook bounded this batch pod: " + v1alpha1.BatchResourcesAnnotation + " of all its containers"}
}

// containerBounds is what a group in the pod's is held to; nil where the pod's own group alone bounds it. Its
// name is empty while it is not known, and for the sandbox: then it is held to the largest that any container of
// the pod has, which for a pod of one container is what that one has. Its weight is left alone then: it counts among
// the pod's containers only, and the runtime may not have written its own yet, which is what a release puts back.
func (b batchPod) containerBounds(name string, l limits) *qos.Bounds {
	amounts, named := b.Amounts[name]
	switch {
	case b.Amounts == nil:
		most := batchbound.Of(batchbound.Amounts{LimitMilliCPU: l.Fallback.MilliCPU, MemoryBytes: l.Fallback.MemoryBytes}, l.PIDs)
		return &qos.Bounds{QuotaMicros: most.QuotaMicros, MemoryBytes: most.MemoryBytes, PIDs: most.PIDs, Yields: batchbound.ContainerKnobs(),
			Reason: "no runtime hook bounded this batch pod, nor did the admission policy convert it: runtimeHook.fallback"}
	case len(b.Amounts) == 0:
		return nil
	case !named:
		var all []batchbound.Amounts
		for _, a := range b.Amounts {
			all = append(all, batchbound.Amounts(a))
		}
		most := batchbound.Of(batchbound.Largest(all), l.PIDs)
		return &qos.Bounds{QuotaMicros: most.QuotaMicros, MemoryBytes: most.MemoryBytes, PIDs: most.PIDs,
			Reason: "no runtime hook bounded this batch pod: the largest of " + v1alpha1.BatchResourcesAnnotation + ", for a group that it does not name or is not known yet"}
	default:
		most := batchbound.Of(batchbound.Amounts(amounts), l.PIDs)
		return &qos.Bounds{Weight: cgroup.WeightOfShares(most.Shares), QuotaMicros: most.QuotaMicros, MemoryBytes: most.MemoryBytes, PIDs: most.PIDs,
			Reason: fmt.Sprintf("no runtime hook bounded this batch container: %s of %q", v1alpha1.BatchResourcesAnnotation, name)}
	}
}

// newcomers remembers of which batch pods the loop has seen to the limits.
type newcomers struct {
	told uint64
	// known is each pod, by UID; again is true while one of them is to be looked at again.
	known map[string]newcomer
	again bool
}

// newcomer is the shape that a pod had, and until when it is looked at again: zero once all its groups were whole.
type newcomer struct {
	shape podShape
	until time.Time
}

// podShape is other where a pod may have groups, or names of containers, that it did not have.
type podShape struct {
	group, lastContainer uint64
	containers, names    int
}

const (
	// newcomersTick is how often new groups are looked for where no hook is at work and the kernel has told of none: for
	// what the API server has told since. With nothing new it is one read of the inotify queue.
	newcomersTick = 50 * time.Millisecond
	// newGroupsPause is how long after the kernel has told of new groups they are looked at: a container makes several.
	newGroupsPause = 5 * time.Millisecond
	// halfMadeFor is how long a pod is looked at again and again whose groups are not there in every hierarchy.
	halfMadeFor = time.Second
)

// boundsNewcomers says whether new batch containers are bounded by the loop now, and not by the hook.
func (l *loop) boundsNewcomers() bool {
	return len(l.sensor.knobs[qos.KindUnplaced]) > 0 && !l.sensor.placing()
}

// boundNewcomers bounds batch pods that are new, or whose containers are, where no hook did: a batch container shall
// not run for a whole tick without limits.
func (l *loop) boundNewcomers(now time.Time) {
	if !l.boundsNewcomers() {
		return
	}
	told := l.sensor.pods.changes()
	groups, changed, err := l.sensor.tracker.Latest()
	if err != nil || !changed && told == l.newcomers.told && !l.newcomers.again {
		return // an error is the next tick's, which reads everything
	}
	r := reading{Settings: map[string]map[qos.Knob]qos.Setting{}}
	was := l.newcomers.known
	l.newcomers = newcomers{told: told, known: make(map[string]newcomer, len(was))}
	for _, group := range groups.Pods {
		info, known := l.sensor.pods.byUID(group.UID)
		if !known || info.Class != v1alpha1.ClassBatch {
			continue
		}
		n := newcomer{shape: l.sensor.shapeOf(group), until: now.Add(halfMadeFor)}
		if before, ok := was[group.UID]; ok && before.shape == n.shape {
			n = before
		}
		l.newcomers.known[group.UID] = n
		if now.After(n.until) {
			continue
		}
		p := pod{UID: group.UID, Info: info, Key: usage.GroupKey{Path: group.Path, ID: group.GroupID}}
		l.sensor.readUnplaced(&r, &p, group, l.sensor.placed(group.UID, groups.BatchContainers))
		if r.leaveOutHalfMade(&p) {
			l.newcomers.again = true
		} else {
			l.newcomers.known[group.UID] = newcomer{shape: n.shape}
		}
		r.Pods = append(r.Pods, p)
	}
	if len(r.Pods) > 0 {
		l.actor.actOnly(batchbound.Name, r.state(now, usage.Usage{}, false), r.podName)
	}
}

// leaveOutHalfMade leaves out the groups of a pod that have not all of their files yet, and says whether there are any:
// on cgroup v1 a group is made in one hierarchy after another. One that a kernel never gives all of them is for the tick.
func (r *reading) leaveOutHalfMade(p *pod) (found bool) {
	halfMade := func(group string) bool {
		for _, setting := range r.Settings[group] {
			if !setting.OK {
				found = true
				return true
			}
		}
		return false
	}
	if halfMade(p.Key.Path) {
		p.Bounds = nil
	}
	p.Unplaced = slices.DeleteFunc(p.Unplaced, func(u unplaced) bool { return halfMade(u.Path) })
	return found
}

func (s *sensor) shapeOf(group cgroup.Pod) podShape {
	shape := podShape{group: group.GroupID, containers: len(group.Containers)}
	for _, c := range group.Containers {
		shape.lastContainer = max(shape.lastContainer, c.GroupID)
	}
	if b, ok := s.pods.batchPod(group.UID); ok {
		shape.names = len(b.Names)
	}
	return shape
}

// placed reports whether containers of a pod are in the batch branch.
func (s *sensor) placed(uid string, inBranch []cgroup.Container) bool {
	return slices.ContainsFunc(inBranch, func(c cgroup.Container) bool {
		of, ok := s.pods.podOfContainer(c.ID)
		return ok && of == uid
	})
}
