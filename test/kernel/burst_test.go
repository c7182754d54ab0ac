package kernel

import (
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/plimsoll/plimsoll/pkg/cgroup"
	"github.com/plimsoll/plimsoll/pkg/qos"
	"github.com/plimsoll/plimsoll/pkg/qos/burst"
	"github.com/plimsoll/plimsoll/pkg/usage"
)

// TestBurstLetsAContainerUseWhatItSaved has the strategy's plan give a container and its pod a burst, and sees the
// kernel count that it was used; a kubelet that shrinks the pod below it is refused, and a release undoes it.
func TestBurstLetsAContainerUseWhatItSaved(t *testing.T) {
	tr := newTree(t)
	e := enforce(tr)
	pod := tr.burstablePod()
	container := pod + "/" + containerID
	tr.make(container)
	burstFile := map[bool]string{true: "cpu.max.burst", false: "cpu.cfs_burst_us"}[tr.Mode == cgroup.V2]
	needs(t, exists(filepath.Join(tr.Dir("cpu", container), burstFile)), "cpu.burst", 5, 14)
	for _, g := range []string{pod, container} {
		put(t, quotaFile(tr, g), quotaFor(tr, 20_000))
	}
	strategy, err := burst.Factory().New(nil)
	if err != nil {
		t.Fatal(err)
	}
	state := func() qos.State {
		group := func(path string, kind qos.Kind) qos.Group {
			g := qos.Group{Path: path, Kind: kind, Burst: true, Settings: map[qos.Knob]qos.Setting{}}
			for _, k := range burst.Knobs() {
				s, err := tr.ReadSetting(path, k)
				if err != nil {
					t.Fatal(err)
				}
				g.Settings[k] = s
			}
			return g
		}
		s := qos.State{
			Now: time.Now(), CPU: qos.CPUUse{CapacityMilliCPU: 4000, OnlineMilliCPU: usage.Of(100), SystemMilliCPU: usage.Of(0)},
			Groups: []qos.Group{group(pod, qos.KindPod), group(container, qos.KindContainer)},
		}
		s.Groups[1].Harm.ThrottledPermille = usage.Of(200)
		return s
	}
	s := state()
	for _, r := range e.Apply(qos.Diff(s, strategy.Step(s))) {
		if r.Err != nil {
			t.Fatal(r.Err)
		}
	}
	s = state()
	if left := qos.Diff(s, strategy.Step(s)); len(left) > 0 {
		t.Errorf("after it was carried out the plan still wants %+v", left)
	}
	for _, g := range []string{pod, container} {
		if got, err := tr.ReadSetting(g, qos.CPUBurst); err != nil || got.Value != "10000" {
			t.Fatalf("the burst of %s is %+v, %v, want half of 20000", g, got, err)
		}
	}

	// 25 ms of CPU at once, with a pause before: 20 are the quota, 5 were saved.
	bursts := func() int {
		for line := range strings.Lines(get(t, filepath.Join(tr.Dir("cpu", container), "cpu.stat"))) {
			if n, ok := strings.CutPrefix(line, "nr_bursts "); ok {
				v, err := strconv.Atoi(strings.TrimSpace(n))
				if err != nil {
					t.Fatal(err)
				}
				return v
			}
		}
		t.Fatal("cpu.stat of the container has no nr_bursts")
		return 0
	}
	service := tr.start(container)
	before := bursts()
	pause := time.NewTicker(350 * time.Millisecond)
	defer pause.Stop()
	eventually(t, "the container to use what it saved", func() bool {
		<-pause.C
		service.tell("burn", 25_000)
		return bursts() > before
	})

	if err := tryPut(quotaFile(tr, container), quotaFor(tr, 5000)); err == nil {
		t.Error("a quota below the burst was taken: docs/strategies.md says that the kernel refuses it")
	}
	if _, err := e.Release(); err != nil {
		t.Fatal(err)
	}
	for _, g := range []string{pod, container} {
		if got, err := tr.ReadSetting(g, qos.CPUBurst); err != nil || got.Value != "0" {
			t.Errorf("after release the burst of %s is %+v, %v, want 0", g, got, err)
		}
	}
}
