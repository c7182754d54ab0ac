package agent

import (
	"testing"

	"github.com/plimsoll/plimsoll/pkg/api/v1alpha1"
	"github.com/plimsoll/plimsoll/pkg/qos"
)

func TestCookiesThatPlimsollDidNotGiveAreToldApart(t *testing.T) {
	for is, want := range map[string]string{
		qos.CookieOwn: qos.CookieOthers, qos.CookieSome: qos.CookieOthersSome, qos.CookieNone: qos.CookieNone, qos.CookieNoThreads: qos.CookieNoThreads, "": "",
	} {
		setting := qos.Setting{Value: is, OK: is != ""}
		if got := cookiesOf(setting, true); got != setting {
			t.Errorf("given by Plimsoll %+v becomes %+v", setting, got)
		}
		if got := cookiesOf(setting, false); got.Value != want || got.OK != setting.OK {
			t.Errorf("not given by Plimsoll %+v becomes %+v, want %q", setting, got, want)
		}
	}
}

// apartAsker is a pod that asks that batch shares no core with it.
type apartAsker struct{ noPods }

func (apartAsker) byUID(string) (podInfo, bool) {
	return podInfo{Namespace: "pay", Name: "one", Class: v1alpha1.ClassLatencySensitive, UnsharedCores: true}, true
}
func (apartAsker) told() bool { return true }

// Whether this kernel has cookies or not, the threads of each batch container are looked at, and nobody else's; where it has none
// the strategy says so.
func TestCookiesOfBatchContainersAreRead(t *testing.T) {
	tree := newTree(t)
	tree.group("kubepods/plimsoll-batch/c1")
	tree.write(tree.host.FSRoot, "kubepods/plimsoll-batch/c1/cgroup.threads", "")
	tree.write(tree.host.FSRoot, "kubepods/burstable/podone/cgroup.threads", "")
	c := v1alpha1.DefaultAgentConfiguration()
	c.Strategies = []v1alpha1.StrategyConfiguration{{Name: "coresched", Mode: v1alpha1.ModeEnforce, Args: []byte(`{"namespaces":["pay"]}`)}}
	strategies, err := buildStrategies(c)
	if err != nil {
		t.Fatal(err)
	}
	l := newTestLoop(t, tree, v1alpha1.ModeEnforce)
	l.sensor.close()
	l.actor.strategies, l.sensor = strategies, newSensor(tree.host, strategies, apartAsker{})
	l.tick(at)
	read, lacking := 0, false
	for _, g := range l.lastState.Groups {
		is, known := g.Settings[qos.CoreCookie]
		if known != (g.Kind == qos.KindBatchContainer) {
			t.Errorf("%s: cookies known %v", g.Path, known)
		}
		if known {
			read++
			if lacking = is.Unsupported; !lacking && is.Value != qos.CookieNoThreads {
				t.Errorf("%s: %+v, want no threads, or no cookies", g.Path, is)
			}
		}
		if g.Kind == qos.KindPod && !g.UnsharedCores {
			t.Errorf("%s asks, and the State does not say so", g.Path)
		}
	}
	if read != 1 || !l.lastState.PodsTold {
		t.Errorf("cookies of %d groups were read, want 1; all pods are known: %v", read, l.lastState.PodsTold)
	}
	if noted := len(l.actor.notes) > 0; noted != lacking || len(l.actor.changes) > 0 {
		t.Errorf("the kernel lacks cookies: %v, notes %v, changes %+v", lacking, l.actor.notes, l.actor.changes)
	}
}
