package realtime

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/plimsoll/plimsoll/pkg/qos"
)

// node is kubepods with a tier and pods in it. A pod is its name, its namespace, whether it asks, and
// what each of its containers' threads are scheduled as.
type aPod struct {
	name, namespace string
	asks            bool
	policies        []string
}

func node(budgets bool, pods ...aPod) qos.State {
	budget := qos.Setting{Unsupported: !budgets, OK: budgets, Value: "0"}
	settings := func(policy string) map[qos.Knob]qos.Setting {
		return map[qos.Knob]qos.Setting{qos.CPURealtimeRuntime: budget, qos.CPUPolicy: {Value: policy, OK: true}}
	}
	s := qos.State{Groups: []qos.Group{
		{Path: "/kubepods", Kind: qos.KindTier, Settings: settings(qos.PolicyNoThreads)},
		{Path: "/kubepods/besteffort", Kind: qos.KindTier, Settings: settings(qos.PolicyNoThreads)},
		{Path: "/kubepods/burstable", Kind: qos.KindTier, Settings: settings(qos.PolicyNoThreads)},
	}}
	for _, p := range pods {
		path := "/kubepods/burstable/" + p.name
		s.Groups = append(s.Groups, qos.Group{Path: path, Kind: qos.KindPod, Namespace: p.namespace, Realtime: p.asks, Settings: settings(qos.PolicyNoThreads)})
		for i, policy := range p.policies {
			s.Groups = append(s.Groups, qos.Group{
				Path: path + "/" + string(rune('a'+i)), Kind: qos.KindContainer, Namespace: p.namespace, Realtime: p.asks, Settings: settings(policy),
			})
		}
	}
	return s
}

// wants is a plan as lines "group knob value".
func wants(p qos.Plan) []string {
	var lines []string
	for _, c := range p.Changes {
		lines = append(lines, strings.TrimPrefix(c.Group, "/kubepods")+" "+string(c.Knob)+" "+c.Value)
	}
	return lines
}

func TestThreadsOfPodsThatMayAskRunAtRealtimePriority(t *testing.T) {
	args := Args{Namespaces: []string{"pay"}, Priority: 1, NodeBudgetMicroseconds: 900_000, PodsBudgetMicroseconds: 700_000}
	tests := map[string]struct {
		state qos.State
		want  []string
		note  string
	}{
		"nobody asks: nothing is written, not even budgets": {
			state: node(true, aPod{"p", "pay", false, []string{"other"}}),
		},
		"a kernel that counts real-time tasks by group: a budget on every level, then the policy": {
			state: node(true, aPod{"p", "pay", true, []string{"other"}}),
			want: []string{
				" cpu.rt.runtime 900000", "/burstable cpu.rt.runtime 900000", "/burstable/p cpu.rt.runtime 700000",
				"/burstable/p/a cpu.rt.runtime 700000", "/burstable/p/a cpu.policy rr 1",
			},
		},
		"a kernel that does not: the policy alone": {
			state: node(false, aPod{"p", "pay", true, []string{"other"}}),
			want:  []string{"/burstable/p/a cpu.policy rr 1"},
		},
		"two pods, one of two containers: 700000 / 2 each, and 350000 / 2 a container": {
			state: node(true, aPod{"p", "pay", true, []string{"other", "other"}}, aPod{"q", "pay", true, []string{"rr 1"}}),
			want: []string{
				" cpu.rt.runtime 900000", "/burstable cpu.rt.runtime 900000",
				"/burstable/p cpu.rt.runtime 350000", "/burstable/p/a cpu.rt.runtime 175000", "/burstable/p/a cpu.policy rr 1",
				"/burstable/p/b cpu.rt.runtime 175000", "/burstable/p/b cpu.policy rr 1",
				"/burstable/q cpu.rt.runtime 350000", "/burstable/q/a cpu.rt.runtime 350000", "/burstable/q/a cpu.policy rr 1",
			},
		},
		"a thread that was started without the policy gets it": {
			state: node(false, aPod{"p", "pay", true, []string{"rr 1, some"}}),
			want:  []string{"/burstable/p/a cpu.policy rr 1"},
		},
		"a pod that asks no more gets the fair policy back, also threads that missed it": {
			state: node(false, aPod{"p", "pay", false, []string{"rr 1", "rr 1, some", "other"}}),
			want:  []string{"/burstable/p/a cpu.policy other", "/burstable/p/b cpu.policy other"},
		},
		"a namespace that is not named is not heard": {
			state: node(true, aPod{"p", "batchers", true, []string{"other"}}),
			note:  `namespace "batchers"`,
		},
		"threads with a policy of their own are left alone": {
			state: node(false, aPod{"p", "pay", true, []string{qos.PolicyOwn}}),
			note:  "left alone",
		},
		"a container without threads is not ready": {
			state: node(false, aPod{"p", "pay", true, []string{qos.PolicyNoThreads}}),
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			for _, blind := range []bool{false, true} {
				tc.state.Blind = blind
				got := step(args, tc.state)
				if diff := cmp.Diff(tc.want, wants(got)); diff != "" {
					t.Errorf("blind %v: plan (-want +got):\n%s", blind, diff)
				}
				if notes := strings.Join(got.Notes, "\n"); tc.note == "" && notes != "" || !strings.Contains(notes, tc.note) {
					t.Errorf("notes %q, want one with %q", notes, tc.note)
				}
			}
		})
	}
}

