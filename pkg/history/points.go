package history

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/component-helpers/resource"

	"github.com/plimsoll/plimsoll/pkg/api/v1alpha1"
	"github.com/plimsoll/plimsoll/pkg/fleet"
)

// Seen is a cluster at one time.
type Seen struct {
	At           time.Time
	Utilizations []v1alpha1.NodeUtilization
	Pods         []corev1.Pod
	Nodes        []corev1.Node
	// PoolLabel is the label of a node that names its pool.
	PoolLabel string
}

// Points are the samples of what was seen. Nodes whose measurement is too old, or of a time to come, are in left
// and in no sample: what they use now is not known.
func (s Seen) Points() (points []Point, left []string) {
	add := func(v float64, labels ...string) {
		m := make(map[string]string, len(labels)/2)
		for i := 0; i < len(labels); i += 2 {
			if labels[i+1] != "" {
				m[labels[i]] = labels[i+1]
			}
		}
		points = append(points, Point{m, v})
	}
	both := func(r v1alpha1.Resources, labels ...string) {
		add(float64(r.MilliCPU)/1000, append(labels, "resource", "cpu")...)
		add(float64(r.MemoryBytes), append(labels, "resource", "memory")...)
	}
	pools := map[string]string{}
	for i := range s.Nodes {
		pools[s.Nodes[i].Name] = s.Nodes[i].Labels[s.PoolLabel]
	}
	requested, loads := s.requests()
	for i := range s.Utilizations {
		u := &s.Utilizations[i]
		if age := s.At.Sub(u.Status.ObservedTime.Time); age >= fleet.StaleAfter || age <= -fleet.StaleAfter {
			left = append(left, u.Name)
			continue
		}
		both(u.Status.Capacity, "__name__", NodeCapacity, "node", u.Name, "pool", pools[u.Name])
		both(u.Status.Node, "__name__", NodeUsed, "node", u.Name, "class", "All")
		both(requested[u.Name], "__name__", NodeRequested, "node", u.Name)
		for _, c := range u.Status.Classes {
			both(c.Resources, "__name__", NodeUsed, "node", u.Name, "class", string(c.Class))
			if c.Class == v1alpha1.ClassLatencySensitive && c.Pressure != nil && c.Pressure.CPUSomePermille != nil {
				add(float64(*c.Pressure.CPUSomePermille)/1000, "__name__", NodePressure, "node", u.Name, "resource", "cpu")
			}
		}
		if l := u.Status.Lendable; l != nil {
			for kind, of := range map[string]func(v1alpha1.LendableSum) int64{
				"computed":  func(x v1alpha1.LendableSum) int64 { return x.Computed },
				"published": func(x v1alpha1.LendableSum) int64 { return x.Published },
				"lent":      func(x v1alpha1.LendableSum) int64 { return x.Lent },
			} {
				both(v1alpha1.Resources{MilliCPU: of(l.MilliCPU), MemoryBytes: of(l.MemoryBytes)}, "__name__", NodeLendable, "node", u.Name, "kind", kind)
			}
		}
		if h := u.Status.Harm; h != nil {
			throttled := func(class v1alpha1.Class, millis *int64) {
				if millis != nil {
					add(float64(*millis)/1000, "__name__", NodeThrottled, "node", u.Name, "class", string(class))
				}
			}
			throttled(v1alpha1.ClassLatencySensitive, h.ThrottledMilliseconds)
			throttled(v1alpha1.ClassBatch, h.BatchThrottledMilliseconds)
			add(float64(h.Evictions), "__name__", NodeEvictions, "node", u.Name)
		}
		for _, p := range u.Status.Pods {
			if w := loads[p.UID]; w != nil {
				w.measured = true
				w.used.MilliCPU += p.MilliCPU
				w.used.MemoryBytes += p.MemoryBytes
			}
		}
	}
	seen := map[*load]bool{}
	for _, w := range loads {
		// A workload of which no pod was measured used an amount that is not known.
		if seen[w] || !w.measured {
			continue
		}
		seen[w] = true
		labels := []string{"namespace", w.namespace, "workload", w.name, "class", string(w.class)}
		both(w.requested, append([]string{"__name__", WorkloadRequested}, labels...)...)
		both(w.used, append([]string{"__name__", WorkloadUsed}, labels...)...)
	}
	return points, left
}

// load is a workload over all nodes.
type load struct {
	namespace, name string
	class           v1alpha1.Class
	requested, used v1alpha1.Resources
	measured        bool
}

// requests is what the pods on each node ask for, batch aside, and the workload of each pod by its UID.
func (s Seen) requests() (byNode map[string]v1alpha1.Resources, byPod map[string]*load) {
	byNode, byPod = map[string]v1alpha1.Resources{}, map[string]*load{}
	loads := map[string]*load{}
	for i := range s.Pods {
		p := &s.Pods[i]
		if p.Spec.NodeName == "" || p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed {
			continue
		}
		asked := resource.PodRequests(p, resource.PodResourcesOptions{})
		r := v1alpha1.Resources{MilliCPU: asked.Cpu().MilliValue(), MemoryBytes: asked.Memory().Value()}
		class := v1alpha1.ClassOf(p.Labels, p.Spec.PriorityClassName)
		if class == v1alpha1.ClassBatch {
			cpu, memory := asked[v1alpha1.BatchCPUResource], asked[v1alpha1.BatchMemoryResource]
			r = v1alpha1.Resources{MilliCPU: cpu.Value(), MemoryBytes: memory.Value()}
		} else {
			n := byNode[p.Spec.NodeName]
			n.MilliCPU, n.MemoryBytes = n.MilliCPU+r.MilliCPU, n.MemoryBytes+r.MemoryBytes
			byNode[p.Spec.NodeName] = n
		}
		name := v1alpha1.WorkloadOf(p.Namespace, p.Name, p.Labels, p.OwnerReferences)[len(p.Namespace)+1:]
		key := p.Namespace + "/" + name + " " + string(class)
		w := loads[key]
		if w == nil {
			w = &load{namespace: p.Namespace, name: name, class: class}
			loads[key] = w
		}
		w.requested.MilliCPU += r.MilliCPU
		w.requested.MemoryBytes += r.MemoryBytes
		byPod[string(p.UID)] = w
	}
	return byNode, byPod
}
