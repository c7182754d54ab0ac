package planner

import (
	"math"
	"slices"
	"time"

	"github.com/plimsoll/plimsoll/pkg/usage"
)

// BacktestResult is how all methods did on one set.
type BacktestResult struct {
	Set string `json:"set"`
	// Scope is what a node is: one machine of the trace, or a group of them.
	Scope       string             `json:"scope"`
	Nodes       int                `json:"nodes"`
	Horizons    []HorizonResult    `json:"horizons"`
	Calibration []CalibrationPoint `json:"calibration"`
	// ColdStart is ours at the horizon compared at, in the first day of each node, which counts nowhere else.
	ColdStart Outcome `json:"coldStart"`
	Example   Example `json:"example"`
}

// HorizonResult is how all methods did at one horizon.
type HorizonResult struct {
	Horizon   time.Duration `json:"-"`
	Minutes   int           `json:"horizonMinutes"`
	Intervals int           `json:"intervals"`
	// OracleGain is what perfect foresight gains.
	OracleGain float64        `json:"oracleGain"`
	Methods    []MethodResult `json:"methods"`
}

// MethodResult is how one method did at one horizon.
type MethodResult struct {
	Name   string `json:"name"`
	Margin string `json:"marginIs"`
	// Usual is with the margin that the method has unless it is swept.
	Usual Outcome `json:"usual"`
	// IntervalsOver is, with the usual margin, the share of five-minute intervals within the horizons in which use was over the
	// forecast: a forecast that is violated for five minutes of an hour counts here as a twelfth.
	IntervalsOver float64 `json:"intervalsOver"`
	// Swept is with the margin at which so many are violated, for each of the rates.
	Swept []Swept `json:"swept"`
}

// Swept is a method at one rate of violations.
type Swept struct {
	Rate float64 `json:"rate"`
	Outcome
	// OfOracle is the gain as a share of the oracle's.
	OfOracle float64 `json:"ofOracle"`
}

// Outcome is what one margin comes to.
type Outcome struct {
	Margin float64 `json:"margin"`
	// Violations is the share of forecasts that real use exceeded.
	Violations float64 `json:"violations"`
	// Gain is the share of capacity that could be lent beyond none, on average.
	Gain float64 `json:"gain"`
	// WorstExcess is the most that real use was above a forecast, as a share of capacity.
	WorstExcess float64 `json:"worstExcess"`
}

// CalibrationPoint is what was promised and what was delivered, as shares of forecasts that are missed.
type CalibrationPoint struct {
	Promised  float64 `json:"promised"`
	Delivered float64 `json:"delivered"`
}

// Example is a stretch of one node, to look at.
type Example struct {
	Node     string    `json:"node"`
	Start    time.Time `json:"start"`
	Use      []float32 `json:"use"`
	Forecast []float32 `json:"forecast"`
}

// Rates are what methods are compared at: first 1 % and 0.1 %, then what a curve needs.
func Rates() []float64 { return []float64{0.01, 0.001, 0.1, 0.05, 0.02, 0.005, 0.002} }

func score(set, scope string, machines []Machine, runs []*replay, o BacktestOptions) BacktestResult {
	r := BacktestResult{Set: set, Scope: scope, Nodes: len(machines)}
	all := methods()
	for h, horizon := range o.Horizons {
		hr := HorizonResult{Horizon: horizon, Minutes: int(horizon / time.Minute)}
		var truth []float32
		for _, run := range runs {
			truth = append(truth, run.horizons[h].truth...)
		}
		hr.Intervals = len(truth)
		if len(truth) == 0 {
			r.Horizons = append(r.Horizons, hr)
			continue
		}
		for _, v := range truth {
			hr.OracleGain += 1 - float64(v)
		}
		hr.OracleGain /= float64(len(truth))
		for k, m := range all {
			by, over, of := make([]forecast, 0, len(truth)), 0, 0
			for _, run := range runs {
				by = append(by, run.horizons[h].by[k]...)
				over += run.over[h][k]
				of += run.of[h][k]
			}
			mr := MethodResult{Name: m.name, Margin: m.margin, Usual: outcome(truth, by, m.usual), IntervalsOver: float64(over) / float64(max(of, 1))}
			needed := neededMargins(truth, by)
			for _, rate := range Rates() {
				s := Swept{Rate: rate, Outcome: outcome(truth, by, marginAt(needed, rate))}
				s.OfOracle = s.Gain / hr.OracleGain
				mr.Swept = append(mr.Swept, s)
			}
			hr.Methods = append(hr.Methods, mr)
		}
		r.Horizons = append(r.Horizons, hr)
	}
	r.Calibration = calibration(runs, comparedAt(len(o.Horizons)))
	r.ColdStart = coldStart(runs)
	r.Example = example(machines, runs, comparedAt(len(o.Horizons)))
	return r
}

