package agent

import (
	"fmt"
	"time"

	"github.com/plimsoll/plimsoll/pkg/api/v1alpha1"
	"github.com/plimsoll/plimsoll/pkg/freeze"
	"github.com/plimsoll/plimsoll/pkg/usage"
)

const (
	// forecastEvery is how long a forecast is used: it changes with the five-minute slots that it is made of.
	forecastEvery = 10 * time.Second
	// cpuUnit and memoryUnit are what published amounts are multiples of.
	cpuUnit, memoryUnit = 10, 1 << 20
)

// lending works out what batch work may use of the node, and says so to the Node where it enforces.
type lending struct {
	config     v1alpha1.LendingConfiguration
	cpu        usage.LendRule
	memory     usage.LendRule
	forecaster *usage.Forecaster
	// capacity is the forecaster's.
	capacity v1alpha1.Resources
	node     *nodeStatus // nil in tests

	cpuLender, memoryLender usage.Lender
	systemCPU, systemMemory usage.SlidingPeak
	peak                    usage.PeakForecast
	peakOK                  bool
	peakAt                  time.Time
	// slot is the forecaster's slot that is open, with what was measured in it so far.
	slot                time.Time
	slotCPU, slotMemory summed
	// last is what was last worked out, at lastAt; it stands in for missing measurements for `patience`.
	last     *v1alpha1.Lendable
	lastAt   time.Time
	patience time.Duration
	// published is the forecast that readers are told, as of profileAt.
	published *v1alpha1.Forecast
	profileAt time.Time
}

// newLending takes how long the last measurement counts as fresh.
func newLending(c v1alpha1.LendingConfiguration, patience time.Duration, node *nodeStatus) *lending {
	rule := func(r v1alpha1.LendingResource, unit int64) usage.LendRule {
		return usage.LendRule{
			SafeLinePermille: r.SafeLinePermille, MarginPermille: r.MarginPermille, ColdMarginPermille: r.ColdMarginPermille,
			RaiseAfter: time.Duration(c.RaiseAfterSeconds) * time.Second, DeadBandPermille: c.DeadBandPermille, Unit: unit,
		}
	}
	return &lending{config: c, cpu: rule(c.CPU, cpuUnit), memory: rule(c.Memory, memoryUnit), patience: patience, node: node}
}

// lendInputs is what one tick measured that lending rests on.
type lendInputs struct {
	now      time.Time
	capacity v1alpha1.Resources
	// online is the use of latency-sensitive pods averaged over the agent's window, which is what the
	// forecaster learns; onlineNow is that of the last tick, which it must not wait for.
	onlineCPU, onlineMemory usage.Reading
	onlineNow               usage.Reading
	// systemCPU and systemMemory are averages over the agent's window too.
	systemCPU, systemMemory usage.Reading
	loans                   map[string]v1alpha1.Resources
	pods                    []v1alpha1.PodUtilization
	// held is how much of what could be lent is held back.
	held freeze.Hold
}

