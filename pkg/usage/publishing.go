package usage

import "time"

// PublishRule says when readers are told what a node uses. Between two writes they see the last one, so
// what they see is wrong by the distance between that and what is measured now. The rule spends writes
// where they take away most of that error:
//
//	owed   = integral over time, since the last write, of the error in permille of the node's capacity
//	budget = BudgetPermilleSeconds x price,
//	price  = 1 while writes are rarer than AverageInterval, and doubles with each two that are ahead of it
//
// A write is due when the error is JumpPermille or more, or when owed reaches budget, but never within
// MinInterval of the write before; and at the latest Heartbeat after it. A small error that lasts is
// told of as surely as a large one, only later; and on a node whose use never rests, the price rises
// until the writes are as rare as they shall be.
type PublishRule struct {
	MinInterval, AverageInterval, Heartbeat time.Duration
	// FloorPermille is the error that readers need not be told of: below it nothing is owed.
	FloorPermille int64
	// JumpPermille is the error that is told of at once.
	JumpPermille int64
	// BudgetPermilleSeconds is the error times the time that it lasts.
	BudgetPermilleSeconds int64
}

const (
	// freeWrites is how many writes may be ahead of the average before the price rises.
	freeWrites = 4
	// mostAhead bounds the price at 2^((mostAhead-freeWrites)/2) = 64, and what a burst costs later.
	mostAhead = 16
)

// Publishing is what a PublishRule needs to remember. The zero value has written nothing.
type Publishing struct {
	wrote, seen time.Time
	// owed is in permille-seconds.
	owed float64
	// ahead is how many writes more than one in each AverageInterval there were, lately.
	ahead float64
}

// Due reports whether readers are to be told, and adds the error since the last call to what is owed.
// errorPermille is how far what readers see is from what is measured at now.
func (p *Publishing) Due(r PublishRule, now time.Time, errorPermille int64) bool {
	if p.wrote.IsZero() {
		return true
	}
	if elapsed := now.Sub(p.seen); elapsed > 0 {
		p.ahead = max(0, p.ahead-elapsed.Seconds()/r.AverageInterval.Seconds())
		if errorPermille >= r.FloorPermille {
			p.owed += float64(errorPermille) * elapsed.Seconds()
		}
		p.seen = now
	}
	since := now.Sub(p.wrote)
	switch {
	case since < 0: // the clock was set back
		return true
	case since < r.MinInterval:
		return false
	case since >= r.Heartbeat, errorPermille >= r.JumpPermille:
		return true
	default:
		return errorPermille >= r.FloorPermille && p.owed >= float64(r.BudgetPermilleSeconds)*p.price()
	}
}

// MayWrite reports whether MinInterval has gone by, for news that are no measurement.
func (p *Publishing) MayWrite(r PublishRule, now time.Time) bool {
	since := now.Sub(p.wrote)
	return p.wrote.IsZero() || since < 0 || since >= r.MinInterval
}

// Wrote tells that readers were told at now.
func (p *Publishing) Wrote(now time.Time) {
	p.wrote, p.seen, p.owed = now, now, 0
	p.ahead = min(p.ahead+1, mostAhead)
}

func (p *Publishing) price() float64 {
	price := 1.0
	for ahead := p.ahead - freeWrites; ahead > 0; ahead -= 2 {
		price *= 1 + min(ahead, 2)/2
	}
	return price
}

// ErrorPermille is the distance between what was told and what is, in thousandths of a capacity. Amounts
// are never negative. What cannot be a share of a capacity, for want of one, counts as the whole of it.
func ErrorPermille(told, is, capacity int64) int64 {
	told, is = max(told, 0), max(is, 0) // and so their difference is an int64
	distance := max(told-is, is-told)
	switch {
	case distance == 0:
		return 0
	case distance >= capacity:
		return 1000
	case capacity > 1<<50: // so that the product below stays an int64
		return distance / (capacity / 1000)
	default:
		return distance * 1000 / capacity
	}
}
