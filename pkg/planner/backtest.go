package planner

import (
	"runtime"
	"sync"
	"time"

	"github.com/plimsoll/plimsoll/pkg/usage"
)

// BacktestOptions are what a back-test is asked for.
type BacktestOptions struct {
	// Horizons are the times that forecasts look ahead, multiples of usage.SlotLength, the shortest first. The second is
	// the one that methods are compared at where there are several.
	Horizons []time.Duration
	// Progress is told how many machines are done, of how many; it may be nil. It is called from several goroutines.
	Progress func(done, of int)
}

// DefaultHorizons are 5 min, 1 h and 4 h.
func DefaultHorizons() []time.Duration {
	return []time.Duration{5 * time.Minute, time.Hour, 4 * time.Hour}
}

// warmSlots is how much of a machine must be measured before its intervals count, for every method alike.
const warmSlots = slotsPerDay

// promises are the quantiles of the calibration, as what may be missed.
func promises() []float64 { return []float64{0.05, 0.01, 0.001} }

// Backtest replays machines through all methods. Each five minutes, each forecasts the peak of the time
// ahead from what was there until then. It is violated when real use exceeds it at any time of that.
func Backtest(set, scope string, machines []Machine, o BacktestOptions) BacktestResult {
	var (
		mu   sync.Mutex
		done int
		wg   sync.WaitGroup
		next = make(chan int)
		runs = make([]*replay, len(machines))
	)
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for i := range next {
				runs[i] = replayMachine(&machines[i], o.Horizons)
				mu.Lock()
				done++
				now := done
				mu.Unlock()
				if o.Progress != nil {
					o.Progress(now, len(machines))
				}
			}
		})
	}
	for i := range machines {
		next <- i
	}
	close(next)
	wg.Wait()
	return score(set, scope, machines, runs, o)
}

// replay is what all methods forecast for one machine: one entry for each interval that counts.
type replay struct {
	horizons []horizonReplay
	// promised is our forecast at each of the promises, at the horizon compared at.
	promised [][]float32
	// cold is what we forecast, at that horizon, while there was not a day of history.
	cold horizonReplay
	intervals
}

// intervals are how many five-minute intervals within the horizons there were, and in how many use was over the
// forecast, of each method.
type intervals struct {
	over, of [][]int // by horizon and method
}

type horizonReplay struct {
	slot  []int32 // which interval of the machine
	truth []float32
	by    [][]forecast // by method
}

// comparedAt is the horizon that methods are compared at.
func comparedAt(horizons int) int { return min(1, horizons-1) }

func replayMachine(m *Machine, horizons []time.Duration) *replay {
	all := methods()
	r := &replay{horizons: make([]horizonReplay, len(horizons)), promised: make([][]float32, len(promises()))}
	followers := make([]forecaster, len(all))
	for k, method := range all {
		followers[k] = method.start(m)
	}
	for h := range horizons {
		r.horizons[h].by = make([][]forecast, len(all))
		r.over, r.of = append(r.over, make([]int, len(all))), append(r.of, make([]int, len(all)))
	}
	seen := 0
	for i, share := range m.Shares {
		for _, f := range followers {
			f.add(i, share)
		}
		if share < 0 {
			continue
		}
		if seen++; seen < warmSlots {
			r.noteCold(m, i, int(horizons[comparedAt(len(horizons))]/usage.SlotLength), followers[0])
			continue
		}
		for h, horizon := range horizons {
			ahead := int(horizon / usage.SlotLength)
			truth, ok := peakAhead(m.Shares, i, ahead)
			if !ok {
				continue
			}
			r.note(h, i, truth, m.Shares[i+1:i+1+ahead], followers, all)
			if h == comparedAt(len(horizons)) {
				r.notePromises(followers[0], ahead)
			}
		}
	}
	return r
}

// note takes down what each method forecasts now.
func (r *replay) note(h, slot int, truth float32, ahead []float32, followers []forecaster, all []method) {
	hr := &r.horizons[h]
	hr.slot = append(hr.slot, int32(slot))
	hr.truth = append(hr.truth, truth)
	for k, f := range followers {
		fc := f.next(len(ahead))
		hr.by[k] = append(hr.by[k], fc)
		limit := float32(fc.at(all[k].usual))
		for _, v := range ahead {
			if v >= 0 {
				r.of[h][k]++
				if v > limit {
					r.over[h][k]++
				}
			}
		}
	}
}

// noteCold takes down our own forecast of a cold start.
func (r *replay) noteCold(m *Machine, i, ahead int, ours forecaster) {
	truth, ok := peakAhead(m.Shares, i, ahead)
	if !ok {
		return
	}
	if len(r.cold.by) == 0 {
		r.cold.by = make([][]forecast, 1)
	}
	r.cold.truth = append(r.cold.truth, truth)
	r.cold.by[0] = append(r.cold.by[0], ours.next(ahead))
}

func (r *replay) notePromises(f forecaster, ahead int) {
	ours, ok := f.(*own)
	if !ok {
		return
	}
	for p, rate := range promises() {
		fc := ours.at(ahead, int32(1000-1000*rate+0.5))
		r.promised[p] = append(r.promised[p], float32(fc.at(1)))
	}
}

// peakAhead is the highest use in the n slots after i. It is known when they are within the trace and at least half of
// them were measured.
func peakAhead(shares []float32, i, n int) (peak float32, known bool) {
	if i+n >= len(shares) {
		return 0, false
	}
	measured := 0
	for _, v := range shares[i+1 : i+1+n] {
		if v >= 0 {
			measured++
			peak = max(peak, v)
		}
	}
	return peak, 2*measured >= n
}