// step takes one tick's measurements. It returns nil, and the node offers nothing new, while anything that
// the sum rests on was not measured.
func (l *lending) step(in lendInputs) *v1alpha1.Lendable {
	l.learn(in)
	if l.config.Mode == v1alpha1.ModeOff {
		l.withdraw()
		return nil
	}
	forecastCPU, forecastMemory := usage.Reading{}, usage.Reading{}
	if l.forecast(in.now) {
		forecastCPU = atLeast(usage.Of(l.peak.PeakMilliCPU), in.onlineNow)
		forecastMemory = atLeast(usage.Of(l.peak.PeakMemoryBytes), in.onlineMemory)
	}
	system := [2]usage.Reading{l.systemCPU.Of(in.now, l.cpu.RaiseAfter, in.systemCPU), l.systemMemory.Of(in.now, l.memory.RaiseAfter, in.systemMemory)}
	confidence := int64(l.peak.ConfidencePermille)
	cpu, okCPU := l.cpu.Compute(usage.LendInput{Capacity: in.capacity.MilliCPU, System: system[0], ForecastPeak: forecastCPU, ConfidencePermille: confidence})
	memory, okMemory := l.memory.Compute(usage.LendInput{Capacity: in.capacity.MemoryBytes, System: system[1], ForecastPeak: forecastMemory, ConfidencePermille: confidence})
	if !okCPU || !okMemory {
		if age := in.now.Sub(l.lastAt); l.last != nil && age >= 0 && age < l.patience {
			return l.last // one reading that failed does not take everything back for raiseAfterSeconds
		}
		l.stop(in.loans)
		return nil
	}
	cpuLoans, memoryLoans := loansOf(in)
	out := &v1alpha1.Lendable{
		MilliCPU:       lendableSum(cpu, l.cpuLender.Follow(l.cpu, in.now, lentOf(cpu.Computed, in.held), in.capacity.MilliCPU), cpuLoans),
		MemoryBytes:    lendableSum(memory, l.memoryLender.Follow(l.memory, in.now, lentOf(memory.Computed, in.held), in.capacity.MemoryBytes), memoryLoans),
		HorizonSeconds: int32(l.config.HorizonSeconds),
	}
	out.Reason = l.reason(out, in.held)
	l.offer(v1alpha1.Resources{MilliCPU: out.MilliCPU.Published, MemoryBytes: out.MemoryBytes.Published})
	l.last, l.lastAt = out, in.now
	return out
}

// learn feeds the forecaster with the mean of each of its slots once the slot is over. What a slot holds
// beyond its mean needs no forecast: it counts at once, as onlineNow.
func (l *lending) learn(in lendInputs) {
	capacity := usage.Capacity{MilliCPU: in.capacity.MilliCPU, MemoryBytes: in.capacity.MemoryBytes}
	var err error
	if l.forecaster == nil {
		l.forecaster, err = usage.NewForecaster(capacity)
	} else {
		err = l.forecaster.SetCapacity(capacity)
	}
	if err != nil { // a node without a CPU or memory was not read right
		return
	}
	l.capacity = in.capacity
	if slot := in.now.Truncate(usage.SlotLength); !slot.Equal(l.slot) {
		if l.slot.IsZero() {
			l.forecaster.Add(in.now, in.onlineCPU, in.onlineMemory) // something to start from
		} else if cpu, memory := l.slotCPU.mean(), l.slotMemory.mean(); cpu.OK || memory.OK {
			l.forecaster.Add(l.slot, cpu, memory)
			l.peakOK = false
		}
		l.slot, l.slotCPU, l.slotMemory = slot, summed{}, summed{}
	}
	l.slotCPU.add(in.onlineCPU)
	l.slotMemory.add(in.onlineMemory)
}

// summed adds readings up for their mean.
type summed struct{ sum, count int64 }

func (s *summed) add(r usage.Reading) {
	if r.OK && r.Value >= 0 && r.Value < 1<<50 && s.count < 1<<12 { // so that the sum stays an int64
		s.sum, s.count = s.sum+r.Value, s.count+1
	}
}

func (s *summed) mean() usage.Reading {
	if s.count == 0 {
		return usage.Reading{}
	}
	return usage.Of(s.sum / s.count)
}

// forecast brings the forecast up to date and reports whether there is one.
func (l *lending) forecast(now time.Time) bool {
	if l.forecaster == nil {
		return false
	}
	if age := now.Sub(l.peakAt); !l.peakOK || age < 0 || age >= forecastEvery {
		horizon := time.Duration(l.config.HorizonSeconds) * time.Second
		l.peak, l.peakOK = l.forecaster.Peak(now, horizon, int32(l.config.QuantilePermille))
		l.peakAt = now
	}
	return l.peakOK
}

// atLeast is the larger of two readings, and not OK when one is missing.
func atLeast(a, b usage.Reading) usage.Reading {
	if !a.OK || !b.OK {
		return usage.Reading{}
	}
	return usage.Of(max(a.Value, b.Value))
}

