package batchbound

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/plimsoll/plimsoll/pkg/qos"
)

func TestOf(t *testing.T) {
	for name, tc := range map[string]struct {
		amounts Amounts
		want    Bounds
	}{
		"ordinary":             {Amounts{MilliCPU: 1500, MemoryBytes: 1000, LimitMilliCPU: 3000}, Bounds{1536, 300_000, 1000, 99}}, // 1500 x 1024 / 1000
		"less than it takes":   {Amounts{MilliCPU: 1, MemoryBytes: 1, LimitMilliCPU: 1}, Bounds{2, 1000, 1, 99}},
		"more than it takes":   {Amounts{MilliCPU: 300_000, MemoryBytes: 1, LimitMilliCPU: 300_000}, Bounds{262_144, 30_000_000, 1, 99}},
		"a share of the pod's": {Amounts{MemoryBytes: 1, LimitMilliCPU: 250}, Bounds{2, 25_000, 1, 99}},
	} {
		if d := cmp.Diff(tc.want, Of(tc.amounts, 99)); d != "" {
			t.Errorf("%s (-want +got):\n%s", name, d)
		}
	}
}

func TestOfPod(t *testing.T) {
	small, large := Amounts{100, 10, 200}, Amounts{1000, 5, 2000}
	for name, tc := range map[string]struct {
		initial, sidecars, others []Amounts
		want                      Amounts
	}{
		"one container":                        {others: []Amounts{small}, want: small},
		"two run together":                     {others: []Amounts{small, large}, want: Amounts{1100, 15, 2200}},
		"a larger one runs before":             {initial: []Amounts{large, small}, others: []Amounts{small}, want: Amounts{1000, 10, 2000}},
		"a sidecar runs beside the larger":     {initial: []Amounts{large}, sidecars: []Amounts{small}, others: []Amounts{small}, want: Amounts{1100, 20, 2200}},
		"nothing is held to nothing, not more": {},
	} {
		if d := cmp.Diff(tc.want, OfPod(tc.initial, tc.sidecars, tc.others)); d != "" {
			t.Errorf("%s (-want +got):\n%s", name, d)
		}
	}
}

func TestStep(t *testing.T) {
	is := func(value string) map[qos.Knob]qos.Setting {
		return map[qos.Knob]qos.Setting{qos.CPUQuota: {Value: value, OK: value != ""}}
	}
	group := func(b *qos.Bounds, settings map[qos.Knob]qos.Setting) qos.Group {
		return qos.Group{Path: "/g", Kind: qos.KindUnplaced, Bounds: b, Settings: settings}
	}
	quota := []qos.Change{{Group: "/g", Knob: qos.CPUQuota, Value: "5000", Reason: "because"}}
	for name, tc := range map[string]struct {
		group qos.Group
		want  []qos.Change
	}{
		"a group that is not bounded here": {group: group(nil, is("max"))},
		"all of it": {group: group(&qos.Bounds{Weight: 7, QuotaMicros: 5000, MemoryBytes: 4096, PIDs: 9, Reason: "because"}, nil), want: []qos.Change{
			{Group: "/g", Knob: qos.CPUWeight, Value: "7", Reason: "because"}, quota[0],
			{Group: "/g", Knob: qos.MemoryMax, Value: "4096", Reason: "because"}, {Group: "/g", Knob: qos.PIDsMax, Value: "9", Reason: "because"},
		}},
		"another's limit, on a converted pod":   {group: group(&qos.Bounds{QuotaMicros: 5000, Reason: "because"}, is("70000")), want: quota},
		"another's limit stays":                 {group: group(&qos.Bounds{QuotaMicros: 5000, Yields: []qos.Knob{qos.CPUQuota}, Reason: "because"}, is("70000"))},
		"it yields with another knob only":      {group: group(&qos.Bounds{QuotaMicros: 5000, Yields: []qos.Knob{qos.PIDsMax}, Reason: "because"}, is("70000")), want: quota},
		"another's stricter limit stays":        {group: group(&qos.Bounds{QuotaMicros: 5000, Yields: []qos.Knob{qos.CPUQuota}, Reason: "because"}, is("1000"))},
		"where nothing limits it":               {group: group(&qos.Bounds{QuotaMicros: 5000, Yields: []qos.Knob{qos.CPUQuota}, Reason: "because"}, is("max")), want: quota},
		"where it is limited so already":        {group: group(&qos.Bounds{QuotaMicros: 5000, Yields: []qos.Knob{qos.CPUQuota}, Reason: "because"}, is("5000")), want: quota},
		"where nobody knows what limits it":     {group: group(&qos.Bounds{QuotaMicros: 5000, Yields: []qos.Knob{qos.CPUQuota}, Reason: "because"}, is(""))},
		"on a converted pod where nobody knows": {group: group(&qos.Bounds{QuotaMicros: 5000, Reason: "because"}, is("")), want: quota},
	} {
		for _, blind := range []bool{false, true} {
			s := qos.State{Blind: blind, Groups: []qos.Group{tc.group}}
			strategy := New(Args{})
			plan := strategy.Step(s)
			if d := cmp.Diff(tc.want, plan.Changes); d != "" {
				t.Errorf("%s, blind %v (-want +got):\n%s", name, blind, d)
			}
			if foreign := strategy.Foreign(s, plan); len(foreign) > 0 {
				t.Errorf("%s: changes that it does not own: %v", name, foreign)
			}
		}
	}
}

func TestItHasNoArguments(t *testing.T) {
	if _, err := Factory().New([]byte(`{"pids":1}`)); err == nil {
		t.Error("an argument: no error")
	}
	if _, err := Factory().New(nil); err != nil {
		t.Error(err)
	}
}
