package batchcap

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/plimsoll/plimsoll/pkg/qos"
)

// unlimited is a quota, in thousandths of a core, above any other.
const unlimited = 1 << 50

// decider is one tick.
type decider struct {
	args   Args
	s      qos.State
	m      *memory
	branch qos.Group
}

func (d decider) plan() qos.Plan {
	m := d.m
	floor := d.of(d.args.FloorPermille)
	if d.s.Blind {
		m.quotaAt = d.s.Now
		return d.ask(floor, "the node cannot be measured: batch is held to the floor")
	}
	others := m.others.Of(d.s.Now, d.args.raiseAfter(), d.s.CPU.OnlineMilliCPU.Plus(d.s.CPU.SystemMilliCPU))
	online := m.online.Of(d.s.Now, d.args.raiseAfter(), d.s.CPU.OnlineMilliCPU)
	h := harmOf(d.s)
	inForce, known := d.inForce()
	if !others.OK { // as in an agent's first tick
		return d.hold(inForce, known, "what is not batch was not measured")
	}
	why := d.moveLine(h, others.Value*1000/m.capacity)
	if !d.hasBatch() { // nobody would feel it
		return d.hold(inForce, known, "no batch work is on the node")
	}
	want := int64(unlimited)
	present := online.Value*presentParts >= m.capacity || h.excess.Value >= d.args.HarmPermille
	switch {
	case !present:
		why = "online pods use next to nothing"
	case m.linePermille < 1000:
		want = max(d.of(m.linePermille)-others.Value, floor)
	}
	if held := d.heldBack(floor); held < want {
		want, why = held, d.s.HeldBackWhy
	}
	if want < unlimited && present && m.linePermille < 1000 {
		why += fmt.Sprintf("; all together may use %s of %s cores, and others use up to %s", cores(d.of(m.linePermille)), cores(m.capacity), cores(others.Value))
	}
	plan := d.ask(d.follow(want, inForce, known), why)
	for i := range plan.Changes {
		plan.Changes[i].Inputs = d.inputs(h, others.Value)
	}
	return plan
}

// hold asks for what is in force.
func (d decider) hold(inForce int64, known bool, why string) qos.Plan {
	if !known {
		return qos.Plan{}
	}
	return d.ask(inForce, "the quota holds: "+why)
}

// presentParts: online work that never uses a hundredth of the node is not there.
const presentParts = 100

func (d decider) of(permille int64) int64 { return d.m.capacity * permille / 1000 }

// heldBack is the most that batch may have by order: the floor in a freeze.
func (d decider) heldBack(floor int64) int64 {
	if d.s.HeldBackPermille <= 0 {
		return unlimited
	}
	return floor + (d.m.capacity-floor)*(1000-min(d.s.HeldBackPermille, 1000))/1000
}

func (d decider) hasBatch() bool {
	for _, g := range d.s.Groups {
		if g.Kind == qos.KindBatchContainer {
			return true
		}
	}
	return false
}

// follow brings the quota nearer to what it should be:
//
//	down: at once, and half a dead band further, so that noise does not pull it down again and again
//	up:   by a step, when it could have been more for raiseAfterSeconds, by a dead band or more
func (d decider) follow(want, inForce int64, known bool) int64 {
	m, a, now := d.m, d.args, d.s.Now
	if !known { // what was asked last is the best guess; nothing asked yet counts as no quota
		if inForce = m.asked; inForce == 0 {
			inForce = unlimited
		}
	}
	if now.Before(m.quotaAt) {
		m.quotaAt = now // the clock was set back: wait anew
	}
	band := d.of(a.DeadBandPermille)
	switch {
	case want < inForce:
		m.quotaAt = now
		return max(want-band/2, d.of(a.FloorPermille))
	case want >= inForce+band && now.Sub(m.quotaAt) >= a.raiseAfter() && !d.s.Fast:
		m.quotaAt, m.raisedAt = now, now
		next := inForce + d.of(a.StepPermille)
		if next >= m.capacity && want == unlimited {
			return unlimited
		}
		return min(next, want)
	}
	return inForce
}

// ask makes the plan of a quota in thousandths of a core.
func (d decider) ask(milliCPU int64, why string) qos.Plan {
	d.m.asked = milliCPU
	value, reason := "max", "no quota: "+why
	if milliCPU < unlimited {
		value = quotaText(milliCPU, d.args.PeriodMicroseconds)
		reason = fmt.Sprintf("batch may use %s cores: %s", cores(milliCPU), why)
	}
	if setting := d.branch.Settings[qos.CPUQuota]; setting.OK && milliCPUOf(setting.Value) == milliCPU {
		value = setting.Value // the same with another period is left alone
	}
	return qos.Plan{Changes: []qos.Change{{Group: d.branch.Path, Knob: qos.CPUQuota, Value: value, Reason: reason}}}
}

// cores is a number of thousandths as people say it.
func cores(milliCPU int64) string { return strconv.FormatFloat(float64(milliCPU)/1000, 'f', 2, 64) }

// inForce is the quota that was read back.
func (d decider) inForce() (milliCPU int64, known bool) {
	setting := d.branch.Settings[qos.CPUQuota]
	if !setting.OK {
		return 0, false
	}
	return milliCPUOf(setting.Value), true
}

func (d decider) inputs(h harm, others int64) string {
	in := fmt.Sprintf("linePermille=%d othersPeakMilliCPU=%d capacityMilliCPU=%d", d.m.linePermille, others, d.m.capacity)
	if h.excess.OK {
		in += fmt.Sprintf(" worstExcessPermille=%d worstPod=%s", h.excess.Value, h.worst)
	}
	if d.s.CPU.BatchMilliCPU.OK {
		in += fmt.Sprintf(" batchMilliCPU=%d", d.s.CPU.BatchMilliCPU.Value)
	}
	return in
}

const (
	usualPeriodMicros = 100_000
	leastQuotaMicros  = 1000
)

// quotaText is a quota in the knob's unit. Where it would be less than the kernel takes in so short a period, the period
// is longer, in whole milliseconds, up to the usual one.
func quotaText(milliCPU, periodMicros int64) string {
	if least := (leastQuotaMicros*1000/max(milliCPU, 1) + 999) / 1000 * 1000; periodMicros < least {
		periodMicros = min(least, usualPeriodMicros)
	}
	micros := max(milliCPU*periodMicros/1000, leastQuotaMicros)
	if periodMicros == usualPeriodMicros {
		return strconv.FormatInt(micros, 10)
	}
	return fmt.Sprintf("%d/%d", micros, periodMicros)
}

// milliCPUOf reads what quotaText wrote, or anybody else. What it cannot read counts as no quota: then it is
// written over.
func milliCPUOf(value string) int64 {
	first, second, hasPeriod := strings.Cut(value, "/")
	period := int64(usualPeriodMicros)
	micros, err := strconv.ParseInt(first, 10, 64)
	if hasPeriod {
		if period, err = strconv.ParseInt(second, 10, 64); err != nil {
			return unlimited
		}
		micros, err = strconv.ParseInt(first, 10, 64)
	}
	if err != nil || micros <= 0 || period <= 0 || micros > 1<<40 {
		return unlimited
	}
	return micros * 1000 / period
}
