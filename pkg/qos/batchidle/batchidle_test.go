package batchidle

import (
	"math/rand/v2"
	"strings"
	"testing"
	"testing/quick"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/plimsoll/plimsoll/pkg/qos"
	"github.com/plimsoll/plimsoll/pkg/usage"
)

const branch = "/kubepods/plimsoll-batch"

func TestStep(t *testing.T) {
	setting := func(s qos.Setting) []qos.Group {
		return []qos.Group{
			{Path: "/kubepods/besteffort", Kind: qos.KindTier},
			{Path: branch, Kind: qos.KindBatchBranch, Settings: map[qos.Knob]qos.Setting{qos.CPUIdle: s}},
		}
	}
	idle := []qos.Change{{Group: branch, Knob: qos.CPUIdle, Value: "1", Reason: "batch runs only when no online task wants the CPU"}}
	tests := map[string]struct {
		state       qos.State
		wantChanges []qos.Change
		wantNote    string
	}{
		"the branch is not idle yet":    {state: qos.State{Groups: setting(qos.Setting{Value: "0", OK: true})}, wantChanges: idle},
		"the branch is idle":            {state: qos.State{Groups: setting(qos.Setting{Value: "1", OK: true})}, wantChanges: idle},
		"the setting could not be read": {state: qos.State{Groups: setting(qos.Setting{})}, wantChanges: idle},
		"blind: the same plan protects": {state: qos.State{Blind: true, Groups: setting(qos.Setting{Value: "0", OK: true})}, wantChanges: idle},
		"the kernel has no cpu.idle": {
			state:       qos.State{Groups: setting(qos.Setting{Unsupported: true})},
			wantChanges: []qos.Change{{Group: branch, Knob: qos.CPUWeight, Value: "1", Reason: "this kernel has no cpu.idle: batch has the lowest weight instead"}},
			wantNote:    "no cpu.idle",
		},
		"no batch branch": {state: qos.State{Groups: setting(qos.Setting{})[:1]}, wantNote: "no batch branch"},
		"an empty node":   {wantNote: "no batch branch"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			got := New(Args{}).Step(tc.state)
			if diff := cmp.Diff(tc.wantChanges, got.Changes); diff != "" {
				t.Errorf("changes (-want +got):\n%s", diff)
			}
			if notes := strings.Join(got.Notes, "\n"); !strings.Contains(notes, tc.wantNote) || tc.wantNote == "" && notes != "" {
				t.Errorf("notes %q, want one with %q", notes, tc.wantNote)
			}
		})
	}
}

// The kubelet refuses to start again when a tier of its own has cpu.idle=1, so no State may lead there.
func TestNoStateLeadsToAChangeOfAGroupOfTheKubelets(t *testing.T) {
	kinds := []qos.Kind{qos.KindTier, qos.KindPod, qos.KindBatchContainer, qos.KindBatchBranch}
	holds := func(picks []uint8, blind bool) bool {
		s := qos.State{Blind: blind}
		kindOf := map[string]qos.Kind{}
		for i, p := range picks {
			path := "/g" + strings.Repeat("x", i)
			kindOf[path] = kinds[int(p)%len(kinds)]
			s.Groups = append(s.Groups, qos.Group{Path: path, Kind: kindOf[path]})
		}
		for _, c := range New(Args{}).Step(s).Changes {
			if kindOf[c.Group] != qos.KindBatchBranch || c.Knob != qos.CPUIdle || c.Value != "1" {
				return false
			}
		}
		return true
	}
	if err := quick.Check(holds, nil); err != nil {
		t.Error(err)
	}
}

func TestThePlanSettlesAfterOneWrite(t *testing.T) {
	s := qos.State{Groups: []qos.Group{{Path: branch, Kind: qos.KindBatchBranch, Settings: map[qos.Knob]qos.Setting{qos.CPUIdle: {Value: "0", OK: true}}}}}
	strategy := New(Args{})
	changes := qos.Diff(s, strategy.Step(s))
	if len(changes) != 1 {
		t.Fatalf("first tick: %v, want one change", changes)
	}
	s.Groups[0].Settings[qos.CPUIdle] = qos.Setting{Value: changes[0].Value, OK: true}
	if again := qos.Diff(s, strategy.Step(s)); len(again) != 0 {
		t.Errorf("second tick: %v, want nothing", again)
	}
}

// Whatever happens, the flag is off for at most a slice in each window.
func TestTheFlagIsOffForASliceAWindowAtMost(t *testing.T) {
	holds := func(seed uint64) bool {
		random := rand.New(rand.NewPCG(seed, 3))
		strategy, err := Factory().New(nil)
		if err != nil {
			t.Fatal(err)
		}
		now, off := time.Date(2026, 11, 2, 9, 0, 0, 0, time.UTC), time.Duration(0)
		idle := "0"
		const length = 600
		for range length {
			s := qos.State{
				Now: now, Blind: random.IntN(50) == 0, CPU: qos.CPUUse{CapacityMilliCPU: 8000, BatchMilliCPU: usage.Reading{Value: random.Int64N(60), OK: random.IntN(50) > 0}},
				Groups: []qos.Group{
					{Path: branch, Kind: qos.KindBatchBranch, Settings: map[qos.Knob]qos.Setting{qos.CPUIdle: {Value: idle, OK: true}}},
					{Path: branch + "/c", Kind: qos.KindBatchContainer},
					{Path: "/p", Kind: qos.KindPod, Online: true, Harm: usage.Harm{ExcessPermille: usage.Of(random.Int64N(101))}},
				},
			}
			for _, c := range strategy.Step(s).Changes {
				if c.Knob == qos.CPUIdle {
					idle = c.Value
				}
			}
			now = now.Add(time.Second)
			if idle == "0" {
				off += time.Second
			}
		}
		return off <= (length/60+1)*2*time.Second
	}
	if err := quick.Check(holds, nil); err != nil {
		t.Error(err)
	}
}

func TestBadArgumentsAreNamedWithTheirRange(t *testing.T) {
	_, err := Factory().New([]byte(`{"leastPermille":101,"windowSeconds":9,"sliceSeconds":11,"sliceWeight":0,"harmPermille":1}`))
	for _, want := range []string{
		"leastPermille 101: must be 0 to 100", "windowSeconds 9: must be 10 to 3600", "sliceSeconds 11: must be 1 to 10",
		"sliceWeight 0: must be 1 to 50", "harmPermille 1: must be 10 to 1000",
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want it to say %q", err, want)
		}
	}
}

func TestArgumentsAreRefused(t *testing.T) {
	for _, bad := range []string{`{"level":2}`, `[]`, `{} {}`, `{`} {
		if _, err := Factory().New([]byte(bad)); err == nil {
			t.Errorf("args %s: no error", bad)
		}
	}
	for _, good := range []string{``, `{}`} {
		if _, err := Factory().New([]byte(good)); err != nil {
			t.Errorf("args %q: %v", good, err)
		}
	}
}
