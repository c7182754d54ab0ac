package usage

import "time"

// LendRule says how much of one resource of a node may be lent to batch work:
//
//	safeLine = capacity x SafeLinePermille
//	margin   = capacity x (MarginPermille + (ColdMarginPermille - MarginPermille) x (1 - confidence))
//	computed = max(0, safeLine - system - forecastPeak - margin)
//
// A capacity is at most 1<<60 of its unit.
type LendRule struct {
	SafeLinePermille, MarginPermille, ColdMarginPermille int64
	// RaiseAfter is how long more must have been lendable before more is published.
	RaiseAfter time.Duration
	// DeadBandPermille is how much more must have been lendable, in thousandths of the capacity.
	DeadBandPermille int64
	// Unit is what published amounts are multiples of.
	Unit int64
}

// LendInput is what was measured and forecast of one resource.
type LendInput struct {
	Capacity int64
	// System is the peak, over the last minutes, of what is neither batch nor latency-sensitive.
	System Reading
	// ForecastPeak is the peak of latency-sensitive use over the horizon.
	ForecastPeak Reading
	// ConfidencePermille is how far the forecast can be trusted.
	ConfidencePermille int64
}

// LendSum is the arithmetic behind an amount, so that a person can check it.
type LendSum struct {
	SafeLine, System, ForecastPeak, Margin, Computed int64
}

// Compute returns what could be lent now. It is not OK when anything it rests on was not measured:
// without a measurement nothing is lent.
func (r LendRule) Compute(in LendInput) (LendSum, bool) {
	const most = 1 << 60
	usable := func(v Reading) bool { return v.OK && v.Value >= 0 && v.Value <= most }
	if !usable(in.System) || !usable(in.ForecastPeak) || in.Capacity < 1 || in.Capacity > most {
		return LendSum{}, false
	}
	doubt := 1000 - min(max(in.ConfidencePermille, 0), 1000)
	marginPermille := r.MarginPermille + max(r.ColdMarginPermille-r.MarginPermille, 0)*doubt/1000
	s := LendSum{
		SafeLine: permilleOf(in.Capacity, r.SafeLinePermille),
		System:   in.System.Value, ForecastPeak: in.ForecastPeak.Value,
		Margin: permilleOf(in.Capacity, marginPermille),
	}
	s.Computed = max(0, s.SafeLine-s.System-s.ForecastPeak-s.Margin)
	return s, true
}

// permilleOf does not overflow for amounts up to 1<<60 and up to a thousand thousandths.
func permilleOf(amount, permille int64) int64 {
	permille = min(max(permille, 0), 1000)
	return amount/1000*permille + amount%1000*permille/1000
}

// Lender remembers what was published of one resource. The zero value has published nothing.
type Lender struct {
	published int64
	// since is when the unbroken run of measurements began.
	since, last time.Time
	// most is the largest of the computed amounts, negated.
	most sliding
}

// Restore sets what was published before a restart. It still falls at once, and rises as ever.
func (l *Lender) Restore(published int64) { *l = Lender{published: max(0, published)} }

// Published is what was published last.
func (l *Lender) Published() int64 { return l.published }

// Stop publishes nothing: there is no measurement to lend by.
func (l *Lender) Stop() { *l = Lender{} }

// Follow returns what to publish now that computed could be lent.
//
//	down: at once, when computed falls below what is published, and half a dead band further, so that noise
//	      around a level does not pull it down again and again
//	up:   to the least computed amount of the last RaiseAfter, when that is a dead band or more above
//
// So what is published is never above computed.
func (l *Lender) Follow(r LendRule, now time.Time, computed, capacity int64) int64 {
	computed = max(0, computed)
	deadBand := permilleOf(capacity, r.DeadBandPermille)
	if l.since.IsZero() || now.Before(l.last) || now.Sub(l.last) > r.RaiseAfter {
		l.since, l.most = now, sliding{}
	}
	l.last = now
	least := l.remember(r, now, computed)
	switch {
	case computed < l.published:
		l.published = r.whole(max(0, computed-deadBand/2))
	case now.Sub(l.since) >= r.RaiseAfter && least >= l.published+max(deadBand, 1):
		l.published = r.whole(least)
	}
	return l.published
}

// whole rounds down to the unit.
func (r LendRule) whole(v int64) int64 {
	if r.Unit <= 1 {
		return v
	}
	return v - v%r.Unit
}

// remember adds a computed amount and returns the least of the last RaiseAfter, and of up to an eighth more.
func (l *Lender) remember(r LendRule, now time.Time, computed int64) int64 {
	return -l.most.add(now, r.RaiseAfter, -computed)
}

// SlidingPeak is the largest of the readings of the last minutes. The zero value has none.
type SlidingPeak struct{ most sliding }

// Of adds a reading and returns the largest of those in a window that ends now, and of up to an eighth of it
// before. It is not OK when the reading is not: what is not measured now has no peak now.
func (p *SlidingPeak) Of(now time.Time, window time.Duration, r Reading) Reading {
	if !r.OK || r.Value < 0 {
		return Reading{}
	}
	return Of(p.most.add(now, window, r.Value))
}

// slidingParts is how finely a window is divided.
const slidingParts = 8

// sliding keeps the largest value in each part of a window.
type sliding struct {
	last  time.Time
	parts [slidingParts + 1]struct {
		number, most int64
	}
}

func (s *sliding) add(now time.Time, window time.Duration, value int64) int64 {
	if now.Before(s.last) {
		*s = sliding{} // the clock was set back: what was is said not to have been yet
	}
	s.last = now
	number := now.UnixNano() / int64(max(window/slidingParts, 1))
	newest := &s.parts[number%int64(len(s.parts))]
	if newest.number != number {
		newest.number, newest.most = number, value
	}
	newest.most = max(newest.most, value)
	most := value
	for _, p := range s.parts {
		if p.number > number-int64(len(s.parts)) && p.number > 0 {
			most = max(most, p.most)
		}
	}
	return most
}

// Loan is what one batch pod has asked for and what it uses, of one resource.
type Loan struct {
	Lent int64
	// Used is not OK while the pod has not been measured: nothing of its loan counts as unused then.
	Used Reading
}

// SumLoans adds up what pods have asked for, what of it they do not use, and what they use beyond it: the
// one pod's rest does not make up for another's excess.
func SumLoans(loans []Loan) (lent, unused, beyond int64) {
	for _, l := range loans {
		lent += max(0, l.Lent)
		if !l.Used.OK {
			continue
		}
		unused += max(0, l.Lent-max(0, l.Used.Value))
		beyond += max(0, l.Used.Value-max(0, l.Lent))
	}
	return lent, unused, beyond
}