// loansOf pairs what each batch pod was lent with what it uses. A batch pod that asked for nothing counts too.
func loansOf(in lendInputs) (cpu, memory []usage.Loan) {
	seen := 0
	for i := range in.pods {
		p := &in.pods[i]
		lent, borrower := in.loans[p.UID]
		if !borrower && p.Class != v1alpha1.ClassBatch {
			continue
		}
		if borrower {
			seen++
		}
		cpu = append(cpu, usage.Loan{Lent: lent.MilliCPU, Used: usage.Of(p.MilliCPU)})
		memory = append(memory, usage.Loan{Lent: lent.MemoryBytes, Used: usage.Of(p.MemoryBytes)})
	}
	if seen == len(in.loans) {
		return cpu, memory
	}
	measured := make(map[string]bool, len(in.pods))
	for i := range in.pods {
		measured[in.pods[i].UID] = true
	}
	for uid, lent := range in.loans {
		if !measured[uid] {
			cpu = append(cpu, usage.Loan{Lent: lent.MilliCPU})
			memory = append(memory, usage.Loan{Lent: lent.MemoryBytes})
		}
	}
	return cpu, memory
}

// lendableSum is what is published of one resource. The Node never offers less than what its pods were
// lent: to the scheduler that is the same as an offer of less, for nothing is free either way; but a
// kubelet that starts anew admits its running pods again, and would end those that no longer fit.
func lendableSum(s usage.LendSum, follows int64, loans []usage.Loan) v1alpha1.LendableSum {
	lent, unused, beyond := usage.SumLoans(loans)
	return v1alpha1.LendableSum{
		SafeLine: s.SafeLine, System: s.System, ForecastPeak: s.ForecastPeak, Margin: s.Margin,
		Computed: s.Computed, Published: max(follows, lent),
		Lent: lent, LentUnused: unused, UsedBeyondLent: beyond,
	}
}

// reason says why published is not computed.
func (l *lending) reason(out *v1alpha1.Lendable, hold freeze.Hold) string {
	held := func(s v1alpha1.LendableSum) bool { return s.Published == s.Lent && s.Published > s.Computed }
	waits := func(s v1alpha1.LendableSum) bool { return s.Published < s.Computed }
	switch {
	case hold.Permille > 0:
		return clipText(fmt.Sprintf("%d thousandths held back: %s", hold.Permille, hold.Why), 256)
	case l.config.Mode == v1alpha1.ModeObserve:
		return "lending is in mode Observe: the Node does not offer it"
	case held(out.MilliCPU) || held(out.MemoryBytes):
		return "held at what running batch pods were lent: less can be lent now"
	case waits(out.MilliCPU) || waits(out.MemoryBytes):
		return "more is lent once it could have been for raiseAfterSeconds, by more than the dead band"
	default:
		return ""
	}
}

// lentOf is what is left of an amount when some of it is held back.
func lentOf(amount int64, hold freeze.Hold) int64 {
	left := 1000 - hold.Permille
	return amount/1000*left + amount%1000*left/1000
}

// offer says to the Node what it lends.
func (l *lending) offer(r v1alpha1.Resources) {
	if l.config.Mode != v1alpha1.ModeEnforce {
		l.withdraw()
		return
	}
	if l.node != nil {
		l.node.set(offer{amounts: r})
	}
}

// withdraw takes off the Node what an agent with another configuration offered.
func (l *lending) withdraw() {
	if l.node != nil {
		l.node.set(offer{withdrawn: true})
	}
}

// stop lends nothing more: the node is not measured.
func (l *lending) stop(loans map[string]v1alpha1.Resources) {
	l.cpuLender.Stop()
	l.memoryLender.Stop()
	l.last = nil
	var lent v1alpha1.Resources
	for _, r := range loans {
		lent.MilliCPU += r.MilliCPU
		lent.MemoryBytes += r.MemoryBytes
	}
	l.offer(lent)
}
