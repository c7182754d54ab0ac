// Package spin is the unit of CPU work of the examples: a fixed number of iterations of a register-only
// random number generator. It is not a benchmark of the machine: it touches no memory and makes no
// system call, so two runs differ only by the CPU time they were given.
//
// Units: iterations, and iterations per millisecond.
//
// The trap: work is fixed by iterations and never by a deadline. A loop that runs "for one
// millisecond" does less work under contention and so hides the very delay that is to be measured.
package spin

import "time"

// Work runs the given number of iterations and returns the generator's last state. It is not inlined
// and its result depends on every iteration, so the compiler cannot drop the loop.
//
//go:noinline
func Work(iterations int64) uint64 {
	state := uint64(0x9E3779B97F4A7C15)
	for range iterations {
		// A xorshift step: three dependent operations, so the loop's speed is latency bound and does
		// not depend on how many execution ports the core has.
		state ^= state << 13
		state ^= state >> 7
		state ^= state << 17
	}
	return state
}

// Calibration settings: a trial long enough that the clock's resolution does not count, short enough
// that most trials fit between two disturbances, and enough trials that one of them is undisturbed.
const (
	trialIterations = 200_000
	trials          = 500
)

// IterationsPerMillisecond measures how many iterations this core does in a millisecond when nothing
// disturbs it: the fastest of many short trials, because a disturbance can only make a trial slower.
func IterationsPerMillisecond() int64 {
	fastest := time.Duration(1<<63 - 1)
	for range trials {
		start := time.Now()
		Work(trialIterations)
		fastest = min(fastest, time.Since(start))
	}
	return max(1, int64(float64(trialIterations)*float64(time.Millisecond)/float64(fastest)))
}
