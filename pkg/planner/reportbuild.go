package planner

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
)

const gib = 1 << 30

// ReportBuilder adds up nodes and workloads one by one, so that not all of a history is in memory at once. The
// order in which they are added does not matter but for the last digits of sums: add them sorted by name.
type ReportBuilder struct {
	o       ReportOptions
	nodes   []Line
	last    []nodeNeed
	fleet   sums
	loads   []Line
	over    []OverProvisioned
	remarks []string

	partial, changed, noRequests []string
	unknownHarm                  harmGaps
}

// sums are over the nodes that were measured in a step.
type sums struct {
	capacity, requested, used, batch, lent, lendable []float64
	// need is use without batch, of CPU and of memory.
	need, needMemory     []float64
	nodes, underPressure []int
	worst                []float64
	worstNode            []string
	worstUse             []float64
}

// nodeNeed is what switching off goes by.
type nodeNeed struct {
	name                                   string
	capacity, capacityMemory               float64
	onlineMean, requested, requestedMemory float64
}

// NewReportBuilder starts an empty report.
func NewReportBuilder(o ReportOptions) *ReportBuilder {
	zeros := func() []float64 { return make([]float64, o.Steps) }
	return &ReportBuilder{o: o, fleet: sums{
		capacity: zeros(), requested: zeros(), used: zeros(), batch: zeros(), lent: zeros(), lendable: zeros(), need: zeros(), needMemory: zeros(),
		nodes: make([]int, o.Steps), underPressure: make([]int, o.Steps), worst: zeros(), worstNode: make([]string, o.Steps), worstUse: zeros(),
	}}
}

// at is a step of a series, NaN where it has none.
func at(series []float64, step int) float64 {
	if step >= len(series) {
		return math.NaN()
	}
	return series[step]
}

// orZero is for what a node need not have: a class without pods.
func orZero(v float64) float64 {
	if math.IsNaN(v) {
		return 0
	}
	return v
}

// balance adds up one resource over the steps in which capacity and use are known, and requests where the
// history has them at all.
func (o ReportOptions) balance(a *Amounts, unit float64) (b Balance, steps int) {
	for i := range o.Steps {
		capacity, used, requested := at(a.Capacity, i), at(a.Used, i), at(a.Requested, i)
		if math.IsNaN(capacity) || math.IsNaN(used) || a.Requested != nil && math.IsNaN(requested) {
			continue
		}
		steps++
		b.add(Balance{
			Capacity: capacity, Requested: orZero(requested), Used: used, Batch: orZero(at(a.Batch, i)),
			Lent: orZero(at(a.Lent, i)), CouldBeLent: orZero(at(a.Lendable, i)),
		})
	}
	scale := o.hours() / unit
	return Balance{b.Capacity * scale, b.Requested * scale, b.Used * scale, b.Batch * scale, b.Lent * scale, b.CouldBeLent * scale}, steps
}

// measured reports whether a step of a node is in its sums.
func measured(n *NodeHistory, step int) bool {
	capacity, used, requested := at(n.CPU.Capacity, step), at(n.CPU.Used, step), at(n.CPU.Requested, step)
	return capacity > 0 && !math.IsNaN(used) && (n.CPU.Requested == nil || !math.IsNaN(requested))
}

// AddNode adds a node. Nodes without any measurement are told of and are in no total.
func (b *ReportBuilder) AddNode(n NodeHistory) {
	line := Line{Name: n.Name, Pool: n.Pool}
	var steps int
	line.CPUHours, steps = b.o.balance(&n.CPU, 1)
	line.GiBHours, _ = b.o.balance(&n.Memory, gib)
	line.Coverage = float64(steps) / float64(b.o.Steps)
	if steps < b.o.Steps {
		b.partial = append(b.partial, fmt.Sprintf("%s (%.1f %%)", n.Name, 100*line.Coverage))
	}
	if n.CPU.Requested == nil {
		b.noRequests = append(b.noRequests, n.Name)
	}
	if was, is, step := capacityChange(n.CPU.Capacity); step > 0 {
		b.changed = append(b.changed, fmt.Sprintf("%s from %g to %g cores at %s", n.Name, was, is, b.o.timeOf(step).Format("2006-01-02 15:04")))
	}
	shares := make([]float64, 0, steps)
	need := nodeNeed{name: n.Name}
	for i := range b.o.Steps {
		capacity, used := at(n.CPU.Capacity, i), at(n.CPU.Used, i)
		if !measured(&n, i) {
			continue
		}
		shares = append(shares, used/capacity)
		need.onlineMean += used - orZero(at(n.CPU.Batch, i))
		need.capacity, need.requested = capacity, orZero(at(n.CPU.Requested, i))
		need.capacityMemory, need.requestedMemory = orZero(at(n.Memory.Capacity, i)), orZero(at(n.Memory.Requested, i))
		b.addStep(i, &n, capacity, used)
		if p := at(n.Pressure, i); p >= b.o.PressureRatio {
			b.fleet.pressed(i, n.Name, p, used/capacity)
		}
	}
	if steps > 0 {
		need.onlineMean /= float64(steps)
		b.last = append(b.last, need)
	}
	line.Harm = b.harm(&n)
	line.spread(shares)
	b.price(&line)
	b.nodes = append(b.nodes, line)
}

