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
	// suppressed is BestEffort batch under a quota that a controller sets each second (bench-protect).
	suppressed armName = "suppressed"
	// agentStopped is plimsoll, whose agent is stopped in the middle of the window (bench-protect).
	agentStopped armName = "plimsoll-stopped"
	// onlineAbsent is Plimsoll with nobody to protect (bench-protect).
	onlineAbsent armName = "plimsoll-no-load"
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
	case suppressed:
		return "quota of 65 %"
	case agentStopped:
		return "agent stopped"
	case onlineAbsent:
		return "no service"
	}
	return string(a)
}

// arms are the compared ways, in the order of the report.
func arms() []armName { return []armName{alone, ordinary, bestEffort, idleOnly, plimsoll} }

// load is what clients ask of which service.
type load struct {
	service string
	rate    float64 // requests per second
}

// batchKind is what the batch pod does.
type batchKind struct {
	name    string
	threads int
	mode    string
}

// slot is one window to measure.
type slot struct {
	round int
	arm   armName
	// load and kind are the demo's where they are not set.
	load load
	kind batchKind
}

// fill sets what is not set.
func (s slot) fill(o options) slot {
	if s.load.service == "" {
		s.load = load{service: paymentsService, rate: o.rate}
	}
	if s.kind.name == "" {
		s.kind = batchKind{name: "spin", threads: o.batchThreads, mode: "spin"}
	}
	return s
}

// inBranch says whether the arm's batch pod runs in the batch branch.
func (a armName) inBranch() bool {
	return a == idleOnly || a == plimsoll || a == agentStopped || a == onlineAbsent
}

// hasService says whether clients ask the service in the arm.
func (a armName) hasService() bool { return a != batchAlone && a != onlineAbsent }

// asksRealtime says whether the service asks for real-time priority in the arm.
func (a armName) asksRealtime() bool { return a == plimsoll || a == agentStopped }

// plan is the order of all windows: each round runs every arm once, in an order drawn from the seed, so
// that neither a drift of the machine nor the neighbour of an arm favours one. Batch alone is measured
// before the first round and after the last.
func plan(rounds int, seed uint64) []slot {
	random := rand.New(rand.NewPCG(seed, 0x64656D6F))
	slots := []slot{{round: 0, arm: batchAlone}}
	for round := 1; round <= rounds; round++ {
		order := arms()
		random.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
		for _, arm := range order {
			slots = append(slots, slot{round: round, arm: arm})
		}
	}
	return append(slots, slot{round: rounds + 1, arm: batchAlone})
}

func (s slot) podName() string {
	if s.kind.name == "" {
		return fmt.Sprintf("batch-%s-%d", s.arm, s.round)
	}
	return fmt.Sprintf("batch-%s-%s-%s-%g-%d", s.arm, s.kind.name, s.load.service, s.load.rate, s.round)
}
