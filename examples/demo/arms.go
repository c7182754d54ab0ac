package main

import (
	"fmt"
	"math/rand/v2"
)

// armName names one way to run batch work beside the service.
type armName string

const (
	alone      armName = "alone"
	ordinary   armName = "ordinary"
	bestEffort armName = "besteffort"
	// idleOnly is Plimsoll without the service's asking for anything: batch runs in the batch branch.
	idleOnly armName = "plimsoll-idle"
	// plimsoll is that, and the service asks for real-time priority.
	plimsoll armName = "plimsoll"
	// batchAlone is batch without requests to the service. It is no arm: it says what batch does with
	// the whole machine, which the effective utilization is relative to.
	batchAlone armName = "batch-alone"
)

// title is the arm's name for people.
func (a armName) title() string {
	switch a {
	case alone:
		return "alone"
	case ordinary:
		return "ordinary pods"
	case bestEffort:
		return "BestEffort pods"
	case idleOnly:
		return "cpu.idle only"
	case plimsoll:
		return "Plimsoll"
	case batchAlone:
		return "batch alone"
	}
	return string(a)
}

// arms are the compared ways, in the order of the report.
func arms() []armName { return []armName{alone, ordinary, bestEffort, idleOnly, plimsoll} }

// slot is one window to measure.
type slot struct {
	round int
	arm   armName
}

// inBranch says whether the arm's batch pod runs in the batch branch.
func (a armName) inBranch() bool { return a == idleOnly || a == plimsoll }

// plan is the order of all windows: each round runs every arm once, in an order drawn from the seed, so
// that neither a drift of the machine nor the neighbour of an arm favours one. Batch alone is measured
// before the first round and after the last.
func plan(rounds int, seed uint64) []slot {
	random := rand.New(rand.NewPCG(seed, 0x64656D6F))
	slots := []slot{{0, batchAlone}}
	for round := 1; round <= rounds; round++ {
		order := arms()
		random.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
		for _, arm := range order {
			slots = append(slots, slot{round, arm})
		}
	}
	return append(slots, slot{rounds + 1, batchAlone})
}

func (s slot) podName() string { return fmt.Sprintf("batch-%s-%d", s.arm, s.round) }