// outcome scores one margin.
func outcome(truth []float32, by []forecast, margin float64) Outcome {
	o := Outcome{Margin: margin}
	violations := 0
	for i, f := range by {
		limit := f.at(margin)
		if excess := float64(truth[i]) - limit; excess > tolerance {
			violations++
			o.WorstExcess = max(o.WorstExcess, excess)
		}
		o.Gain += 1 - limit
	}
	o.Violations = float64(violations) / float64(len(by))
	o.Gain /= float64(len(by))
	return o
}

// tolerance is below what a share can tell: it holds rounding off.
const tolerance = 1e-6

// neededMargins gives, in order, the margin that each forecast would have needed.
func neededMargins(truth []float32, by []forecast) []float64 {
	needed := make([]float64, len(by))
	for i, f := range by {
		short := float64(truth[i]) - float64(f.base)
		switch {
		case f.unit > 0:
			needed[i] = short / float64(f.unit)
		case short > tolerance:
			needed[i] = math.MaxFloat32
		default:
			needed[i] = -math.MaxFloat32
		}
	}
	slices.Sort(needed)
	return needed
}

// marginAt is the smallest margin with which at most this share of forecasts is violated.
func marginAt(needed []float64, rate float64) float64 {
	allowed := int(rate * float64(len(needed)))
	m := needed[len(needed)-1-allowed]
	// Where no margin reaches the rate, or every one does, the number says no more than that.
	return min(max(m, -1000), 1e6)
}

func calibration(runs []*replay, compared int) []CalibrationPoint {
	var points []CalibrationPoint
	for p, rate := range promises() {
		missed, of := 0, 0
		for _, run := range runs {
			for i, f := range run.promised[p] {
				of++
				if run.horizons[compared].truth[i]-f > tolerance {
					missed++
				}
			}
		}
		if of > 0 {
			points = append(points, CalibrationPoint{Promised: rate, Delivered: float64(missed) / float64(of)})
		}
	}
	return points
}

func coldStart(runs []*replay) Outcome {
	var truth []float32
	var by []forecast
	for _, run := range runs {
		if len(run.cold.by) > 0 {
			truth, by = append(truth, run.cold.truth...), append(by, run.cold.by[0]...)
		}
	}
	if len(truth) == 0 {
		return Outcome{}
	}
	return outcome(truth, by, 1)
}

// exampleSlots is four days.
const exampleSlots = 4 * slotsPerDay

// example is the last days of the node with the most forecasts.
func example(machines []Machine, runs []*replay, compared int) Example {
	best, most := -1, 0
	for i, run := range runs {
		if n := len(run.horizons[compared].truth); n > most {
			best, most = i, n
		}
	}
	if best < 0 {
		return Example{}
	}
	m, hr := &machines[best], &runs[best].horizons[compared]
	first := max(0, len(m.Shares)-exampleSlots)
	e := Example{Node: m.Name, Start: m.Start.Add(time.Duration(first) * usage.SlotLength), Use: m.Shares[first:], Forecast: make([]float32, len(m.Shares)-first)}
	for i := range e.Forecast {
		e.Forecast[i] = -1
	}
	for i, slot := range hr.slot {
		if int(slot) >= first {
			e.Forecast[int(slot)-first] = float32(hr.by[0][i].at(1))
		}
	}
	return e
}
