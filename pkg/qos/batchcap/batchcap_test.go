package batchcap

import (
	"math/rand/v2"
	"strings"
	"testing"
	"testing/quick"
	"time"

	"github.com/plimsoll/plimsoll/pkg/qos"
	"github.com/plimsoll/plimsoll/pkg/usage"
)

const branch = "/kubepods/plimsoll-batch"

var at = time.Date(2026, 11, 2, 9, 0, 0, 0, time.UTC)

// node is a node of 16 cores with a batch container and one service.
type node struct {
	quota          string
	online, system int64
	excess         usage.Reading
	batchPods      int
}

func (n node) state(now time.Time, fast bool) qos.State {
	s := qos.State{
		Now: now, Fast: fast,
		CPU: qos.CPUUse{CapacityMilliCPU: 16_000, OnlineMilliCPU: usage.Of(n.online), SystemMilliCPU: usage.Of(n.system), BatchMilliCPU: usage.Of(0)},
		Groups: []qos.Group{
			{Path: branch, Kind: qos.KindBatchBranch, Settings: map[qos.Knob]qos.Setting{qos.CPUQuota: {Value: n.quota, OK: true}}},
			{Path: "/kubepods/pod", Kind: qos.KindPod, Online: true, Harm: usage.Harm{ExcessPermille: n.excess}},
		},
	}
	for range n.batchPods {
		s.Groups = append(s.Groups, qos.Group{Path: branch + "/c", Kind: qos.KindBatchContainer})
	}
	return s
}

// run plays seconds, each with nine fast ticks after it, and returns how many writes each minute had.
func (n *node) run(strategy qos.Strategy, seconds int, before func(fast bool)) (writes []int) {
	for i := range seconds * 10 {
		fast := i%10 != 0
		before(fast)
		s := n.state(at.Add(time.Duration(i)*100*time.Millisecond), fast)
		if i%600 == 0 {
			writes = append(writes, 0)
		}
		for _, c := range qos.Diff(s, strategy.Step(s)) {
			n.quota = c.Value
			writes[len(writes)-1]++
		}
	}
	return writes
}

// writesPerMinute is N: the most that the cap is written in a minute of noise, after the first.
const writesPerMinute = 2

func TestNoiseOfFivePercentDoesNotMoveTheCap(t *testing.T) {
	for name, args := range map[string]string{
		"the defaults, harmed now and then": `{}`, "an ordinary suppression": `{"safeLinePermille":650,"calmLinePermille":650}`,
	} {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(8) {
				random := rand.New(rand.NewPCG(seed, 7))
				strategy, err := Factory().New([]byte(args))
				if err != nil {
					t.Fatal(err)
				}
				n := node{quota: "max", system: 500, batchPods: 3}
				level := 1000 + random.Int64N(8000)
				writes := n.run(strategy, 300, func(bool) {
					n.online = level + (random.Int64N(1001)-500)*level/10_000 // within 5 % of it
					n.excess = usage.Of(random.Int64N(99))                    // and less than harm
				})
				for minute, got := range writes[1:] {
					if got > writesPerMinute {
						t.Errorf("level %d: %d writes in minute %d, want at most %d (%v)", level, got, minute+1, writesPerMinute, writes)
					}
				}
			}
		})
	}
}

func TestWithHarmThatComesAndGoesTheCapIsRaisedLessAndLess(t *testing.T) {
	strategy, err := Factory().New(nil)
	if err != nil {
		t.Fatal(err)
	}
	n := node{quota: "max", online: 6000, system: 500, batchPods: 3, excess: usage.Of(0)}
	writes := n.run(strategy, 3600, func(bool) {
		n.excess = usage.Of(0) // harmed while batch may use more than seven cores
		if milliCPUOf(n.quota) > 7000 {
			n.excess = usage.Of(300)
		}
	})
	first, last := 0, 0
	for i, w := range writes {
		if i < 10 {
			first += w
		} else if i >= 50 {
			last += w
		}
	}
	if first < 4 || last > 8 || last >= first {
		t.Errorf("%d writes in the first ten minutes and %d in the last ten, want fewer and at most 8 (%v)", first, last, writes)
	}
}

