package starvation

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/plimsoll/plimsoll/pkg/qos"
	"github.com/plimsoll/plimsoll/pkg/usage"
)

func read(v int64) usage.Reading { return usage.Reading{Value: v, OK: true} }

// hungry is a pod that was lent a core, gets none of it and waits for it; done is the work it has behind it.
func hungry(uid string, doneSeconds int64) qos.BatchPod {
	return qos.BatchPod{UID: uid, Namespace: "batch", Name: uid, RequestMilliCPU: 1000, MilliCPU: read(0), CPUSomePermille: read(950), DoneCPUMicros: read(doneSeconds * 1e6)}
}

var args = Args{AfterSeconds: 60, LeastPermille: 50, WaitingPermille: 500, EverySeconds: 30}

// replay ticks once a second and returns who was evicted at which second.
func replay(seconds int, at func(second int) qos.State) []string {
	start := time.Unix(1_000_000, 0)
	strategy := New(args)
	var out []string
	for i := range seconds {
		s := at(i)
		if s.Now.IsZero() {
			s.Now = start.Add(time.Duration(i) * time.Second)
		}
		for _, e := range strategy.Step(s).Evictions {
			out = append(out, fmt.Sprintf("%d %s", i, e.Pod.UID))
		}
	}
	return out
}

func TestWhoIsEvictedWhen(t *testing.T) {
	one := func(change func(second int, p *qos.BatchPod)) func(int) qos.State {
		return func(second int) qos.State {
			p := hungry("a", 5)
			change(second, &p)
			return qos.State{BatchPods: []qos.BatchPod{p}}
		}
	}
	start := time.Unix(1_000_000, 0)
	for name, tc := range map[string]struct {
		at   func(second int) qos.State
		want string
	}{
		"after it has starved for a minute, and again while it is still there": {one(func(int, *qos.BatchPod) {}), "60 a, 90 a"},
		"two seconds at 250 of 50 thousandths make up for eight":               {one(func(s int, p *qos.BatchPod) { p.MilliCPU = read(250 * int64(btoi(s == 40 || s == 41))) }), "70 a, 100 a"},
		"half of what it is owed: it lasts twice as long":                      {one(func(_ int, p *qos.BatchPod) { p.MilliCPU = read(25) }), ""},
		"two seconds with all the CPU that it was lent make up for 38":         {one(func(s int, p *qos.BatchPod) { p.MilliCPU = read(1000 * int64(btoi(s == 40 || s == 41))) }), "100 a"},
		"five per cent is enough":                                              {one(func(_ int, p *qos.BatchPod) { p.MilliCPU = read(50) }), ""},
		"it does not want to run":                                              {one(func(_ int, p *qos.BatchPod) { p.CPUSomePermille = read(100) }), ""},
		"nothing was lent to it":                                               {one(func(_ int, p *qos.BatchPod) { p.RequestMilliCPU = 0 }), ""},
		"the kernel tells no pressure":                                         {one(func(_ int, p *qos.BatchPod) { p.CPUSomePermille = usage.Reading{} }), ""},
		"30 seconds without a measurement do not count": {one(func(s int, p *qos.BatchPod) {
			if s >= 20 && s < 50 {
				p.MilliCPU = usage.Reading{}
			}
		}), "90 a"},
		"the agent was blind for 30 seconds": {func(s int) qos.State {
			if s >= 20 && s < 50 {
				return qos.State{Blind: true}
			}
			return qos.State{BatchPods: []qos.BatchPod{hungry("a", 5)}}
		}, "90 a"},
		"the clock jumps forward by an hour: ten seconds of it count": {func(s int) qos.State {
			now := start.Add(time.Duration(s) * time.Second)
			if s >= 20 {
				now = now.Add(time.Hour)
			}
			return qos.State{Now: now, BatchPods: []qos.BatchPod{hungry("a", 5)}}
		}, "51 a, 81 a, 111 a"},
		"the clock jumps back by an hour: nothing of it counts": {func(s int) qos.State {
			now := start.Add(time.Duration(s) * time.Second)
			if s >= 20 {
				now = now.Add(-time.Hour)
			}
			return qos.State{Now: now, BatchPods: []qos.BatchPod{hungry("a", 5)}}
		}, "61 a, 91 a"},
		"the least work first, one at a time": {func(s int) qos.State {
			pods := []qos.BatchPod{hungry("long", 5000), hungry("short", 5), hungry("unknown", 0)}
			pods[2].DoneCPUMicros = usage.Reading{}
			if s > 60 {
				pods = []qos.BatchPod{pods[0], pods[2]}
			}
			if s > 90 {
				pods = pods[1:]
			}
			return qos.State{BatchPods: pods}
		}, "60 short, 90 long"},
		"with what the first left, the second gets on": {func(s int) qos.State {
			second := hungry("second", 5000)
			if s > 62 {
				second.MilliCPU = read(800)
				return qos.State{BatchPods: []qos.BatchPod{second}}
			}
			return qos.State{BatchPods: []qos.BatchPod{hungry("first", 5), second}}
		}, "60 first"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := strings.Join(replay(120, tc.at), ", "); got != tc.want {
				t.Errorf("evicted %q, want %q", got, tc.want)
			}
		})
	}
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

