package coresched

import (
	"strings"
	"testing"
	"testing/quick"

	"github.com/google/go-cmp/cmp"

	"github.com/plimsoll/plimsoll/pkg/qos"
)

// batch is a container in the batch branch whose threads have what cookies says; "?" was not read.
func batch(name, cookies string) qos.Group {
	return qos.Group{Path: "/batch/" + name, Kind: qos.KindBatchContainer, Settings: settings(cookies)}
}

func settings(cookies string) map[qos.Knob]qos.Setting {
	switch cookies {
	case "?":
		return map[qos.Knob]qos.Setting{qos.CoreCookie: {}}
	case "lacking":
		return map[qos.Knob]qos.Setting{qos.CoreCookie: {Unsupported: true}}
	}
	return map[qos.Knob]qos.Setting{qos.CoreCookie: {Value: cookies, OK: true}}
}

// service is a pod of namespace pay.
func service(asks bool) qos.Group {
	return qos.Group{Path: "/pod", Kind: qos.KindPod, Namespace: "pay", Online: true, UnsharedCores: asks}
}

func TestBatchGetsACookieWhileAPodThatMayAsks(t *testing.T) {
	unplaced := batch("late", qos.CookieNone)
	unplaced.Kind = qos.KindUnplaced
	tests := map[string]struct {
		args  Args
		state qos.State
		want  []string // group and value
		note  string
	}{
		"nobody asks: nothing": {
			state: qos.State{PodsTold: true, Groups: []qos.Group{service(false), batch("a", qos.CookieNone)}},
		},
		"a pod asks: all of batch, wherever it is": {
			state: qos.State{PodsTold: true, Groups: []qos.Group{service(true), batch("a", qos.CookieNone), unplaced}},
			want:  []string{"/batch/a own", "/batch/late own"},
		},
		"a process that was started later without a cookie gets it": {
			state: qos.State{PodsTold: true, Groups: []qos.Group{service(true), batch("a", qos.CookieSome), batch("b", qos.CookieOwn)}},
			want:  []string{"/batch/a own"},
		},
		"a container without threads has nothing to give one to": {
			state: qos.State{PodsTold: true, Groups: []qos.Group{service(true), batch("a", qos.CookieNoThreads)}},
		},
		"what cannot be read is asked for, and left alone when nobody asks": {
			state: qos.State{PodsTold: true, Groups: []qos.Group{service(true), batch("a", "?")}},
			want:  []string{"/batch/a own"},
		},
		"and left alone when nobody asks": {
			state: qos.State{PodsTold: true, Groups: []qos.Group{service(false), batch("a", "?")}},
		},
		"nobody asks any more: the cookies go": {
			state: qos.State{PodsTold: true, Groups: []qos.Group{service(false), batch("a", qos.CookieOwn), batch("b", qos.CookieSome), batch("c", qos.CookieNone)}},
			want:  []string{"/batch/a none", "/batch/b none"},
		},
		"nobody is known to ask, but the API server has not told of all pods": {
			state: qos.State{Groups: []qos.Group{service(false), batch("a", qos.CookieOwn)}},
		},
		"blind: given and never taken": {
			state: qos.State{Blind: true, PodsTold: true, Groups: []qos.Group{service(false), batch("a", qos.CookieOwn)}},
		},
		"blind, and a pod asked when it was last seen": {
			state: qos.State{Blind: true, PodsTold: true, Groups: []qos.Group{service(true), batch("a", qos.CookieNone)}},
			want:  []string{"/batch/a own"},
		},
		"cookies that somebody else gave are not taken": {
			state: qos.State{PodsTold: true, Groups: []qos.Group{service(false), batch("a", qos.CookieOthers), batch("b", qos.CookieOthersSome)}},
		},
		"and serve as well, but for threads that have none": {
			state: qos.State{PodsTold: true, Groups: []qos.Group{service(true), batch("a", qos.CookieOthers), batch("b", qos.CookieOthersSome)}},
			want:  []string{"/batch/b own"},
		},
		"a namespace that is not named is not heard": {
			args:  Args{Namespaces: []string{"other"}},
			state: qos.State{PodsTold: true, Groups: []qos.Group{service(true), batch("a", qos.CookieNone)}},
			note:  `namespace "pay"`,
		},
		"always, though nobody asks": {
			args:  Args{Always: true},
			state: qos.State{PodsTold: true, Groups: []qos.Group{service(false), batch("a", qos.CookieNone)}},
			want:  []string{"/batch/a own"},
		},
		"a kernel without core scheduling, when it is asked for": {
			state: qos.State{PodsTold: true, Groups: []qos.Group{service(true), batch("a", "lacking")}},
			note:  "CONFIG_SCHED_CORE",
		},
		"and when it is not": {
			state: qos.State{PodsTold: true, Groups: []qos.Group{service(false), batch("a", "lacking")}},
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			if tc.args.Namespaces == nil && !tc.args.Always {
				tc.args.Namespaces = []string{"pay"}
			}
			plan := step(tc.args, tc.state)
			var got []string
			for _, c := range qos.Diff(tc.state, plan) {
				got = append(got, c.Group+" "+c.Value)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("plan (-want +got):\n%s", diff)
			}
			if notes := strings.Join(plan.Notes, "\n"); tc.note == "" && notes != "" || !strings.Contains(notes, tc.note) {
				t.Errorf("notes %q, want one with %q", notes, tc.note)
			}
		})
	}
}