func TestSameUseWithDifferentHarmGivesDifferentCaps(t *testing.T) {
	capAfter := func(excess int64) int64 {
		strategy, err := Factory().New(nil)
		if err != nil {
			t.Fatal(err)
		}
		n := node{quota: "max", online: 6000, system: 500, batchPods: 3}
		n.run(strategy, 5, func(bool) { n.excess = usage.Of(excess) })
		return milliCPUOf(n.quota)
	}
	calm, harmed, more := capAfter(0), capAfter(90), capAfter(200)
	if calm != unlimited || harmed != unlimited || more >= 7000 || more < 800 {
		t.Errorf("caps %d, %d and %d for an excess of 0, 90 and 200: want none, none and one below 7000", calm, harmed, more)
	}
}

func TestWithoutOnlineWorkBatchHasTheMachineAndWithoutBatchNothingIsWritten(t *testing.T) {
	for _, args := range []string{`{}`, `{"safeLinePermille":650,"calmLinePermille":650}`} {
		strategy, err := Factory().New([]byte(args))
		if err != nil {
			t.Fatal(err)
		}
		n := node{quota: "40000", system: 300, batchPods: 3, excess: usage.Of(0)} // a cap from before
		n.run(strategy, 600, func(bool) { n.online = 20 })
		if n.quota != "max" {
			t.Errorf("args %s: the quota is %s without online work, want none", args, n.quota)
		}
		n = node{quota: "400000", system: 300, excess: usage.Of(0)}
		strategy, err = Factory().New([]byte(args))
		if err != nil {
			t.Fatal(err)
		}
		writes := n.run(strategy, 600, func(bool) { n.online, n.excess = rand.Int64N(16_000), usage.Of(rand.Int64N(1000)) })
		for minute, got := range writes {
			if got != 0 {
				t.Errorf("args %s: %d writes in minute %d without batch, want none", args, got, minute)
			}
		}
	}
}

// The step of online load is seen by the next fast tick, and the cap is written in it.
func TestAStepOfOnlineLoadIsAnsweredInTheTickThatSeesIt(t *testing.T) {
	strategy, err := Factory().New([]byte(`{"safeLinePermille":650,"calmLinePermille":650}`))
	if err != nil {
		t.Fatal(err)
	}
	n := node{quota: "max", online: 1000, system: 500, batchPods: 3, excess: usage.Of(0)}
	n.run(strategy, 2, func(bool) {})
	before := milliCPUOf(n.quota)
	n.online = 8000
	s := n.state(at.Add(2100*time.Millisecond), true)
	changes := qos.Diff(s, strategy.Step(s))
	if len(changes) != 1 || milliCPUOf(changes[0].Value) > before-6500 {
		t.Errorf("%+v, want the cap lower than %d by the step of 7000", changes, before)
	}
}

// Whatever the State, the cap is a quota of the branch between the floor and none, and the floor while blind.
func TestEveryPlanIsWithinBounds(t *testing.T) {
	strategy, err := Factory().New(nil)
	if err != nil {
		t.Fatal(err)
	}
	steps := 0
	holds := func(online, system, batch, excess int32, held int16, quota string, cpuOK, harmOK, fast, blind bool, pods uint8, after int32) bool {
		steps++
		n := node{quota: quota, online: int64(online), system: int64(system), batchPods: int(pods % 4), excess: usage.Reading{Value: int64(excess), OK: harmOK}}
		s := n.state(at.Add(time.Duration(after)*time.Millisecond), fast)
		s.Blind, s.HeldBackPermille, s.HeldBackWhy = blind, int64(held), "held"
		s.CPU.BatchMilliCPU = usage.Of(int64(batch))
		if !cpuOK {
			s.CPU.OnlineMilliCPU = usage.Reading{}
		}
		for _, c := range strategy.Step(s).Changes {
			got := milliCPUOf(c.Value)
			held := c.Value == quota // what is in force may be anything
			if c.Group != branch || c.Knob != qos.CPUQuota || c.Reason == "" || blind && got != 800 || !held && got < 800 {
				t.Logf("step %d: %+v of %+v", steps, c, s)
				return false
			}
		}
		return true
	}
	if err := quick.Check(holds, &quick.Config{MaxCount: 5000}); err != nil {
		t.Error(err)
	}
}

