package planner

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
)

// Report works out what is over all nodes.
func (b *ReportBuilder) Report() Report {
	slices.SortFunc(b.nodes, byName)
	slices.SortFunc(b.loads, byName)
	slices.SortFunc(b.last, func(x, y nodeNeed) int {
		return cmp.Or(cmp.Compare(x.onlineMean, y.onlineMean), cmp.Compare(x.name, y.name))
	})
	slices.SortFunc(b.over, func(x, y OverProvisioned) int {
		return cmp.Or(cmp.Compare(y.SpareCores, x.SpareCores), cmp.Compare(x.Workload, y.Workload))
	})
	r := Report{
		Options: b.o, Nodes: b.nodes, Workloads: b.loads, OverProvisioned: b.over,
		Pools:      groupLines(b.nodes, func(l Line) string { return cmp.Or(l.Pool, "(no pool)") }),
		Namespaces: groupLines(b.loads, namespaceOf),
		Hours:      b.hours(), SwitchOff: b.switchOff(), Worst: b.worst(), Series: b.series(), Remarks: b.allRemarks(),
	}
	if all := groupLines(b.nodes, func(Line) string { return "all nodes" }); len(all) > 0 {
		r.Fleet = all[0]
		r.Fleet.spread(b.shares(func(int) bool { return true }))
	}
	return r
}

// shares is the use of the fleet as a share of what was measured of its capacity, in the chosen steps.
func (b *ReportBuilder) shares(chosen func(step int) bool) []float64 {
	var all []float64
	for i, c := range b.fleet.capacity {
		if c > 0 && chosen(i) {
			all = append(all, b.fleet.used[i]/c)
		}
	}
	return all
}

func (b *ReportBuilder) hours() []Hour {
	hours := make([]Hour, 24)
	for h := range hours {
		var requested, lent float64
		shares := b.shares(func(i int) bool {
			if b.o.timeOf(i).Hour() != h {
				return false
			}
			requested += b.fleet.requested[i] / b.fleet.capacity[i]
			lent += b.fleet.lent[i] / b.fleet.capacity[i]
			return true
		})
		var l Line
		l.spread(shares)
		hours[h] = Hour{Hour: h, Steps: len(shares), UsedP50: l.UsedP50, UsedP95: l.UsedP95, UsedP99: l.UsedP99, UsedMax: l.UsedMax}
		if n := float64(len(shares)); n > 0 {
			hours[h].RequestedMean, hours[h].LentMean = requested/n, lent/n
		}
	}
	return hours
}

// switchOff finds how many nodes the rest can do without. In each step the fleet needs what it used, batch
// aside, divided by the safe line. Where not all nodes were measured in a step, what the others used stands for
// them by their share of the capacity:
//
//	need(step) = used(step) / capacity measured(step) x capacity of all / safeLine
//
// Nodes go in the order of what would have to move, least first, while what is left carries the need at the
// percentile 1 - risk.
func (b *ReportBuilder) switchOff() SwitchOff {
	s := SwitchOff{Risk: b.o.Risk, SafeLine: b.o.SafeLine, ByUse: []string{}}
	var cores, bytes, requested, requestedMemory float64
	for _, n := range b.last {
		cores, bytes = cores+n.capacity, bytes+n.capacityMemory
		requested, requestedMemory = requested+n.requested, requestedMemory+n.requestedMemory
	}
	var need, needMemory []float64
	for i, c := range b.fleet.capacity {
		if c > 0 {
			need = append(need, b.fleet.need[i]/c*cores/b.o.SafeLine)
			// Memory of a step is measured with the CPU.
			needMemory = append(needMemory, b.fleet.needMemory[i]/c*cores/b.o.SafeLine)
		}
	}
	if len(need) == 0 {
		s.Why = "nothing was measured"
		return s
	}
	slices.Sort(need)
	slices.Sort(needMemory)
	s.NeedCores, s.NeedGiB = percentile(need, 1-b.o.Risk), percentile(needMemory, 1-b.o.Risk)/gib
	left, leftBytes := cores, bytes
	for _, n := range b.last[:len(b.last)-1] { // one is always left
		if left-n.capacity < s.NeedCores || bytes > 0 && leftBytes-n.capacityMemory < s.NeedGiB*gib {
			break
		}
		left, leftBytes = left-n.capacity, leftBytes-n.capacityMemory
		s.ByUse = append(s.ByUse, n.name)
	}
	left, leftBytes = cores, bytes
	for _, n := range b.last[:len(b.last)-1] {
		if len(b.noRequests) > 0 || left-n.capacity < requested || bytes > 0 && leftBytes-n.capacityMemory < requestedMemory {
			break
		}
		left, leftBytes = left-n.capacity, leftBytes-n.capacityMemory
		s.ByRequests++
	}
	s.Why = fmt.Sprintf("in all but %g of the steps the fleet needed at most %.1f cores and %.1f GiB, batch aside and with nodes loaded to %g %%; it has %.1f cores and %.1f GiB",
		b.o.Risk, s.NeedCores, s.NeedGiB, 100*b.o.SafeLine, cores, bytes/gib)
	return s
}

