package loadaware

import (
	"math"
	"sync"
	"sync/atomic"
)

// A scheduler of 5,000 nodes looks at the next 500 for each pod, so whatever it reads of a node has left the
// processor's nearer caches since it was read last. What judging costs is therefore how many lines of memory it
// touches. An outlook is eleven of them, after one to find it. What nearly all judgements need of it is copied to a
// table that is found without a pointer: a line for Filter, one more for Score. Lines of one sort lie side by side, and
// so do nodes that changed one after another, as all do when a scheduler starts: then they are fetched ahead.

const (
	// quickBits makes room for six times 5,000 nodes, so that few share an entry.
	quickBits = 15
	// chunkBits is how much of the table is allocated at a time: 64 KiB, when it is first used.
	chunkBits = 8
)

// quickRisks is how many hours an entry has room for. Most outlooks have one to three that can be the worst.
const quickRisks = 4

// quick is what Filter reads of an entry. Writers hold the table's lock; readers hold none, and see by version whether
// an entry was written meanwhile. It has no pointers, so that the garbage collector need not read it.
type quick struct {
	version    atomic.Int64 // odd while the entry is being written; of all parts of the entry
	generation atomic.Int64 // of the scheduler's NodeInfo; 0 for no entry
	born, died atomic.Int64 // as in outlook
	validUntil atomic.Int64
	measuredAt atomic.Int64
	// cpuRoom and memoryRoom are what a latency-sensitive pod may need at most to be admitted for sure; a pod
	// that needs more has to be looked at more closely.
	cpuRoom, memoryRoom atomic.Int64
}

// quickOnline is what Score reads for a latency-sensitive pod.
type quickOnline struct {
	safeLine   atomic.Int64
	byRequests atomic.Int64
	pressure   atomic.Int64
	logTail    atomic.Uint64 // the bits of a float64
	risks      [quickRisks]atomic.Uint64
}

// quickBatch is what Score reads for a batch pod: one line of it unless the job takes longer than some eight hours.
type quickBatch struct {
	safeLine, byRequests, pressure atomic.Int64
	batch                          atomic.Int64
	lasting                        [hoursPerDay]atomic.Int32
}

// chunk is some entries, their parts apart from each other.
type chunk struct {
	first  [1 << chunkBits]quick
	online [1 << chunkBits]quickOnline
	batch  [1 << chunkBits]quickBatch
}

// noRisk marks an unused place, and in the first one that there are more hours than places. No peak is negative.
const noRisk = math.MaxUint64

// neverMeasured is before every time of which there is a measurement.
const neverMeasured = math.MinInt64 / 2

// shortcut finds outlooks by the generation of the NodeInfo, which no two states of any nodes share, instead of
// by name. It is a cache of fixed size; what it finds is checked, and what it does not find is in the View.
type shortcut struct {
	mu       sync.Mutex // held by those who write to entries
	chunks   [1 << (quickBits - chunkBits)]atomic.Pointer[chunk]
	outlooks [1 << quickBits]atomic.Pointer[outlook]
}

// indexOf is the place of the generation. It has a second one, the neighbour.
func indexOf(generation int64) int { return int(generation & (1<<quickBits - 1)) }

// slot is the place of an entry.
type slot struct {
	*chunk
	i int
}

func (s slot) quick() *quick { return &s.first[s.i] }

// entry is the place that has the entry of the generation; it is not ok where there is none.
func (s *shortcut) entry(generation int64) (slot, bool) {
	i := indexOf(generation)
	at := slot{s.chunks[i>>chunkBits].Load(), i & (1<<chunkBits - 1)}
	if at.chunk == nil {
		return at, false
	}
	if at.quick().generation.Load() == generation {
		return at, true
	}
	at.i ^= 1
	return at, at.quick().generation.Load() == generation
}

// place is where the entry of the generation goes: where it is, else where none is that may still be asked for, else
// its first place.
func (s *shortcut) place(generation int64) slot {
	at, ok := s.entry(generation)
	if ok {
		return at
	}
	i := indexOf(generation)
	if at.chunk == nil {
		at.chunk = new(chunk)
		s.chunks[i>>chunkBits].Store(at.chunk)
	}
	first, second := slot{at.chunk, i & (1<<chunkBits - 1)}, slot{at.chunk, i&(1<<chunkBits-1) ^ 1}
	if first.quick().live() && !second.quick().live() {
		return second
	}
	return first
}

