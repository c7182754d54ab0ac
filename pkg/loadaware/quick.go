package loadaware

import (
	"math"
	"sync"
	"sync/atomic"
)

// A scheduler of 5,000 nodes looks at the next 500 for each pod, so whatever it reads of a node has left the
// processor's nearer caches since it was read last. What judging costs is therefore how many lines of memory it
// touches. An outlook is seven of them, after one to find it. What nearly all judgements need of it is copied to a
// table of two lines an entry, found without a pointer: the first is Filter's, both are Score's.

const (
	// quickBits makes room for six times 5,000 nodes, so that few share an entry.
	quickBits = 15
	// chunkBits is how much of the table is allocated at a time: 32 KiB, when it is first used.
	chunkBits = 8
)

// quickRisks is how many hours an entry has room for. Most outlooks have one to three that can be the worst.
const quickRisks = 4

// quick is an entry. Writers hold the table's lock; readers hold none, and see by version whether an
// entry was written meanwhile. It has no pointers, so that the garbage collector need not read it.
type quick struct {
	version    atomic.Int64 // odd while the entry is being written
	generation atomic.Int64 // of the scheduler's NodeInfo; 0 for no entry
	born, died atomic.Int64 // as in outlook
	validUntil atomic.Int64
	measuredAt atomic.Int64
	// cpuRoom and memoryRoom are what a latency-sensitive pod may need at most to be admitted for sure; a pod
	// that needs more has to be looked at more closely.
	cpuRoom, memoryRoom atomic.Int64

	safeLine   atomic.Int64
	byRequests atomic.Int64
	pressure   atomic.Int64
	logTail    atomic.Uint64 // the bits of a float64
	risks      [quickRisks]atomic.Uint64
}

// noRisk marks an unused place, and in the first one that there are more hours than places. No peak is negative.
const noRisk = math.MaxUint64

// neverMeasured is before every time of which there is a measurement.
const neverMeasured = math.MinInt64 / 2

// shortcut finds outlooks by the generation of the NodeInfo, which no two states of any nodes share, instead of
// by name. It is a cache of fixed size; what it finds is checked, and what it does not find is in the View.
type shortcut struct {
	mu       sync.Mutex // held by those who write to entries
	chunks   [1 << (quickBits - chunkBits)]atomic.Pointer[[1 << chunkBits]quick]
	outlooks [1 << quickBits]atomic.Pointer[outlook]
}

func indexOf(generation int64) uint64 {
	const golden = 0x9E3779B97F4A7C15 // spreads consecutive numbers
	return uint64(generation) * golden >> (64 - quickBits)
}

// entry is the entry of the generation, and perhaps of others; nil where there is none yet.
func (s *shortcut) entry(generation int64) *quick {
	i := indexOf(generation)
	chunk := s.chunks[i>>chunkBits].Load()
	if chunk == nil {
		return nil
	}
	return &chunk[i&(1<<chunkBits-1)]
}

// find is the outlook of the generation, nil if it is not there or not of the cycle's Snapshot.
func (s *shortcut) find(generation int64, c *cycle) *outlook {
	o := s.outlooks[indexOf(generation)].Load()
	if o == nil || o.generation != generation || c.unixNano >= o.validUntil || !c.snapshot.has(o.born, o.died.Load()) {
		return nil
	}
	return o
}

// add makes the outlook findable.
func (s *shortcut) add(o *outlook) {
	s.outlooks[indexOf(o.generation)].Store(o)
	s.addQuick(o)
}

// addQuick copies the outlook to its entry.
func (s *shortcut) addQuick(o *outlook) {
	s.mu.Lock()
	defer s.mu.Unlock()
	chunk := &s.chunks[indexOf(o.generation)>>chunkBits]
	if chunk.Load() == nil {
		chunk.Store(new([1 << chunkBits]quick))
	}
	q := s.entry(o.generation)
	q.version.Add(1)
	q.generation.Store(o.generation)
	q.born.Store(o.born)
	q.died.Store(o.died.Load())
	q.validUntil.Store(o.validUntil)
	q.measuredAt.Store(o.measuredAt)
	if !o.known {
		q.measuredAt.Store(neverMeasured)
	}
	q.cpuRoom.Store(o.cpuRoom)
	q.memoryRoom.Store(o.memoryRoom)
	q.safeLine.Store(o.safeLine)
	q.byRequests.Store(o.byRequests)
	q.pressure.Store(o.pressure)
	q.logTail.Store(math.Float64bits(o.logTail))
	for i := range q.risks {
		packed := uint64(noRisk)
		if i < o.riskCount && o.riskCount <= quickRisks {
			packed = o.risks[i].packed()
		}
		q.risks[i].Store(packed)
	}
	q.version.Add(1)
}

// replaced tells that the outlook's View is in no Snapshot from that sequence number on.
func (s *shortcut) replaced(o *outlook, sequence int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o.died.Store(sequence)
	if q := s.entry(o.generation); q != nil && q.generation.Load() == o.generation && q.born.Load() == o.born {
		q.died.Store(sequence)
	}
}

// valid says whether the entry is of the generation and of the cycle's Snapshot, and at which version.
func (q *quick) valid(generation int64, c *cycle) (version int64, ok bool) {
	if q == nil {
		return 0, false
	}
	version = q.version.Load()
	return version, version&1 == 0 && q.generation.Load() == generation && c.unixNano < q.validUntil.Load() &&
		c.snapshot.has(q.born.Load(), q.died.Load())
}

// admits says whether the node takes the pod for sure. If not, refuse decides.
func (s *shortcut) admits(generation int64, c *cycle, p *Plugin) bool {
	q := s.entry(generation)
	version, ok := q.valid(generation, c)
	if !ok {
		return false
	}
	if c.need.batch {
		ok = c.since-q.measuredAt.Load() < int64(p.batchMaxAge)
	} else {
		ok = c.need.worst <= q.cpuRoom.Load() && c.need.memoryBytes <= q.memoryRoom.Load()
	}
	return ok && q.version.Load() == version
}

// load is what Score needs for a latency-sensitive pod that uses the same at all hours. It is not ok if the
// outlook has to be asked.
func (s *shortcut) load(generation int64, c *cycle) (l load, ok bool) {
	q := s.entry(generation)
	version, ok := q.valid(generation, c)
	if !ok {
		return load{}, false
	}
	l = load{
		measuredAt: q.measuredAt.Load(), safeLine: q.safeLine.Load(), byRequests: q.byRequests.Load(),
		pressure: q.pressure.Load(), logTail: math.Float64frombits(q.logTail.Load()),
	}
	for i := range q.risks {
		packed := q.risks[i].Load()
		if packed == noRisk {
			break
		}
		l.few[i] = unpackHour(packed)
		l.fewCount++
	}
	return l, l.fewCount > 0 && l.measuredAt != neverMeasured && q.version.Load() == version
}