func (b *ReportBuilder) worst() *WorstStep {
	best := -1
	for i, n := range b.fleet.underPressure {
		if n > 0 && (best < 0 || n > b.fleet.underPressure[best] || n == b.fleet.underPressure[best] && b.fleet.worst[i] > b.fleet.worst[best]) {
			best = i
		}
	}
	if best < 0 {
		return nil
	}
	f := &b.fleet
	return &WorstStep{At: b.o.timeOf(best), NodesUnderPressure: f.underPressure[best], Node: f.worstNode[best], PressureRatio: f.worst[best], UsedShare: f.worstUse[best]}
}

// mostPoints is how many points of the fleet's series are kept for charts.
const mostPoints = 2016

// series is the fleet over time, in as many steps of equal length as fit: the mean of each.
func (b *ReportBuilder) series() FleetSeries {
	per := max(1, (b.o.Steps+mostPoints-1)/mostPoints)
	s := FleetSeries{Start: b.o.Start.UTC(), StepSeconds: per * b.o.StepSeconds}
	f := &b.fleet
	for first := 0; first < b.o.Steps; first += per {
		nodes := 0
		var mean [6]float64
		steps := 0.0
		for i := first; i < min(first+per, b.o.Steps); i++ {
			if f.nodes[i] == 0 {
				continue
			}
			steps++
			nodes = max(nodes, f.nodes[i])
			for k, series := range [][]float64{f.capacity, f.requested, f.used, f.batch, f.lent, f.lendable} {
				mean[k] += series[i]
			}
		}
		for k, into := range []*[]*float64{&s.Capacity, &s.Requested, &s.Used, &s.Batch, &s.Lent, &s.Lendable} {
			var point *float64 // a gap is a gap, and not zero
			if steps > 0 {
				point = new(math.Round(1000*mean[k]/steps) / 1000)
			}
			*into = append(*into, point)
		}
		s.Nodes = append(s.Nodes, nodes)
	}
	return s
}

// allRemarks says what the numbers are without.
func (b *ReportBuilder) allRemarks() []string {
	remarks := slices.Clone(b.remarks)
	some := func(format string, names []string) {
		if len(names) == 0 {
			return
		}
		slices.Sort(names)
		shown := strings.Join(names[:min(len(names), 5)], ", ")
		if len(names) > 5 {
			shown += fmt.Sprintf(" and %d more", len(names)-5)
		}
		remarks = append(remarks, fmt.Sprintf(format, len(names), shown))
	}
	if len(b.nodes) == 0 {
		remarks = append(remarks, "the history has no node in this period: nothing can be said")
	}
	some("%d nodes were not measured all the time, and their sums are over the steps in which they were: %s", b.partial)
	some("the capacity of %d nodes changed, and each step counts with what it was then: %s", b.changed)
	some("the history has no requests of %d nodes: they count as 0 in the sums, and no node is called dispensable by requests: %s", b.noRequests)
	b.harmRemarks(some)
	return remarks
}

// Remark adds a remark about where the history came from.
func (b *ReportBuilder) Remark(text string) { b.remarks = append(b.remarks, text) }