// live says whether the entry may still be asked for.
func (q *quick) live() bool { return q.generation.Load() != 0 && q.died.Load() == 0 }

// find is the outlook of the generation, nil if it is not there or not of the cycle's Snapshot.
func (s *shortcut) find(generation int64, c *cycle) *outlook {
	o := s.outlooks[indexOf(generation)].Load()
	if o == nil || o.generation != generation || c.unixNano >= o.validUntil || !c.snapshot.has(o.born, o.died.Load()) {
		return nil
	}
	return o
}

// add makes the outlook findable. before is what it takes the place of, or nil.
func (s *shortcut) add(o, before *outlook) {
	s.outlooks[indexOf(o.generation)].Store(o)
	s.mu.Lock()
	defer s.mu.Unlock()
	if before != nil && before.generation != o.generation {
		if at, ok := s.entry(before.generation); ok {
			at.quick().generation.Store(0)
		}
	}
	s.place(o.generation).write(o)
}

// write copies the outlook to the entry.
func (s slot) write(o *outlook) {
	q, online, batch := s.quick(), &s.online[s.i], &s.batch[s.i]
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

	online.safeLine.Store(o.safeLine)
	online.byRequests.Store(o.byRequests)
	online.pressure.Store(o.pressure)
	online.logTail.Store(math.Float64bits(o.logTail))
	for i := range online.risks {
		packed := uint64(noRisk)
		if i < o.riskCount && o.riskCount <= quickRisks {
			packed = o.risks[i].packed()
		}
		online.risks[i].Store(packed)
	}

	batch.safeLine.Store(o.safeLine)
	batch.byRequests.Store(o.byRequests)
	batch.pressure.Store(o.pressure)
	batch.batch.Store(o.batch())
	for k := range batch.lasting {
		batch.lasting[k].Store(o.lasting[k])
	}
	q.version.Add(1)
}

// replaced tells that the outlook's View is in no Snapshot from that sequence number on.
func (s *shortcut) replaced(o *outlook, sequence int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o.died.Store(sequence)
	if at, ok := s.entry(o.generation); ok && at.quick().born.Load() == o.born {
		at.quick().died.Store(sequence)
	}
}

// valid is the place of the entry of the generation, if it is of the cycle's Snapshot, and at which version.
func (s *shortcut) valid(generation int64, c *cycle) (at slot, version int64, ok bool) {
	if at, ok = s.entry(generation); !ok {
		return at, 0, false
	}
	q := at.quick()
	version = q.version.Load()
	return at, version, version&1 == 0 && q.generation.Load() == generation && c.unixNano < q.validUntil.Load() &&
		c.snapshot.has(q.born.Load(), q.died.Load())
}

// admits says whether the node takes the pod for sure. If not, refuse decides.
func (s *shortcut) admits(generation int64, c *cycle, p *Plugin) bool {
	at, version, ok := s.valid(generation, c)
	if !ok {
		return false
	}
	q := at.quick()
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
	at, version, ok := s.valid(generation, c)
	if !ok {
		return load{}, false
	}
	q, online := at.quick(), &at.online[at.i]
	l = load{
		measuredAt: q.measuredAt.Load(), safeLine: online.safeLine.Load(), byRequests: online.byRequests.Load(),
		pressure: online.pressure.Load(), logTail: math.Float64frombits(online.logTail.Load()),
	}
	for i := range online.risks {
		packed := online.risks[i].Load()
		if packed == noRisk {
			break
		}
		l.few[i] = unpackHour(packed)
		l.fewCount++
	}
	return l, l.fewCount > 0 && l.measuredAt != neverMeasured && q.version.Load() == version
}

// batchLoad is what Score needs for a batch pod. It is not ok if the outlook has to be asked.
func (s *shortcut) batchLoad(generation int64, c *cycle) (l load, ok bool) {
	at, version, ok := s.valid(generation, c)
	if !ok {
		return load{}, false
	}
	q, batch := at.quick(), &at.batch[at.i]
	l = load{
		measuredAt: q.measuredAt.Load(), safeLine: batch.safeLine.Load(), byRequests: batch.byRequests.Load(),
		pressure: batch.pressure.Load(), batch: batch.batch.Load(),
		lasting: int64(batch.lasting[c.lastHour].Load()),
	}
	return l, l.measuredAt != neverMeasured && q.version.Load() == version
}
