package batchcpuset

import (
	"slices"

	"github.com/plimsoll/plimsoll/pkg/qos"
)

// The words for an empty set: on cgroup v2 that of the group above, on v1 a group that has no task yet.
const (
	inherit = "inherit"
	none    = "none"
)

// moves is the changes of one tick that bring the branch and the containers in it nearer to what was chosen, on
// cgroup v1, where the kernel refuses a set that is not within the parent's or not around the children's. Tightening
// is written from the containers up, then widening from the branch down; what neither contains the other goes with the
// widening. So in one tick
//
//	aim       = chosen, or what of it the branch has already, where it has some and not all and must give up others
//	container = aim, where it has the same as the branch, or nothing of aim
//	            what of aim it has, where that is not all that it has
//	branch    = aim + what containers that have nothing of aim have now
//
// and the next tick goes on from there; after three at most all is as chosen. A container whose set is smaller than the
// branch's has it from the kubelet or the runtime, and keeps it.
func moves(s qos.State, branch qos.Group, c chosen) []qos.Change {
	has, known := setOf(branch)
	if all := len(c.cpus) == len(s.CPUSets.CPUs); !known && branch.Settings[qos.CPUSetCPUs].Value == none && all {
		return nil // the runtime fills it with all, with the first container
	}
	aim := c.cpus
	if both := qos.CPUsWithin(has, c.cpus); known && len(both) > 0 && len(both) < len(has) && len(both) < len(c.cpus) {
		aim = both
	}
	var changes []qos.Change
	keep := slices.Clone(aim)
	for _, g := range s.Groups {
		own, ok := setOf(g)
		if g.Kind != qos.KindBatchContainer || !ok {
			continue
		}
		both := qos.CPUsWithin(own, aim)
		switch {
		case len(both) == 0: // it moves once the branch has both
			keep = append(keep, own...)
			changes = append(changes, change(g, aim, c.reason))
		case slices.Equal(own, has):
			changes = append(changes, change(g, aim, c.reason))
		case len(both) < len(own):
			changes = append(changes, change(g, both, c.reason))
		}
	}
	slices.Sort(keep)
	return append(changes, change(branch, slices.Compact(keep), c.reason))
}

func change(g qos.Group, cpus []int, reason string) qos.Change {
	return qos.Change{Group: g.Path, Knob: qos.CPUSetCPUs, Value: qos.FormatCPUs(cpus), Reason: reason}
}

// setOf is the set of a group; not known where it was not read or the group has none yet.
func setOf(g qos.Group) (cpus []int, known bool) {
	setting := g.Settings[qos.CPUSetCPUs]
	if !setting.OK || setting.Value == none || setting.Value == inherit {
		return nil, false
	}
	cpus, err := qos.ParseCPUs(setting.Value)
	return cpus, err == nil
}
