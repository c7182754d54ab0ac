package loadaware

import (
	"net/http"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/plimsoll/plimsoll/pkg/api/v1alpha1"
)

// Three clocks are involved in the age of a measurement: the node's, by which it was made; the API server's, which
// notes in managedFields when the agent wrote it; and the scheduler's, which has to know how old it is. The API server
// stamps whole seconds, and the Date of its responses is in whole seconds too, so what is known of a clock that way is
// within a second; what arrives by the watch at once tells it more closely.

// second is how coarse the API server's stamps are.
const second = time.Second

// notableSkew is how far a node's clock may be off before it is told of: more than stamps and a slow write make.
const notableSkew = 5 * time.Second

// writtenAt is when the agent last wrote the status, zero if that is not told.
func writtenAt(fields []metav1.ManagedFieldsEntry) time.Time {
	for i := range fields {
		if f := &fields[i]; f.Manager == v1alpha1.FieldManager && f.Subresource == "status" && f.Time != nil {
			return f.Time.Time
		}
	}
	return time.Time{}
}

// skew is how far the API server's clock was ahead of the node's when the agent wrote, within a second and what the
// write took.
func (v *View) skew() time.Duration {
	if v.written.IsZero() {
		return 0
	}
	return v.written.Sub(v.observed)
}

// serverClock is how far the scheduler's clock is ahead of the API server's: the smallest difference seen between
// when something arrived and when it was stamped. Two clocks of the control plane, so all nodes tell of it.
type serverClock struct {
	mu    sync.Mutex
	bound time.Duration
	since time.Time // zero before the first response
}

// dated takes in the date of a response.
func (c *serverClock) dated(date, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if delay := now.Sub(date); c.since.IsZero() || delay < c.drifted(now) {
		c.bound, c.since = delay, now
	}
}

// wrote takes in what the API server stamped and the watch has brought. It says nothing before a response did: what
// was listed may be old.
func (c *serverClock) wrote(written, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if delay := now.Sub(written); !written.IsZero() && !c.since.IsZero() && delay < c.drifted(now) {
		c.bound, c.since = delay, now
	}
}

func (c *serverClock) drifted(now time.Time) time.Duration {
	return c.bound + now.Sub(c.since)/driftDivisor
}

// offset is 0, as if the clocks were equal, while nothing is known.
func (c *serverClock) offset(now time.Time) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.since.IsZero() {
		return 0
	}
	return c.drifted(now)
}

// dateReader tells the date of each response.
type dateReader struct {
	next http.RoundTripper
	tell func(time.Time)
}

func (d dateReader) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := d.next.RoundTrip(r)
	if err == nil {
		if date, err := http.ParseTime(response.Header.Get("Date")); err == nil {
			d.tell(date)
		}
	}
	return response, err //nolint:wrapcheck // a RoundTripper passes on what it is told
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

// arrival tells when v's measurement arrived and what is now known of its node's clock. An agent writes what it has
// measured at once, so when the API server took it bounds the offset as well as its arrival does, and from the first
// measurement on: it may have arrived much later, as what is listed does.
func arrival(v *View, now time.Time, previous *View, serverOffset time.Duration) (time.Time, clockOffset) {
	delay, stamped := now.Sub(v.observed), !v.written.IsZero()
	if stamped {
		delay = min(delay, v.skew()+second+serverOffset)
	}
	if previous == nil || previous.uid != v.uid || v.observed.Before(previous.observed) {
		// The first of this node, or its clock was set back: whatever was known of it is void.
		return now, clockOffset{upperBound: delay, confirmed: stamped}
	}
	if v.observed.Equal(previous.observed) {
		// The object changed, the measurement did not: it is as old as it was.
		return previous.received, previous.offset
	}
	bound := previous.offset.upperBound + now.Sub(previous.received)/driftDivisor
	return now, clockOffset{upperBound: min(delay, bound), confirmed: true}
}

// ageOnArrival is how old the measurement was when it arrived.
func (v *View) ageOnArrival() time.Duration {
	offset := v.offset.upperBound
	if !v.offset.confirmed {
		// Clocks are taken as equal, except that no measurement is from the future.
		offset = min(offset, 0)
	}
	return v.received.Sub(v.observed) - offset
}

// age is how old the measurement is.
func (v *View) age(now time.Time) time.Duration { return now.Sub(v.measuredAt) }