func TestBadArgumentsAreNamedWithTheirRange(t *testing.T) {
	_, err := Factory().New([]byte(`{"namespaces":[""],"priority":50,"nodeBudgetMicroseconds":960000,"podsBudgetMicroseconds":970000}`))
	if err == nil {
		t.Fatal("four bad arguments: no error")
	}
	for _, want := range []string{"namespaces", "priority 50: must be 1 to 49", "nodeBudgetMicroseconds 960000: must be 10000 to 950000", "podsBudgetMicroseconds 970000"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error %q does not say %q", err, want)
		}
	}
	if _, err := Factory().New([]byte(`{"namespace":[]}`)); err == nil || !strings.Contains(err.Error(), "namespace") {
		t.Errorf("an unknown argument: error %v, want one that names it", err)
	}
	if _, err := Factory().New(nil); err != nil {
		t.Errorf("the defaults: %v", err)
	}
}

// Where the kernel counts real-time tasks by group, the budgets of siblings may not be more than their
// parent's: what a pod that asks no more keeps, another cannot have.
func TestAPodThatAsksNoMoreGivesItsBudgetBackFromTheBottom(t *testing.T) {
	args := Args{Namespaces: []string{"pay"}, Priority: 1, NodeBudgetMicroseconds: 900_000, PodsBudgetMicroseconds: 700_000}
	s := node(true, aPod{"p", "pay", false, []string{"rr 1", "other"}})
	budgets := map[string]string{"/kubepods": "900000", "/kubepods/burstable": "900000", "/kubepods/burstable/p": "700000", "/kubepods/burstable/p/a": "350000", "/kubepods/burstable/p/b": "350000"}
	for i := range s.Groups {
		g := &s.Groups[i]
		g.Settings = map[qos.Knob]qos.Setting{qos.CPUPolicy: g.Settings[qos.CPUPolicy], qos.CPURealtimeRuntime: {OK: true, Value: budgets[g.Path]}}
	}
	for tick, want := range [][]string{
		{"/burstable/p/a cpu.policy other", "/burstable/p/b cpu.rt.runtime 0"},
		{"/burstable/p/a cpu.rt.runtime 0"},
		{"/burstable/p cpu.rt.runtime 0"},
		nil, // the tiers keep theirs until another needs it: it lets nobody do anything
	} {
		got := step(args, s)
		if diff := cmp.Diff(want, wants(got)); diff != "" {
			t.Fatalf("tick %d: plan (-want +got):\n%s", tick+1, diff)
		}
		for _, c := range got.Changes {
			for _, g := range s.Groups {
				if g.Path == c.Group {
					g.Settings[c.Knob] = qos.Setting{OK: true, Value: c.Value}
				}
			}
		}
	}
}

// The kernel refuses a group a budget that its siblings together would pass their parent's with
// (tg_rt_schedulable, kernel/sched/rt.c).
func TestTiersShareTheNodesBudget(t *testing.T) {
	args := Args{Namespaces: []string{"pay"}, Priority: 1, NodeBudgetMicroseconds: 900_000, PodsBudgetMicroseconds: 700_000}
	asks := func(tier, name string) qos.Group {
		return qos.Group{Path: tier + name, Kind: qos.KindPod, Namespace: "pay", Realtime: true}
	}
	s := node(true)
	s.Groups = append(s.Groups, asks("/kubepods/burstable", "/p"), asks("/kubepods/burstable", "/q"), asks("/kubepods/besteffort", "/r"), asks("/kubepods", "/s"))
	want := []string{
		" cpu.rt.runtime 900000", "/besteffort cpu.rt.runtime 225000", "/burstable cpu.rt.runtime 450000",
		"/burstable/p cpu.rt.runtime 175000", "/burstable/q cpu.rt.runtime 175000", "/besteffort/r cpu.rt.runtime 175000", "/s cpu.rt.runtime 175000",
	}
	if diff := cmp.Diff(want, wants(step(args, s))); diff != "" {
		t.Errorf("plan (-want +got):\n%s", diff)
	}
}

func TestATierWithoutPodsThatAskLeavesItsBudgetToTheOther(t *testing.T) {
	args := Args{Namespaces: []string{"pay"}, Priority: 1, NodeBudgetMicroseconds: 900_000, PodsBudgetMicroseconds: 700_000}
	s := node(true, aPod{"p", "pay", true, []string{"other"}})
	set := func(i int, micros string) {
		s.Groups[i].Settings = map[qos.Knob]qos.Setting{qos.CPURealtimeRuntime: {OK: true, Value: micros}}
	}
	set(1, "900000")
	if got := wants(step(args, s)); !slices.Contains(got, "/besteffort cpu.rt.runtime 0") {
		t.Errorf("plan %q does not take the budget of besteffort, which nobody there uses", got)
	}
	old := qos.Group{Path: "/kubepods/besteffort/old", Kind: qos.KindPod, Settings: map[qos.Knob]qos.Setting{qos.CPURealtimeRuntime: {OK: true, Value: "350000"}}}
	s.Groups = append(s.Groups, old)
	if got := wants(step(args, s)); slices.Contains(got, "/besteffort cpu.rt.runtime 0") {
		t.Errorf("plan %q takes the budget of besteffort while a pod there has some, which the kernel refuses", got)
	}
}
