package openloop

import (
	"math/rand/v2"
	"time"
)

// Arrivals returns the times, from the start, at which requests are due: a Poisson process of the given
// rate over the given span. The same seed gives the same times.
func Arrivals(ratePerSecond float64, span time.Duration, seed uint64) []time.Duration {
	// The second word of the generator's state only has to be constant.
	random := rand.New(rand.NewPCG(seed, 0x706C696D736F6C6C))
	expected := ratePerSecond * span.Seconds()
	// A tenth more than expected nearly always spares the last, largest copy.
	due := make([]time.Duration, 0, int(expected*1.1)+16)
	// Gaps of a Poisson process are exponential with mean 1/rate. Summed as float seconds, so that
	// rounding each gap to a nanosecond does not add up to a different rate.
	for at := random.ExpFloat64() / ratePerSecond; at < span.Seconds(); at += random.ExpFloat64() / ratePerSecond {
		due = append(due, time.Duration(at*float64(time.Second)))
	}
	return due
}
