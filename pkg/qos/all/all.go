// Package all is the list of every strategy that the agent knows. It is a list and not a registry, so
// that what can run is read in one place.
//
// The trap: the order is the order in which strategies step; it has no meaning beyond that, since no
// two of them may claim one knob.
package all

import (
	"errors"
	"fmt"

	"github.com/plimsoll/plimsoll/pkg/qos"
	"github.com/plimsoll/plimsoll/pkg/qos/batchbound"
	"github.com/plimsoll/plimsoll/pkg/qos/batchcap"
	"github.com/plimsoll/plimsoll/pkg/qos/batchcpuset"
	"github.com/plimsoll/plimsoll/pkg/qos/batchidle"
	"github.com/plimsoll/plimsoll/pkg/qos/burst"
	"github.com/plimsoll/plimsoll/pkg/qos/coresched"
	"github.com/plimsoll/plimsoll/pkg/qos/realtime"
	"github.com/plimsoll/plimsoll/pkg/qos/starvation"
)

// Factories returns the factory of every strategy.
func Factories() []qos.Factory {
	return []qos.Factory{
		batchbound.Factory(),
		batchcap.Factory(),
		batchcpuset.Factory(),
		batchidle.Factory(),
		burst.Factory(),
		coresched.Factory(),
		realtime.Factory(),
		starvation.Factory(),
	}
}

// Want names a strategy and its arguments.
type Want struct {
	Name string
	Args []byte
}

// Build makes the wanted strategies and checks that no knob has two owners. The error names every
// unknown strategy, bad argument and contested knob, each with its index in wants.
func Build(wants []Want) ([]qos.Strategy, error) {
	factories := map[string]qos.Factory{}
	var names []string
	for _, f := range Factories() {
		factories[f.Name] = f
		names = append(names, f.Name)
	}
	var built []qos.Strategy
	var errs []error
	for i, w := range wants {
		f, ok := factories[w.Name]
		if !ok {
			errs = append(errs, fmt.Errorf("strategies[%d].name: unknown strategy %q: must be one of %q", i, w.Name, names))
			continue
		}
		s, err := f.New(w.Args)
		if err != nil {
			errs = append(errs, fmt.Errorf("strategies[%d].args: %w", i, err))
			continue
		}
		built = append(built, s)
	}
	errs = append(errs, qos.CheckOwners(built))
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return built, nil
}