func TestAnEvictionSaysWhatItRestsOn(t *testing.T) {
	strategy := New(args)
	var got []qos.Eviction
	for i := range 61 {
		got = strategy.Step(qos.State{Now: time.Unix(int64(1000+i), 0), BatchPods: []qos.BatchPod{hungry("a", 5)}}).Evictions
	}
	if len(got) != 1 || !strings.Contains(got[0].Reason, "50 thousandths") || !strings.Contains(got[0].Reason, "1m0s") ||
		got[0].Inputs != "pod.milliCPU=0 pod.requestMilliCPU=1000 pod.cpuSomePermille=950 starvedSeconds=60" {
		t.Errorf("eviction %+v", got)
	}
}

// Whatever is read, no pod goes that was not seen to starve for the whole time, and no two within the interval.
func TestNobodyGoesWhoWasNotSeenToStarveForSoLong(t *testing.T) {
	for seed := range uint64(200) {
		random := rand.New(rand.NewPCG(seed, 7))
		strategy := New(args)
		now, last := time.Unix(1_000_000, 0), time.Time{}
		since := map[string]time.Duration{} // that each was seen to starve, by what was shown
		for range 400 {
			step := time.Duration(random.IntN(3000)) * time.Millisecond
			now = now.Add(step)
			s := qos.State{Now: now, Blind: random.IntN(50) == 0}
			for i := range 4 {
				p := hungry(fmt.Sprint(i), random.Int64N(1000))
				fed := random.IntN(60) == 0
				if fed {
					p.MilliCPU = read(900)
				}
				unknown := random.IntN(20) == 0
				if unknown {
					p.CPUSomePermille = usage.Reading{}
				}
				s.BatchPods = append(s.BatchPods, p)
				switch {
				case s.Blind || unknown || fed:
				default:
					since[p.UID] += step
				}
			}
			if s.Blind {
				s.BatchPods = nil
			}
			got := strategy.Step(s).Evictions
			if len(got) > 1 {
				t.Fatalf("seed %d: %d evictions at once", seed, len(got))
			}
			for _, e := range got {
				if since[e.Pod.UID] < time.Minute {
					t.Fatalf("seed %d: pod %s goes after %s", seed, e.Pod.UID, since[e.Pod.UID])
				}
				if !last.IsZero() && now.Sub(last) < 30*time.Second {
					t.Fatalf("seed %d: two evictions within %s", seed, now.Sub(last))
				}
				last = now
			}
		}
		if last.IsZero() {
			t.Errorf("seed %d: nobody was evicted: this test says nothing", seed)
		}
	}
}

func TestBadArgumentsAreNamedWithTheirRange(t *testing.T) {
	_, err := Factory().New([]byte(`{"afterSeconds":29,"leastPermille":0,"waitingPermille":1001,"everySeconds":0}`))
	for _, want := range []string{"afterSeconds 29: must be 30 to 86400", "leastPermille 0", "waitingPermille 1001", "everySeconds 0"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v does not say %q", err, want)
		}
	}
	if _, err := Factory().New(nil); err != nil {
		t.Errorf("the defaults: %v", err)
	}
}
