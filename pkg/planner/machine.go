package planner

import (
	"fmt"
	"slices"
	"sort"
	"time"

	"github.com/plimsoll/plimsoll/pkg/usage"
)

// Machine is the use of one machine, or of several taken together as one, in slots of usage.SlotLength.
type Machine struct {
	Name  string
	Cores float64
	// Start is when the first slot begins.
	Start time.Time
	// Shares is use as a share of capacity, 0 to 1; negative where there is none.
	Shares []float32
}

func (m *Machine) slotAt(t time.Time) int { return int(t.Sub(m.Start) / usage.SlotLength) }

func (m *Machine) end() time.Time {
	return m.Start.Add(time.Duration(len(m.Shares)) * usage.SlotLength)
}

func (m *Machine) measured() int {
	n := 0
	for _, v := range m.Shares {
		if v >= 0 {
			n++
		}
	}
	return n
}

// longestGap is how long a machine may be away and still be the same, as in package trace.
const longestGap = 8 * 24 * time.Hour

// Group makes nodes of `size` machines each, in the order of their names: virtual machines of ten times the cores, so to
// say, on one node. Machines that were measured less than half as long as the one measured longest are left out, and so is
// a last group that is not half full. A slot counts when at least half of the members were measured in it; the others
// are taken to use nothing, as what has left a node uses nothing there.
func Group(machines []Machine, size int) []Machine {
	byName := map[string][]*Machine{}
	measured := map[string]int{}
	most := 0
	for i := range machines {
		m := &machines[i]
		byName[m.Name] = append(byName[m.Name], m)
		measured[m.Name] += m.measured()
		most = max(most, measured[m.Name])
	}
	var names []string
	for name, n := range measured {
		if 2*n >= most {
			names = append(names, name)
		}
	}
	sort.Strings(names)
	var groups []Machine
	for part := range slices.Chunk(names, size) {
		if 2*len(part) < size {
			break
		}
		var members []*Machine
		cores := 0.0
		for _, name := range part {
			members = append(members, byName[name]...)
			cores += byName[name][0].Cores
		}
		g := sum(members, cores, (len(part)+1)/2)
		g.Name = fmt.Sprintf("group %d", len(groups)+1)
		groups = append(groups, split(g)...)
	}
	return groups
}

// sum adds up the use of the members where at least `least` were measured.
func sum(members []*Machine, cores float64, least int) Machine {
	start, end := members[0].Start, members[0].end()
	for _, m := range members {
		if m.Start.Before(start) {
			start = m.Start
		}
		if m.end().After(end) {
			end = m.end()
		}
	}
	g := Machine{Cores: cores, Start: start}
	n := g.slotAt(end)
	use, there := make([]float64, n), make([]int, n)
	for _, m := range members {
		first := g.slotAt(m.Start)
		for i, v := range m.Shares {
			if v >= 0 {
				use[first+i] += float64(v) * m.Cores
				there[first+i]++
			}
		}
	}
	g.Shares = make([]float32, n)
	for i := range g.Shares {
		g.Shares[i] = -1
		if there[i] >= least {
			g.Shares[i] = float32(min(1, use[i]/cores))
		}
	}
	return g
}

// split cuts at gaps that are too long.
func split(m Machine) []Machine {
	var parts []Machine
	const longest = int(longestGap / usage.SlotLength)
	first, last := -1, -1
	flush := func() {
		if first >= 0 {
			p := m
			p.Start, p.Shares = m.Start.Add(time.Duration(first)*usage.SlotLength), m.Shares[first:last+1]
			parts = append(parts, p)
		}
	}
	for i, v := range m.Shares {
		if v < 0 {
			continue
		}
		if first >= 0 && i-last > longest {
			flush()
			first = -1
		}
		if first < 0 {
			first = i
		}
		last = i
	}
	flush()
	return parts
}
