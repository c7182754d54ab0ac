package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
)

// loads are the services of the matrix. A request to payments takes about 1 ms of CPU, so that the rates are a
// fifth, a half and four fifths of a core; one to Redis is forty commands in a pipeline.
func loads() []load {
	return []load{{paymentsService, 200}, {paymentsService, 500}, {paymentsService, 800}, {redisService, 1000}}
}

func (l load) name() string { return fmt.Sprintf("%s-%g", l.service, l.rate) }

// batchKinds are the kinds of batch work of the matrix.
func batchKinds() []batchKind {
	return []batchKind{
		{"spin-4", 4, "spin"}, {"spin-16", 16, "spin"},
		{"fork", 4, "fork"}, {"cache", 4, "cache"},
	}
}

// matrixArms are the arms with batch, in the order of the table; alone is measured once for each service and round.
func matrixArms() []armName {
	return []armName{ordinary, bestEffort, suppressed, plimsoll, agentStopped}
}

func names[T any](all []T, name func(T) string) []string {
	var out []string
	for _, one := range all {
		out = append(out, name(one))
	}
	return out
}

// chosen is those of all whose names are in a list.
func chosen[T any](flag, list string, all []T, name func(T) string) ([]T, error) {
	var out []T
	for want := range strings.SplitSeq(list, ",") {
		i := slices.IndexFunc(all, func(one T) bool { return name(one) == want })
		if i < 0 {
			return nil, fmt.Errorf("--%s %q: %q is not one of %s", flag, list, want, strings.Join(names(all, name), ", "))
		}
		out = append(out, all[i])
	}
	return out, nil
}

// cells are the services and the kinds of batch work that were asked for.
func (o options) cells() ([]load, []batchKind, error) {
	services, err := chosen("services", o.services, loads(), load.name)
	if err != nil {
		return nil, nil, err
	}
	kinds, err := chosen("batch-kinds", o.batchKinds, batchKinds(), func(k batchKind) string { return k.name })
	return services, kinds, err
}

// matrixPlan is the order of all windows. Each round measures each service in turn: alone and beside each kind
// of batch work in each arm, in an order drawn from the seed. Each round ends with batch under Plimsoll and
// nobody to protect.
func matrixPlan(services []load, kinds []batchKind, rounds int, seed uint64) []slot {
	random := rand.New(rand.NewPCG(seed, 0x6D6174726978))
	var slots []slot
	for round := 1; round <= rounds; round++ {
		order := slices.Clone(services)
		random.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
		for _, l := range order {
			windows := []slot{{round, alone, l, batchKind{name: "none"}}}
			for _, kind := range kinds {
				for _, arm := range matrixArms() {
					windows = append(windows, slot{round, arm, l, kind})
				}
			}
			random.Shuffle(len(windows), func(i, j int) { windows[i], windows[j] = windows[j], windows[i] })
			slots = append(slots, windows...)
		}
		slots = append(slots, slot{round, onlineAbsent, order[0], kinds[0]})
	}
	return slots
}

// prepareMatrix starts what the matrix needs beside the demo's pods.
func (s *stage) prepareMatrix(ctx context.Context, out *progress) ([]slot, error) {
	services, kinds, err := s.options.cells()
	if err != nil {
		return nil, err
	}
	if slices.ContainsFunc(services, func(l load) bool { return l.service == redisService }) {
		ports, err := freePorts(1)
		if err != nil {
			return nil, err
		}
		err = out.step("redis running", func() error { return s.startOnline(ctx, redisService, "redis://"+ports[0], ports[0]) })
		if err != nil {
			return nil, fmt.Errorf("starting Redis (it is this machine's: hack/install-deps.sh installs it): %w", err)
		}
	}
	slots := matrixPlan(services, kinds, s.options.rounds, s.options.seed)
	out.note("  %d windows of %s, some %.0f minutes", len(slots), s.options.roundDuration(), float64(len(slots))*(s.options.roundDuration().Seconds()+4)/60)
	return slots, nil
}

// label is the line of progress of a window.
func (s slot) label(w window) string {
	text := fmt.Sprintf("round %d  %-13s %-7s %-15s", s.round, s.load.name(), s.kind.name, s.arm.title())
	if s.arm.hasService() {
		text += fmt.Sprintf("  p99 %6.2f ms", w.P99Ms)
	}
	if s.arm != alone {
		text += fmt.Sprintf("  batch %4.1f CPU s", w.BatchCPUSeconds)
	}
	return text
}
