package planner

import (
	"math"
	"time"

	"github.com/plimsoll/plimsoll/pkg/usage"
)

// forecast is base + margin x unit, for whatever margin.
type forecast struct {
	base, unit float32
}

func (f forecast) at(margin float64) float64 {
	return min(1, max(0, float64(f.base)+margin*float64(f.unit)))
}

// method is one way to forecast.
type method struct {
	name string
	// margin says what the margin is, and usual is what it is unless it is swept.
	margin string
	usual  float64
	start  func(m *Machine) forecaster
}

// forecaster follows one machine.
type forecaster interface {
	// add takes the use of slot i; negative where there is none. Slots come in order, each once.
	add(i int, share float32)
	// next forecasts the peak over the slots that follow the one added last.
	next(slots int) forecast
}

// MethodPlimsoll is the name of the method that is judged; the others are what it is compared with.
const MethodPlimsoll = "plimsoll"

// MethodHistogram is the reference that the target is set against.
const MethodHistogram = "histogram"

// methods are the references and ours.
func methods() []method {
	return []method{
		{MethodPlimsoll, "of its own margins", 1, func(m *Machine) forecaster { return newOwn(m, 990) }},
		{MethodHistogram, "above p95", 0.1, func(*Machine) forecaster { return newHistogram() }},
		{"n-sigma", "standard deviations", 5, func(*Machine) forecaster { return &nSigma{} }},
		{"requests", "none", 0, func(*Machine) forecaster { return requests{} }},
	}
}

// own is the agent's forecaster, driven with a machine's slots.
type own struct {
	start            time.Time
	envelope         *usage.Envelope
	now              time.Time
	quantilePermille int32
}

// ownUnits is the capacity that the envelope sees: shares in millionths.
const ownUnits = 1_000_000

func newOwn(m *Machine, quantilePermille int32) *own {
	e, err := usage.NewEnvelope(ownUnits)
	if err != nil {
		return nil // cannot be: the capacity is a constant above 0
	}
	return &own{start: m.Start, envelope: e, quantilePermille: quantilePermille}
}

func (o *own) add(i int, share float32) {
	r := usage.Reading{}
	if share >= 0 {
		r = usage.Of(int64(math.Round(float64(share) * ownUnits)))
	}
	at := o.start.Add(time.Duration(i) * usage.SlotLength)
	o.envelope.Add(at, r)
	o.now = at.Add(usage.SlotLength)
	o.envelope.Add(o.now, usage.Reading{}) // closes the slot
}

func (o *own) next(slots int) forecast { return o.at(slots, o.quantilePermille) }

func (o *own) at(slots int, quantilePermille int32) forecast {
	a, ok := o.envelope.Peak(o.now, time.Duration(slots)*usage.SlotLength, quantilePermille)
	if !ok {
		return forecast{base: 1}
	}
	return forecast{base: float32(a.Base) / ownUnits, unit: float32(a.Peak-a.Base) / ownUnits}
}

// requests keeps all that was promised: on machines whose requests are not known, the capacity.
type requests struct{}

func (requests) add(int, float32)  {}
func (requests) next(int) forecast { return forecast{base: 1} }

// nSigma is the mean of the last day and a number of standard deviations.
type nSigma struct {
	day         [slotsPerDay]float64
	seen        int
	sum, square float64
}

const slotsPerDay = int(24 * time.Hour / usage.SlotLength)

func (n *nSigma) add(_ int, share float32) {
	if share < 0 {
		return
	}
	v, at := float64(share), n.seen%slotsPerDay
	if n.seen >= slotsPerDay {
		n.sum -= n.day[at]
		n.square -= n.day[at] * n.day[at]
	}
	n.day[at] = v
	n.sum += v
	n.square += v * v
	n.seen++
}

func (n *nSigma) next(int) forecast {
	count := float64(min(n.seen, slotsPerDay))
	mean := n.sum / count
	return forecast{base: float32(mean), unit: float32(math.Sqrt(max(0, n.square/count-mean*mean)))}
}

// histogram is the 95th percentile of all use, weighted by 2^(-age/12 h), in buckets that grow by 2 %.
type histogram struct {
	weights [histogramBuckets]float64
	weight  float64
}

const (
	histogramBuckets = 350
	histogramLowest  = 0.001 // 1.02^349 x 0.001 is above 1
	histogramGrowth  = 1.02
	histogramHalf    = 12 * time.Hour
)

func newHistogram() *histogram { return &histogram{weight: 1} }

func (h *histogram) add(_ int, share float32) {
	h.weight *= math.Exp2(float64(usage.SlotLength) / float64(histogramHalf))
	if h.weight > 1e100 {
		for i := range h.weights {
			h.weights[i] /= h.weight
		}
		h.weight = 1
	}
	if share < 0 {
		return
	}
	bucket := 0
	if v := float64(share); v > histogramLowest {
		bucket = int(math.Ceil(math.Log(v/histogramLowest) / math.Log(histogramGrowth)))
	}
	h.weights[min(bucket, histogramBuckets-1)] += h.weight
}

func (h *histogram) next(int) forecast {
	total := 0.0
	for _, w := range h.weights {
		total += w
	}
	below := 0.0
	for i, w := range h.weights {
		if below += w; below >= 0.95*total {
			v := float32(min(1, histogramLowest*math.Pow(histogramGrowth, float64(i))))
			return forecast{base: v, unit: v}
		}
	}
	return forecast{base: 1}
}
