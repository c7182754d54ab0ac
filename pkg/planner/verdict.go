package planner

import (
	"fmt"
	"slices"
)

// Verdict is one target and whether it was met.
type Verdict struct {
	Scope  string `json:"scope"`
	Target string `json:"target"`
	// Measured is what was measured, in words.
	Measured string `json:"measured"`
	Met      bool   `json:"met"`
}

// The targets: how much more than the histogram method is gained at the same rate on the median set, and where the
// rate of the usual margin must lie.
const (
	targetRatio                    = 1.15
	lowestDelivered, mostDelivered = 0.003, 0.015
)

// Verdicts judges the results of each scope by themselves, at the horizon that methods are compared at.
func Verdicts(results []BacktestResult) []Verdict {
	var scopes []string
	byScope := map[string][]BacktestResult{}
	for _, r := range results {
		if h, ok := r.compared(); !ok || len(h.Methods) == 0 {
			continue
		}
		if !slices.Contains(scopes, r.Scope) {
			scopes = append(scopes, r.Scope)
		}
		byScope[r.Scope] = append(byScope[r.Scope], r)
	}
	var verdicts []Verdict
	for _, scope := range scopes {
		for _, v := range []Verdict{
			medianRatio(byScope[scope], 0), noReferenceAhead(byScope[scope], 0),
			medianRatio(byScope[scope], 1), noReferenceAhead(byScope[scope], 1),
			calibrated(byScope[scope]),
		} {
			v.Scope = scope
			verdicts = append(verdicts, v)
		}
	}
	return verdicts
}

// compared is the horizon that methods are compared at.
func (r *BacktestResult) compared() (*HorizonResult, bool) {
	if len(r.Horizons) == 0 {
		return nil, false
	}
	return &r.Horizons[comparedAt(len(r.Horizons))], true
}

// Method finds a method's result.
func (h *HorizonResult) Method(name string) (MethodResult, bool) {
	i := slices.IndexFunc(h.Methods, func(m MethodResult) bool { return m.Name == name })
	if i < 0 {
		return MethodResult{}, false
	}
	return h.Methods[i], true
}

// GainRatio is our gain over the histogram's at one of the Rates, by its index.
func (h *HorizonResult) GainRatio(rate int) float64 {
	ours, _ := h.Method(MethodPlimsoll)
	theirs, _ := h.Method(MethodHistogram)
	if len(ours.Swept) == 0 || len(theirs.Swept) == 0 || theirs.Swept[rate].Gain <= 0 {
		return 0
	}
	return ours.Swept[rate].Gain / theirs.Swept[rate].Gain
}

func medianRatio(results []BacktestResult, rate int) Verdict {
	var ratios []float64
	for _, r := range results {
		h, _ := r.compared()
		ratios = append(ratios, h.GainRatio(rate))
	}
	slices.Sort(ratios)
	n := len(ratios)
	median := (ratios[(n-1)/2] + ratios[n/2]) / 2
	return Verdict{
		Target:   fmt.Sprintf("gain at %s violations at least %.2f of the histogram's, on the median set", percentText(Rates()[rate]), targetRatio),
		Measured: fmt.Sprintf("%.3f (sets, in order: %.3f)", median, ratios),
		Met:      median >= targetRatio,
	}
}

func noReferenceAhead(results []BacktestResult, rate int) Verdict {
	v := Verdict{Target: fmt.Sprintf("gain at %s violations not below the best reference, on any set", percentText(Rates()[rate])), Met: true}
	least, where := 0.0, ""
	for i, r := range results {
		h, _ := r.compared()
		ours, _ := h.Method(MethodPlimsoll)
		best := 0.0
		for _, m := range h.Methods {
			if m.Name != MethodPlimsoll {
				best = max(best, m.Swept[rate].Gain)
			}
		}
		ahead := ours.Swept[rate].Gain - best
		if i == 0 || ahead < least {
			least, where = ahead, r.Set
		}
		v.Met = v.Met && ahead >= 0
	}
	v.Measured = fmt.Sprintf("closest on %s: %+.2f points of capacity", where, 100*least)
	return v
}

func calibrated(results []BacktestResult) Verdict {
	v := Verdict{Target: fmt.Sprintf("violations as configured between %s and %s on each set", percentText(lowestDelivered), percentText(mostDelivered)), Met: true}
	low, high := 1.0, 0.0
	for _, r := range results {
		h, _ := r.compared()
		ours, _ := h.Method(MethodPlimsoll)
		low, high = min(low, ours.Usual.Violations), max(high, ours.Usual.Violations)
		v.Met = v.Met && ours.Usual.Violations >= lowestDelivered && ours.Usual.Violations <= mostDelivered
	}
	v.Measured = fmt.Sprintf("%.2f %% to %.2f %%", 100*low, 100*high)
	return v
}

func percentText(share float64) string { return fmt.Sprintf("%g %%", 100*share) }
