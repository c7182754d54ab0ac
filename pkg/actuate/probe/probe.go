package probe

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/plimsoll/plimsoll/pkg/cgroup"
)

// State is what came of a try.
type State string

// The states: Works was tried and does, Fails was tried and does not, Unknown could not be tried.
const (
	Works   State = "Works"
	Fails   State = "Fails"
	Unknown State = "Unknown"
)

// Result is one thing that a host can or cannot do.
type Result struct {
	// Name is a knob's neutral name, or a feature's.
	Name  string `json:"name"`
	State State  `json:"state"`
	// Detail is what was tried and what came of it.
	Detail string `json:"detail"`
}

// The features that are no knobs.
const (
	FeaturePSI          = "psi"
	FeatureGroupPSI     = "psi.groups"
	FeatureTriggers     = "psi.triggers"
	FeatureFastTriggers = "psi.triggers.500ms"
	FeatureRunDelay     = "schedstat"
	FeatureShields      = "cpu.idle.shields"
)

// Options say what to probe.
type Options struct {
	Host cgroup.Host
	// Task is the command line of a program that calls Task with the arguments behind it: the probe's own
	// program, because an agent starts no other.
	Task []string
}

// patience bounds the whole probe; it takes about a second.
const patience = 20 * time.Second

// Run probes a host. Its scratch group is removed on every way out. The error is about the scratch group;
// what the host cannot do is in the results.
func Run(ctx context.Context, o Options) (results []Result, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	s, err := makeScratch(o.Host)
	if err != nil {
		return nil, fmt.Errorf("probing: %w", err)
	}
	defer func() { err = errors.Join(err, s.remove()) }()
	results = s.knobs()
	results = append(results, s.pressure()...)
	results = append(results, s.runDelay())
	return append(results, s.shields(ctx, o.Task, results)), nil
}
