package actuate

import (
	"cmp"
	"slices"
	"strings"

	"github.com/plimsoll/plimsoll/pkg/qos"
)

// move is what the order of writing depends on.
type move struct {
	group  string
	knob   qos.Knob
	widens bool
}

// compareMoves says which of two is written first, so that the kernel takes both and no group has more
// in between than before or after:
//
//	tightening before widening: what one group gives up is not there twice
//	tightening: a child before its parent, because a parent may not be below its children (cpuset and quota of v1)
//	widening:   a parent before its child, for the same reason
//	one group:  by rank when widening, and the other way round when tightening
//
// Otherwise by group and knob, so that the same Plan is always written the same way.
func compareMoves(a, b move) int {
	if a.widens != b.widens {
		if b.widens {
			return -1
		}
		return 1
	}
	depth := cmp.Compare(strings.Count(a.group, "/"), strings.Count(b.group, "/"))
	knobs := cmp.Compare(rank(a.knob), rank(b.knob))
	if !a.widens {
		depth, knobs = -depth, -knobs
	}
	return cmp.Or(depth, cmp.Compare(a.group, b.group), knobs, cmp.Compare(a.knob, b.knob))
}

// rank orders the knobs of one group that depend on each other when they widen: the weight is refused
// while cpu.idle is 1, a burst above the quota is, and so is a real-time thread in a group without a budget.
func rank(k qos.Knob) int {
	return slices.Index([]qos.Knob{qos.CPUIdle, qos.CPUWeight, qos.CPUQuota, qos.CPUBurst, qos.CPURealtimeRuntime, qos.CPUPolicy}, k)
}

// related says whether one of two groups is, or is in, the other.
func related(a, b string) bool {
	return a == b || strings.HasPrefix(a, strings.TrimSuffix(b, "/")+"/") || strings.HasPrefix(b, strings.TrimSuffix(a, "/")+"/")
}