func (b *ReportBuilder) addStep(i int, n *NodeHistory, capacity, used float64) {
	f := &b.fleet
	batch := orZero(at(n.CPU.Batch, i))
	f.nodes[i]++
	f.capacity[i] += capacity
	f.requested[i] += orZero(at(n.CPU.Requested, i))
	f.used[i] += used
	f.batch[i] += batch
	f.lent[i] += orZero(at(n.CPU.Lent, i))
	f.lendable[i] += orZero(at(n.CPU.Lendable, i))
	f.need[i] += used - batch
	f.needMemory[i] += orZero(at(n.Memory.Used, i)) - orZero(at(n.Memory.Batch, i))
}

// pressed counts a node under pressure in a step.
func (f *sums) pressed(i int, node string, pressure, use float64) {
	f.underPressure[i]++
	if pressure > f.worst[i] {
		f.worst[i], f.worstNode[i], f.worstUse[i] = pressure, node, use
	}
}

func (b *ReportBuilder) price(l *Line) {
	if p := b.o.Prices; p != nil {
		l.Cost = l.CPUHours.Capacity*p.PerCoreHour + l.GiBHours.Capacity*p.PerGiBHour
	}
}

// spread sets the percentiles; it sorts the values.
func (l *Line) spread(values []float64) {
	slices.Sort(values)
	l.UsedP50, l.UsedP95, l.UsedP99, l.UsedMax = percentile(values, 0.5), percentile(values, 0.95), percentile(values, 0.99), percentile(values, 1)
}

// percentile is the smallest value that a share of the sorted values does not exceed; 0 of none.
func percentile(sorted []float64, share float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[max(0, min(len(sorted)-1, int(math.Ceil(share*float64(len(sorted))))-1))]
}

// capacityChange is the first change of a node's capacity; step is 0 for none.
func capacityChange(capacity []float64) (was, is float64, step int) {
	was = math.NaN()
	for i, v := range capacity {
		if math.IsNaN(v) {
			continue
		}
		if !math.IsNaN(was) && v != was {
			return was, v, i
		}
		was = v
	}
	return 0, 0, 0
}

// leastEvidenceHours is how much of a workload must have been measured before it is called over-provisioned.
const leastEvidenceHours = 24

// AddWorkload adds a workload.
func (b *ReportBuilder) AddWorkload(w WorkloadHistory) {
	line := Line{Name: w.Namespace + "/" + w.Workload, Pool: w.Class}
	var used []float64
	requested, peak, peakStep := 0.0, -1.0, 0
	for i := range b.o.Steps {
		u := at(w.Used, i)
		if math.IsNaN(u) {
			continue
		}
		used = append(used, u)
		requested += orZero(at(w.Requested, i))
		if u > peak {
			peak, peakStep = u, i
		}
		line.CPUHours.Used += u * b.o.hours()
		line.GiBHours.Used += orZero(at(w.MemoryUsed, i)) * b.o.hours() / gib
		line.GiBHours.Requested += orZero(at(w.MemoryRequested, i)) * b.o.hours() / gib
	}
	line.CPUHours.Requested = requested * b.o.hours()
	line.Coverage = float64(len(used)) / float64(b.o.Steps)
	measuredHours := float64(len(used)) * b.o.hours()
	line.spread(used)
	b.loads = append(b.loads, line)
	if len(used) == 0 || w.Class == "Batch" || measuredHours < leastEvidenceHours {
		return
	}
	o := OverProvisioned{
		Workload: line.Name, RequestedCores: requested / float64(len(used)), UsedP50Cores: line.UsedP50, UsedP999Cores: percentile(used, 0.999),
		UsedMaxCores: peak, MaxAt: b.o.timeOf(peakStep), MeasuredHours: measuredHours,
	}
	if o.SpareCores = o.RequestedCores - o.UsedP999Cores*(1+b.o.Headroom); o.SpareCores > 0 {
		b.over = append(b.over, o)
	}
}

// groupLines adds lines up by a name; percentiles of groups are not those of their members, and are left out.
func groupLines(lines []Line, name func(Line) string) []Line {
	groups := map[string]*Line{}
	members := map[string]int{}
	var order []string
	for _, l := range lines {
		n := name(l)
		if groups[n] == nil {
			groups[n] = &Line{Name: n}
			order = append(order, n)
		}
		g := groups[n]
		g.CPUHours.add(l.CPUHours)
		g.GiBHours.add(l.GiBHours)
		g.Harm = g.plus(l.Harm)
		g.Cost += l.Cost
		g.Coverage += l.Coverage
		members[n]++
	}
	slices.Sort(order)
	all := make([]Line, 0, len(order))
	for _, n := range order {
		groups[n].Coverage /= float64(members[n])
		all = append(all, *groups[n])
	}
	return all
}

func namespaceOf(l Line) string {
	namespace, _, _ := strings.Cut(l.Name, "/")
	return namespace
}

func byName(a, b Line) int { return cmp.Compare(a.Name, b.Name) }