// On any node: after one plan is carried out no batch thread is without a cookie while a pod asks, the next plan wants
// nothing, and no cookie is taken while it is not known that nobody asks.
func TestAnyNodeSettlesWithBatchApart(t *testing.T) {
	values := []string{
		qos.CookieNone, qos.CookieOwn, qos.CookieSome, qos.CookieOthers, qos.CookieOthersSome, qos.CookieNoThreads, "?", "lacking",
	}
	given, taken := 0, 0
	holds := func(containers []uint8, asks []bool, heard, always, blind, told bool) bool {
		s := qos.State{Blind: blind, PodsTold: told}
		args, asked := Args{Always: always}, always
		if heard {
			args.Namespaces = []string{"pay"}
		}
		for _, a := range asks {
			s.Groups = append(s.Groups, service(a))
			asked = asked || a && heard
		}
		for i, c := range containers {
			g := batch(strings.Repeat("x", i+1), values[int(c)%len(values)])
			if c >= 128 {
				g.Kind = qos.KindUnplaced
			}
			s.Groups = append(s.Groups, g)
		}
		strategy := New(args)
		plan := strategy.Step(s)
		changes := qos.Diff(s, plan)
		if len(strategy.Foreign(s, plan)) > 0 {
			return false
		}
		for _, c := range changes {
			if c.Value == qos.CookieNone {
				taken++
				if asked || blind || !told {
					return false
				}
			} else {
				given++
			}
			for i := range s.Groups {
				if s.Groups[i].Path == c.Group {
					s.Groups[i].Settings = settings(c.Value)
				}
			}
		}
		for _, g := range s.Groups {
			is := g.Settings[qos.CoreCookie]
			if without := is.Value == qos.CookieNone || strings.HasSuffix(is.Value, "some"); g.Kind != qos.KindPod && asked && is.OK && without {
				return false
			}
		}
		return len(qos.Diff(s, strategy.Step(s))) == 0
	}
	if err := quick.Check(holds, &quick.Config{MaxCount: 2000}); err != nil {
		t.Error(err)
	}
	if given == 0 || taken == 0 {
		t.Errorf("cookies were given %d times and taken %d times: the property was not tried", given, taken)
	}
}

func TestBadArgumentsAreNamed(t *testing.T) {
	for args, want := range map[string]string{
		`{"namespaces":["pay",""]}`: `namespaces: "" is no namespace`,
		`{"namespace":["pay"]}`:     "namespace",
		`{"always":"yes"}`:          "always",
	} {
		if _, err := Factory().New([]byte(args)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want one with %q", args, err, want)
		}
	}
	if _, err := Factory().New(nil); err != nil {
		t.Errorf("the defaults: %v", err)
	}
}