// A service that waits for itself is no reason to hold batch back for good: the cap makes batch small, then
// the service's own pressure is learned, and the cap goes.
func TestAServiceThatWaitsForItselfIsLearnedAndBatchComesBack(t *testing.T) {
	strategy, err := Factory().New(nil)
	if err != nil {
		t.Fatal(err)
	}
	var baselines usage.Baselines
	rule := usage.HarmRule{LowBatchPermille: 60, PriorPermille: 30, AllowancePermille: 150}
	sample := usage.HarmSample{Key: usage.GroupKey{Path: "/kubepods/pod", ID: 1}, CPUMicros: usage.Of(0), CPUSomeMicros: usage.Of(0)}
	n := node{quota: "max", online: 6000, system: 500, batchPods: 3}
	lowest := int64(unlimited)
	for i := range 900 {
		batch := min(milliCPUOf(n.quota), 9500)
		sample.CPUMicros.Value += n.online * 1000
		sample.CPUSomeMicros.Value += 400_000 // four tenths of each second, whatever batch does
		now := at.Add(time.Duration(i) * time.Second)
		n.excess = baselines.Add(rule, now, usage.NodeCPU{CapacityMilliCPU: 16_000, BatchMilliCPU: usage.Of(batch)}, []usage.HarmSample{sample})[0].ExcessPermille
		s := n.state(now, false)
		for _, c := range qos.Diff(s, strategy.Step(s)) {
			n.quota = c.Value
		}
		lowest = min(lowest, milliCPUOf(n.quota))
	}
	if lowest != 800 || n.quota != "max" {
		t.Errorf("the lowest quota was %d and the last %s, want the floor, 800, and none", lowest, n.quota)
	}
}

func TestBadArgumentsAreNamedWithTheirRange(t *testing.T) {
	_, err := Factory().New([]byte(`{"safeLinePermille":50,"calmLinePermille":1001,"floorPermille":0,"harmPermille":1,"stepPermille":5,
		"deadBandPermille":1,"raiseAfterSeconds":0,"raiseAfterMostSeconds":-1,"periodMicroseconds":999}`))
	if err == nil {
		t.Fatal("nine bad arguments: no error")
	}
	for _, want := range []string{
		"safeLinePermille 50: must be 100 to 1000", "calmLinePermille 1001: must be 50 to 1000", "floorPermille 0: must be 5 to 500",
		"harmPermille 1: must be 10 to 1000", "stepPermille 5: must be 10 to 1000", "deadBandPermille 1: must be 10 to 200",
		"raiseAfterSeconds 0: must be 1 to 3600", "raiseAfterMostSeconds -1: must be 0 to 86400", "periodMicroseconds 999: must be 1000 to 1000000",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error %q does not say %q", err, want)
		}
	}
	for args, ok := range map[string]bool{``: true, `{}`: true, `{"safeLine":1}`: false, `[]`: false} {
		if _, err := Factory().New([]byte(args)); (err == nil) != ok {
			t.Errorf("args %q: error %v", args, err)
		}
	}
}

func TestQuotasAreReadAndWrittenInTheKnobsUnit(t *testing.T) {
	for _, c := range []struct {
		milliCPU, period int64
		want             string
	}{
		{1500, 10_000, "15000/10000"}, {1500, 100_000, "150000"}, {99, 10_000, "1089/11000"}, // 990 of 10000 is too little for the kernel
		{100, 4000, "1000/10000"}, {250, 4000, "1000/4000"}, {5, 10_000, "1000"}, {0, 10_000, "1000"}, {2000, 1_000_000, "2000000/1000000"},
	} {
		if got := quotaText(c.milliCPU, c.period); got != c.want {
			t.Errorf("quotaText(%d, %d) = %s, want %s", c.milliCPU, c.period, got, c.want)
		}
	}
	for text, want := range map[string]int64{
		"15000/10000": 1500, "150000": 1500, "max": unlimited, "max/5000": unlimited, "": unlimited, "1/0": unlimited, "-5": unlimited, "7/x": unlimited,
	} {
		if got := milliCPUOf(text); got != want {
			t.Errorf("milliCPUOf(%q) = %d, want %d", text, got, want)
		}
	}
}
