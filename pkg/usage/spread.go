package usage

import (
	"fmt"
	"math"

	"github.com/DataDog/sketches-go/ddsketch"
	"github.com/DataDog/sketches-go/ddsketch/mapping"
	"github.com/DataDog/sketches-go/ddsketch/store"
)

const (
	// sketchError is how far a quantile may be off, as a share of its value.
	sketchError = 0.01
	// sketchBins bounds a sketch at 8 bytes x 512; they cover a range of 1 to 28,000 at sketchError. What is
	// smaller than that beside the largest values is counted as the smallest bin.
	sketchBins = 512
)

// Spread is how a quantity was spread, in its own unit.
type Spread struct {
	Mean, P50, P95, P99, Max int64
}

// spreader collects values into a spread. Its memory is bounded, and adding does not allocate once its
// bins cover the range of the values.
type spreader struct {
	sketch          *ddsketch.DDSketch
	sum, count, max float64
}

func newSpreader() spreader { return spreader{sketch: newSketch()} }

func newSketch() *ddsketch.DDSketch {
	m, err := mapping.NewLogarithmicMapping(sketchError)
	if err != nil {
		panic(fmt.Sprintf("usage: sketchError is not between 0 and 1: %v", err)) //nolint:forbidigo // it is a constant of this file
	}
	return ddsketch.NewDDSketch(m, newStore(), store.NewSparseStore())
}

func newStore() store.Store { return store.NewCollapsingLowestDenseStore(sketchBins) }

// add takes a value of some weight. What is negative or beyond 1<<60 is no measurement and leaves no trace.
func (s *spreader) add(value int64, weight float64) {
	if value < 0 || value > 1<<60 || !(weight > 0) || math.IsInf(weight, 1) {
		return
	}
	v := float64(value)
	if err := s.sketch.AddWithCount(v, weight); err != nil {
		return // out of the sketch's range, which the check above keeps
	}
	s.sum += v * weight
	s.count += weight
	s.max = max(s.max, v)
}

func (s *spreader) clear() {
	s.sketch.Clear()
	s.sum, s.count, s.max = 0, 0, 0
}

// merge adds what another has collected.
func (s *spreader) merge(o *spreader) {
	if o.count == 0 {
		return
	}
	if err := s.sketch.MergeWith(o.sketch); err != nil {
		return // two mappings: both are made by newSketch
	}
	s.sum += o.sum
	s.count += o.count
	s.max = max(s.max, o.max)
}

// decay makes all that was collected count less by a factor between 0 and 1.
func (s *spreader) decay(factor float64) {
	if s.count == 0 {
		return
	}
	if err := s.sketch.Reweight(factor); err != nil {
		return // a factor that is not positive
	}
	s.sum *= factor
	s.count *= factor
}

// spread is not OK when nothing was collected.
func (s *spreader) spread() (Spread, bool) {
	if s.count <= 0 {
		return Spread{}, false
	}
	return Spread{
		Mean: s.whole(s.sum / s.count), P50: s.quantile(0.5), P95: s.quantile(0.95), P99: s.quantile(0.99), Max: s.whole(s.max),
	}, true
}

// quantile is at most the largest value that was added.
func (s *spreader) quantile(q float64) int64 {
	v, err := s.sketch.GetValueAtQuantile(q)
	if err != nil { // nothing was collected
		return 0
	}
	return s.whole(min(v, s.max))
}

// whole is a value that may be published.
func (s *spreader) whole(v float64) int64 {
	if !(v >= 0) {
		return 0
	}
	return int64(math.Round(min(v, 1<<60)))
}
