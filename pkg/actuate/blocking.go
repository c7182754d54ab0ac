package actuate

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/plimsoll/plimsoll/pkg/qos"
)

// mostBlocked is how many writes may block at once. A thread is blocked with each.
const mostBlocked = 16

// mayBlock says that the kernel may reclaim memory before it returns from a write of the knob, which
// takes as long as the disk does. A limit that is raised does not block, but takes the same way, so that
// it cannot overtake one that was lowered.
func mayBlock(k qos.Knob) bool {
	return k == qos.MemoryReclaim || k == qos.MemoryMax || k == qos.MemoryHigh
}

// blocking is the writes that may block: at most one a group, each on a goroutine of its own, which
// does nothing else. There is no queue: a change that finds its group busy is refused, and a strategy
// that still wants it asks again at the next tick.
type blocking struct {
	// busy is what is being written, by group.
	busy map[string]string
	done chan finished
}

type finished struct {
	group  string
	key    knobKey
	result Result
}

func newBlocking() blocking {
	return blocking{busy: map[string]string{}, done: make(chan finished, mostBlocked)}
}

// start begins a write and returns at once.
func (b *blocking) start(s step, write func() Result) Result {
	r := s.result(nil)
	if what, busy := b.busy[s.change.Group]; busy || len(b.busy) >= mostBlocked {
		if !busy {
			what = fmt.Sprintf("%d groups are written to", len(b.busy))
		}
		r.Err = fmt.Errorf("setting %s of %s to %q: %w: %s", s.change.Knob, s.change.Group, s.change.Value, ErrBusy, what)
		return r
	}
	b.busy[s.change.Group] = fmt.Sprintf("%s of %s to %q", s.change.Knob, s.change.Group, s.change.Value)
	group, key := s.change.Group, s.key()
	go func() { b.done <- finished{group, key, write()} }() // there is room: no more than mostBlocked run
	r.Written, r.Pending = true, true
	return r
}

// Finished returns what became of writes that were Pending and have ended since it was called last.
func (a *Actuator) Finished() []Result {
	var results []Result
	for {
		select {
		case f := <-a.blocks.done:
			delete(a.blocks.busy, f.group)
			results = append(results, a.keep(f.key, f.result))
		default:
			return results
		}
	}
}

// Close waits for the writes that block, for at most patience. What it does not wait for ends with the
// process; the error names it. Nothing is released, and the journal stays open.
func (a *Actuator) Close(patience time.Duration) ([]Result, error) {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	var results []Result
	for len(a.blocks.busy) > 0 {
		select {
		case f := <-a.blocks.done:
			delete(a.blocks.busy, f.group)
			results = append(results, a.keep(f.key, f.result))
			continue
		case <-timer.C:
		}
		var left []string
		for _, what := range a.blocks.busy {
			left = append(left, what)
		}
		slices.Sort(left)
		return results, fmt.Errorf("setting %s: not done after %v, and left", strings.Join(left, ", "), patience)
	}
	return results, nil
}
