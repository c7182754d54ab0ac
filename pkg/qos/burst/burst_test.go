package burst

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"testing/quick"
	"time"

	"github.com/plimsoll/plimsoll/pkg/qos"
	"github.com/plimsoll/plimsoll/pkg/usage"
	"github.com/plimsoll/plimsoll/test/traces"
)

func TestTraces(t *testing.T) {
	both := func(w *traces.World, p *traces.Pod, knob qos.Knob, value string) {
		for _, g := range []string{traces.PodPath(p.Name), traces.ContainerPath(p.Name)} {
			w.Set(g, knob, qos.Setting{Value: value, OK: value != "?"})
		}
	}
	// crowd is pods that are all alike.
	crowd := func(w *traces.World, each func(*traces.Pod)) {
		for _, p := range w.Pods {
			if strings.HasPrefix(p.Name, "crowd") {
				each(p)
			}
		}
	}
	traces.Runner{
		Factory: Factory(),
		Say: func(c qos.Change) string {
			who := strings.TrimPrefix(c.Group, "/kubepods/burstable/")
			if name, isContainer := strings.CutSuffix(who, "/app"); strings.HasPrefix(name, "crowd") {
				who = "a pod of the crowd"
				if isContainer {
					who = "a container of the crowd"
				}
			}
			return who + " burst " + c.Value
		},
		Columns: map[string]func(*traces.World, string) error{
			"crowd pods": func(w *traces.World, cell string) error {
				n, err := traces.Number(cell)
				for i := range n.Value {
					p := &traces.Pod{Name: fmt.Sprintf("crowd%03d", i), Class: "online"}
					p.Group = qos.Group{Path: traces.PodPath(p.Name), Kind: qos.KindPod, Burst: true}
					p.Container = qos.Group{Kind: qos.KindContainer, Burst: true}
					both(w, p, qos.CPUBurst, "0")
					both(w, p, qos.CPUQuota, "20000")
					w.Pods = append(w.Pods, p)
				}
				return err
			},
			"crowd stopped ‰": func(w *traces.World, cell string) error {
				n, err := traces.Number(cell)
				crowd(w, func(p *traces.Pod) { p.Container.Harm.ThrottledPermille = n })
				return err
			},
		},
		PodColumns: map[string]func(*traces.World, *traces.Pod, string) error{
			"asks": func(_ *traces.World, p *traces.Pod, cell string) error {
				p.Group.Burst, p.Container.Burst = cell == "yes", cell == "yes"
				return nil
			},
			"limit µs": func(w *traces.World, p *traces.Pod, cell string) error {
				if p.Container.Kind == "" {
					p.Container.Kind = qos.KindContainer
					both(w, p, qos.CPUBurst, "0")
				}
				both(w, p, qos.CPUQuota, cell)
				return nil
			},
			"stopped ‰": func(_ *traces.World, p *traces.Pod, cell string) (err error) {
				p.Container.Harm.ThrottledPermille, err = traces.Number(cell)
				return err
			},
		},
	}.Run(t)
}

// The kernel refuses a burst above the quota, so no State may lead there, nor to a group whose pod does not ask.
func TestNoBurstIsAboveItsQuota(t *testing.T) {
	strategy, err := Factory().New([]byte(`{"mostPermilleOfQuota":1000,"safeLinePermille":1000}`))
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 11, 2, 9, 0, 0, 0, time.UTC)
	given := 0
	holds := func(podQuota, quota uint32, online uint16, throttled int16, asks, ok bool) bool {
		now = now.Add(time.Second)
		settings := func(q uint32) map[qos.Knob]qos.Setting {
			return map[qos.Knob]qos.Setting{qos.CPUQuota: {Value: strconv.Itoa(int(q % 400_000)), OK: true}, qos.CPUBurst: {Value: "0", OK: true}}
		}
		s := qos.State{
			Now: now, CPU: qos.CPUUse{CapacityMilliCPU: 64_000, OnlineMilliCPU: usage.Reading{Value: int64(online), OK: ok}, SystemMilliCPU: usage.Of(0)},
			Groups: []qos.Group{
				{Path: "/p", Kind: qos.KindPod, Burst: asks, Settings: settings(podQuota)},
				{Path: "/p/c", Kind: qos.KindContainer, Burst: asks, Settings: settings(quota), Harm: usage.Harm{ThrottledPermille: usage.Of(int64(throttled))}},
			},
		}
		for _, c := range strategy.Step(s).Changes {
			limit := int64(quota % 400_000)
			if c.Group == "/p" {
				limit = int64(podQuota % 400_000)
			}
			got, err := strconv.ParseInt(c.Value, 10, 64)
			if err != nil || got < 0 || got > limit || got > 0 && !asks || c.Knob != qos.CPUBurst {
				return false
			}
			if got > 0 {
				given++
			}
		}
		return true
	}
	if err := quick.Check(holds, &quick.Config{MaxCount: 5000}); err != nil || given == 0 {
		t.Errorf("%v; %d bursts given", err, given)
	}
}

func TestBadArgumentsAreNamedWithTheirRange(t *testing.T) {
	_, err := Factory().New([]byte(`{"throttledPermille":0,"mostPermilleOfQuota":1001,"safeLinePermille":99,"lowerAfterSeconds":0}`))
	for _, want := range []string{
		"throttledPermille 0: must be 1 to 1000", "mostPermilleOfQuota 1001: must be 1 to 1000",
		"safeLinePermille 99: must be 100 to 1000", "lowerAfterSeconds 0: must be 1 to 86400",
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want it to say %q", err, want)
		}
	}
	if _, err := Factory().New([]byte(`{"burst":1}`)); err == nil {
		t.Error("an unknown argument: no error")
	}
}
