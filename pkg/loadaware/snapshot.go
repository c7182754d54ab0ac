package loadaware

import (
	"hash/maphash"
	"maps"
)

// shardCount keeps the part of a snapshot that one update copies small: 20 of 5,000 nodes.
const shardCount = 256

// Snapshot is the Views of all nodes at one moment. It never changes; with returns another
// one that shares all but one shard with it.
type Snapshot struct {
	sequence int64 // one more than that of the Snapshot before
	seed     maphash.Seed
	shards   [shardCount]map[string]*View
}

func newSnapshot() *Snapshot {
	return &Snapshot{seed: maphash.MakeSeed(), sequence: 1}
}

// View returns what is known of the node, nil if nothing is.
func (s *Snapshot) View(node string) *View {
	return s.shards[s.shardOf(node)][node]
}

// has says whether what is in the Snapshots from born on, and from died on no more, is in this one. A died of 0
// is never.
func (s *Snapshot) has(born, died int64) bool {
	return born <= s.sequence && (died == 0 || died > s.sequence)
}

func (s *Snapshot) shardOf(node string) int {
	return int(maphash.String(s.seed, node) % shardCount)
}

// with returns the snapshot with v as the node's View; a nil v removes the node.
func (s *Snapshot) with(node string, v *View) *Snapshot {
	next := *s
	next.sequence++
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
	if v.born == 0 {
		v.born = s.sequence
	}
}

// each calls f for every node of which something is known.
func (s *Snapshot) each(f func(node string, v *View)) {
	for _, shard := range s.shards {
		for node, v := range shard {
			f(node, v)
		}
	}
}
