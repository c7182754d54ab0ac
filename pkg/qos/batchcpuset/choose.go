package batchcpuset

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"github.com/plimsoll/plimsoll/pkg/qos"
)

// chosen is the CPUs that batch shall have. Without any there is nothing to write.
type chosen struct {
	cpus   []int
	reason string
	notes  []string
}

// choose takes from the CPUs of pods, in this order and as long as leastCPUs are left for the last two:
//
//	free    = CPUs of pods - exclusive CPUs
//	clear   = free - CPUs whose core has an exclusive CPU
//	cpus    = clear - whole cores that services ask for
//
// Where clear is too few, batch has of the CPUs beside exclusive ones again as many as it needs, and services get no
// core. Where not even free is enough batch has free; where that is nothing, nothing is chosen.
func choose(args Args, sets qos.CPUSets, asks []ask) chosen {
	exclusive := map[int]bool{}
	for _, id := range sets.Exclusive {
		exclusive[id] = true
	}
	given := map[int]bool{} // cores with an exclusive CPU
	for _, c := range sets.CPUs {
		given[c.Core] = given[c.Core] || exclusive[c.ID]
	}
	var clear []qos.CPU
	var beside []int
	for _, c := range sets.CPUs {
		switch {
		case exclusive[c.ID]:
		case given[c.Core]:
			beside = append(beside, c.ID)
		default:
			clear = append(clear, c)
		}
	}
	if len(clear)+len(beside) == 0 {
		return chosen{notes: []string{"every CPU of pods is exclusive: there is none to put batch on, and it stays where it is; let nothing be lent on this node"}}
	}
	least := int(args.LeastCPUs)
	if short := least - len(clear); short > 0 {
		cpus := append(ids(clear), beside[:min(short, len(beside))]...)
		slices.Sort(cpus)
		c := chosen{cpus: cpus, reason: offExclusive(sets.Exclusive, "")}
		c.notes = []string{fmt.Sprintf("exclusive CPUs leave %d whole cores' CPUs, and batch shall have %d: it has CPUs %s, some beside exclusive ones", len(clear), least, qos.FormatCPUs(cpus))}
		if len(asks) > 0 {
			c.notes = append(c.notes, "no service that asks can have whole cores: there are none left")
		}
		return c
	}
	reserved, asked := reserve(clear, asks, len(clear)-least)
	c := chosen{cpus: ids(slices.DeleteFunc(slices.Clone(clear), func(p qos.CPU) bool { return reserved[p.Core] }))}
	c.reason = offExclusive(sets.Exclusive, " and the CPUs beside them")
	if len(reserved) > 0 {
		taken := ids(slices.DeleteFunc(slices.Clone(clear), func(p qos.CPU) bool { return !reserved[p.Core] }))
		c.reason = join(c.reason, fmt.Sprintf("services ask for whole cores without batch: CPUs %s", qos.FormatCPUs(taken)))
	}
	if c.reason == "" {
		c.reason = "no CPU is exclusive and no service asks for whole cores: batch may use all"
	}
	if int64(len(reserved)) < asked {
		c.notes = []string{fmt.Sprintf("services ask for %d whole cores and get %d: batch shall have %d CPUs", asked, len(reserved), least)}
	}
	return c
}

func offExclusive(exclusive []int, more string) string {
	if len(exclusive) == 0 {
		return ""
	}
	sorted := slices.Clone(exclusive)
	slices.Sort(sorted)
	return fmt.Sprintf("the kubelet gave CPUs %s away exclusively: batch keeps off them%s", qos.FormatCPUs(slices.Compact(sorted)), more)
}

func join(a, b string) string {
	if a == "" {
		return b
	}
	return a + "; " + b
}

func ids(cpus []qos.CPU) []int {
	var all []int
	for _, c := range cpus {
		all = append(all, c.ID)
	}
	return all
}

// reserve picks the whole cores that services get, in all at most so many CPUs. A service's cores are of one NUMA node
// where one has enough: of those, the one that is left with the fewest. Otherwise they are from the fullest node on.
// Otherwise nodes, and cores of a node, with the highest numbers go first: interrupts and kernel threads prefer the low ones.
func reserve(clear []qos.CPU, asks []ask, mostCPUs int) (reserved map[int]bool, asked int64) {
	size, coresOf := map[int]int{}, map[int][]int{}
	for _, c := range clear {
		if size[c.Core]++; size[c.Core] == 1 {
			coresOf[c.Node] = append(coresOf[c.Node], c.Core)
		}
	}
	reserved = map[int]bool{}
	for _, a := range asks {
		asked += a.cores
		nodes := slices.Sorted(maps.Keys(coresOf))
		slices.Reverse(nodes)
		slices.SortStableFunc(nodes, func(x, y int) int { return nodeOrder(a.cores, len(coresOf[x]), len(coresOf[y])) })
		left := a.cores
		for _, n := range nodes {
			for ; left > 0 && len(coresOf[n]) > 0; left-- {
				core := slices.Max(coresOf[n])
				if size[core] > mostCPUs {
					return reserved, total(asks)
				}
				mostCPUs -= size[core]
				reserved[core] = true
				coresOf[n] = slices.DeleteFunc(coresOf[n], func(c int) bool { return c == core })
			}
		}
	}
	return reserved, asked
}

// nodeOrder puts a node that has enough cores before one that has not, the tightest fit first; of those that have
// not, the one that has the most.
func nodeOrder(want int64, x, y int) int {
	enoughX, enoughY := int64(x) >= want, int64(y) >= want
	switch {
	case enoughX && enoughY:
		return cmp.Compare(x, y)
	case enoughX:
		return -1
	case enoughY:
		return 1
	default:
		return cmp.Compare(y, x)
	}
}

func total(asks []ask) (cores int64) {
	for _, a := range asks {
		cores += a.cores
	}
	return cores
}
