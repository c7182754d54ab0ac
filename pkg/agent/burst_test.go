package agent

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/plimsoll/plimsoll/pkg/api/v1alpha1"
)

// burster knows one pod, which asks to burst, and its container.
type burster struct {
	noPods
	asks bool
}

func (b *burster) byUID(string) (podInfo, bool) {
	return podInfo{Namespace: "pay", Name: "one", Class: v1alpha1.ClassLatencySensitive, Burst: b.asks}, true
}

func (*burster) podOfContainer(id string) (string, bool) { return "one", id == "5f3e9a1c0b7d" }

func TestAContainerThatItsLimitStopsMayBurstUntilItsPodAsksNoMore(t *testing.T) {
	const group = "kubepods/burstable/podone"
	const container, sandbox = group + "/5f3e9a1c0b7d", group + "/77aa"
	tree := newTree(t)
	stopped := int64(0)
	for _, g := range []string{group, container, sandbox} {
		tree.group(g)
		tree.write(tree.host.FSRoot, g+"/cpu.max", "50000 100000\n")
		tree.write(tree.host.FSRoot, g+"/cpu.max.burst", "0\n")
	}
	second := func(stoppedMicros int64) {
		stopped += stoppedMicros
		tree.write(tree.host.FSRoot, group+"/cpu.stat", fmt.Sprintf("usage_usec %d\nnr_throttled 1\nthrottled_usec 0\n", stopped))
		tree.write(tree.host.FSRoot, container+"/cpu.stat", fmt.Sprintf("usage_usec %d\nnr_throttled 1\nthrottled_usec %d\n", stopped, stopped))
	}
	burstOf := func(g string) string {
		b, err := os.ReadFile(filepath.Join(tree.host.FSRoot, g, "cpu.max.burst"))
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(b))
	}
	l := newTestLoop(t, tree, v1alpha1.ModeEnforce)
	c := v1alpha1.DefaultAgentConfiguration()
	c.Strategies = []v1alpha1.StrategyConfiguration{{Name: "burst", Mode: v1alpha1.ModeEnforce}}
	strategies, err := buildStrategies(c)
	if err != nil {
		t.Fatal(err)
	}
	pods := &burster{asks: true}
	l.sensor.close()
	l.actor.strategies, l.sensor = strategies, newSensor(tree.host, strategies, pods)
	for i, tc := range []struct {
		stoppedMicros int64
		asks          bool
		want          string
	}{{0, true, "0"}, {10_000, true, "0"}, {50_000, true, "25000"}, {0, true, "25000"}, {0, false, "05000"}} { // a 0 over 25000: unlike the kernel's, a plain file keeps the rest
		pods.asks = tc.asks
		second(tc.stoppedMicros)
		l.tick(at.Add(time.Duration(i) * time.Second))
		if got := []string{burstOf(group), burstOf(container), burstOf(sandbox)}; got[0] != tc.want || got[1] != tc.want || got[2] != "0" {
			t.Errorf("second %d: the bursts of the pod, its container and its sandbox are %v, want %s, %s and 0", i, got, tc.want, tc.want)
		}
	}
}
