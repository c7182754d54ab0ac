package agent

import (
	"testing"

	"github.com/plimsoll/plimsoll/pkg/actuate"
	"github.com/plimsoll/plimsoll/pkg/api/v1alpha1"
	"github.com/plimsoll/plimsoll/pkg/cgroup"
	"github.com/plimsoll/plimsoll/pkg/qos"
)

// A pod that stopped asking while no agent ran still has what the agent before gave it.
func TestAnAgentKnowsWhoHadRealtimePriorityBeforeItStarted(t *testing.T) {
	const podGroup = "/kubepods/burstable/podone"
	had := realtimePods([]actuate.Original{
		{Group: podGroup + "/c1", Knob: qos.CPUPolicy, Raw: cgroup.Raw{"other"}},
		{Group: "/kubepods/burstable/podtwo/c1", Knob: qos.CPUQuota, Raw: cgroup.Raw{"max"}},
	})
	if len(had) != 1 || !had[podGroup] {
		t.Fatalf("had real-time priority: %v, want %s only", had, podGroup)
	}
	tree := newTree(t)
	l := newTestLoop(t, tree, v1alpha1.ModeObserve)
	l.sensor.knobs[qos.KindContainer] = []qos.Knob{qos.CPUPolicy}
	for name, tc := range map[string]struct {
		known, had, want bool
	}{
		"it had it, and does not ask any more":                 {known: true, had: true, want: true},
		"it had it, and the API server has not told of it yet": {known: false, had: true, want: false},
		"it never had it": {known: true, had: false, want: false},
	} {
		t.Run(name, func(t *testing.T) {
			l.sensor.askedRealtime, l.sensor.hadRealtime = map[string]bool{}, map[string]bool{podGroup: tc.had}
			r := reading{Settings: map[string]map[qos.Knob]qos.Setting{}}
			l.sensor.readRealtime(&r, &pod{UID: "one"}, cgroup.Pod{UID: "one", Path: podGroup}, tc.known)
			if _, got := r.Settings[podGroup]; got != tc.want {
				t.Errorf("looked at: %t, want %t", got, tc.want)
			}
		})
	}
}
