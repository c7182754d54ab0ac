package loadaware

import (
	"fmt"
	"hash/maphash"
	"maps"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/plimsoll/plimsoll/pkg/api/v1alpha1"
)

// View is what the scheduler keeps of one node's NodeUtilization. It never changes. A nil View is a
// node of which nothing is known.
type View struct {
	uid      types.UID // of the NodeUtilization: another one is another node of the same name
	observed time.Time // by the node's clock
	received time.Time // by the scheduler's clock; when this observed time first arrived
	offset   clockOffset

	node  v1alpha1.Resources
	batch v1alpha1.Resources // zero when batch was not measured: then it counts as online use
	pods  map[types.UID]podUse
}

// podUse is what was measured of one pod.
type podUse struct {
	milliCPU             int64
	measuredMilliseconds int64
}

// maxNodeMilliCPU is the largest use of CPU that is believed; the bound of the field in the API.
const maxNodeMilliCPU = 100_000_000

// newView excerpts u, received now. previous is the node's last View, or nil. An error says that u
// makes no sense and must not be believed.
func newView(u *v1alpha1.NodeUtilization, now time.Time, previous *View) (*View, error) {
	s := &u.Status
	v := &View{uid: u.UID, observed: s.ObservedTime.Time, node: s.Node, pods: make(map[types.UID]podUse, len(s.Pods))}
	for i := range s.Classes {
		if s.Classes[i].Class == v1alpha1.ClassBatch {
			v.batch = s.Classes[i].Resources
		}
	}
	if !plausible(v.node) {
		return nil, fmt.Errorf("status.node is out of range: %+v", v.node)
	}
	if !plausible(v.batch) {
		return nil, fmt.Errorf("status.classes[Batch] is out of range: %+v", v.batch)
	}
	for i := range s.Pods {
		p := &s.Pods[i]
		v.pods[types.UID(p.UID)] = podUse{milliCPU: p.MilliCPU, measuredMilliseconds: max(0, p.MeasuredMilliseconds)}
	}
	v.received, v.offset = arrival(v, now, previous)
	return v, nil
}

func plausible(r v1alpha1.Resources) bool {
	return r.MilliCPU >= 0 && r.MilliCPU <= maxNodeMilliCPU && r.MemoryBytes >= 0
}

// useMilliCPU is the measured use of the whole node, or of all but batch.
func (v *View) useMilliCPU(withBatch bool) int64 {
	switch {
	case v == nil:
		return 0
	case withBatch:
		return v.node.MilliCPU
	default:
		return max(0, v.node.MilliCPU-v.batch.MilliCPU)
	}
}

// measuredMilliseconds is how long the pod has been measured, and whether it has been at all.
func (v *View) measuredMilliseconds(uid types.UID) (int64, bool) {
	if v == nil {
		return 0, false
	}
	use, ok := v.pods[uid]
	return use.measuredMilliseconds, ok
}

// clockOffset is what is known of how far the scheduler's clock is ahead of a node's.
type clockOffset struct {
	// upperBound is the smallest (received - observed) seen lately: the true offset plus the shortest delay.
	upperBound time.Duration
	// confirmed says that a measurement newer than another was seen to arrive. Before that a large
	// upperBound is as likely an old measurement as a slow clock.
	confirmed bool
}

// driftDivisor lets the bound follow a node's clock that goes slow, by a millisecond a second. Real
// clocks drift a tenth of that at worst.
const driftDivisor = 1000

// arrival tells when v's measurement arrived and what is now known of its node's clock.
func arrival(v *View, now time.Time, previous *View) (time.Time, clockOffset) {
	delay := now.Sub(v.observed)
	if previous == nil || previous.uid != v.uid || v.observed.Before(previous.observed) {
		// The first of this node, or its clock was set back: whatever was known of it is void.
		return now, clockOffset{upperBound: delay}
	}
	if v.observed.Equal(previous.observed) {
		// The object changed, the measurement did not: it is as old as it was.
		return previous.received, previous.offset
	}
	bound := previous.offset.upperBound + now.Sub(previous.received)/driftDivisor
	return now, clockOffset{upperBound: min(delay, bound), confirmed: true}
}

// age is how old the measurement is, with the offset of the node's clock taken out.
func (v *View) age(now time.Time) time.Duration {
	offset := v.offset.upperBound
	if !v.offset.confirmed {
		// Clocks are taken as equal, except that no measurement is from the future.
		offset = min(offset, 0)
	}
	ageOnArrival := v.received.Sub(v.observed) - offset
	return ageOnArrival + now.Sub(v.received)
}

// fresh tells whether the measurement is younger than staleAfter.
func (v *View) fresh(now time.Time, staleAfter time.Duration) bool {
	return v != nil && v.age(now) < staleAfter
}

// shardCount keeps the part of a snapshot that one update copies small: 20 of 5,000 nodes.
const shardCount = 256

// Snapshot is the Views of all nodes at one moment. It never changes; with returns another
// one that shares all but one shard with it.
type Snapshot struct {
	seed   maphash.Seed
	shards [shardCount]map[string]*View
}

func newSnapshot() *Snapshot {
	return &Snapshot{seed: maphash.MakeSeed()}
}

// View returns what is known of the node, nil if nothing is.
func (s *Snapshot) View(node string) *View {
	return s.shards[s.shardOf(node)][node]
}

func (s *Snapshot) shardOf(node string) int {
	return int(maphash.String(s.seed, node) % shardCount)
}

// with returns the snapshot with v as the node's View; a nil v removes the node.
func (s *Snapshot) with(node string, v *View) *Snapshot {
	next := *s
	i := s.shardOf(node)
	next.shards[i] = maps.Clone(s.shards[i])
	if v == nil {
		delete(next.shards[i], node)
	} else {
		next.set(node, v)
	}
	return &next
}

// set changes s itself: only for a snapshot that no one else has seen yet.
func (s *Snapshot) set(node string, v *View) {
	i := s.shardOf(node)
	if s.shards[i] == nil {
		s.shards[i] = make(map[string]*View)
	}
	s.shards[i][node] = v
}
