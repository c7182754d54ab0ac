package openloop

import (
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestArrivalsAreAPoissonProcess(t *testing.T) {
	// 100 requests per second over 1,000 windows of a second. In a Poisson process the count in a
	// window has mean 100 and variance 100, and the gaps have mean and standard deviation 10 ms.
	const windows, rate = 1000, 100.0
	counts := make([]float64, windows)
	var gapsMs []float64
	var previous time.Duration
	for _, at := range Arrivals(rate, windows*time.Second, 1) {
		counts[int(at/time.Second)]++
		gapsMs = append(gapsMs, float64(at-previous)/1e6)
		previous = at
	}
	near := func(what string, got, want, tolerance float64) {
		t.Helper()
		if math.Abs(got-want) > tolerance {
			t.Errorf("%s = %.3f, want %.3f within %.3f", what, got, want, tolerance)
		}
	}
	// Tolerances are four standard errors: sqrt(100/1000) for the mean, 100*sqrt(2/1000) for the
	// variance, 10/sqrt(100,000) for the gaps.
	mean, variance := moments(counts)
	near("mean count", mean, 100, 1.27)
	near("variance of the count", variance, 100, 17.9)
	gapMean, gapVariance := moments(gapsMs)
	near("mean gap in ms", gapMean, 10, 0.13)
	near("standard deviation of the gap in ms", math.Sqrt(gapVariance), 10, 0.26)
}

func TestArrivalsDependOnTheSeedOnly(t *testing.T) {
	first, again, other := Arrivals(500, time.Second, 7), Arrivals(500, time.Second, 7), Arrivals(500, time.Second, 8)
	if diff := cmp.Diff(first, again); diff != "" {
		t.Errorf("the same seed gave other times (-first,+again):\n%s", diff)
	}
	if cmp.Equal(first, other) {
		t.Error("another seed gave the same times")
	}
}

func moments(values []float64) (mean, variance float64) {
	for _, value := range values {
		mean += value / float64(len(values))
	}
	for _, value := range values {
		variance += (value - mean) * (value - mean) / float64(len(values)-1)
	}
	return mean, variance
}
