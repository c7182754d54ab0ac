package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/plimsoll/plimsoll/pkg/actuate"
	"github.com/plimsoll/plimsoll/pkg/api/v1alpha1"
	"github.com/plimsoll/plimsoll/pkg/qos"
	"github.com/plimsoll/plimsoll/pkg/qos/batchbound"
)

// maxChanges is how many changes NodeUtilization shows.
const maxChanges = 16

// actor runs the strategies, writes what they want where they may, and keeps what became of it.
type actor struct {
	strategies []running
	actuator   *actuate.Actuator
	metrics    *metrics
	auditor    *auditor
	log        *slog.Logger
	contests   contests
	// pretended is what strategies that observe would have written, by strategy: they decide as if it were so,
	// or what they show would not be what they would do.
	pretended map[string]pretended
	// evictor is nil where evictions are only told of.
	evictor *evictor
	// evicted is how many pods the API server evicted.
	evicted int64
	// pending is writes that have not ended yet, by group and knob.
	pending map[string]unended

	// changes are the last outcomes, newest first.
	changes []v1alpha1.ChangeStatus
	// latest is the newest outcome of each knob of each group: an outcome that only repeats itself is
	// told of once.
	latest map[string]v1alpha1.ChangeStatus
	// notes is when each of the strategies' remarks was last made: one is told of once, and again when it has not
	// been made for noteAgainAfter.
	notes map[string]time.Time
	// hindered is the remarks of the strategies that enforce about the last full reading: what they cannot do here.
	hindered []string
}

// noteAgainAfter is also how long a remark about a group that is gone is kept.
const noteAgainAfter = time.Hour

// unended is who wanted a write that has not ended yet, and what it rests on.
type unended struct {
	strategy string
	inputs   map[string]string
}

func newActor(strategies []running, actuator *actuate.Actuator, m *metrics, audit *auditor, log *slog.Logger) *actor {
	return &actor{strategies: strategies, actuator: actuator, metrics: m, auditor: audit, log: log,
		contests: contests{}, pretended: map[string]pretended{}, pending: map[string]unended{},
		latest: map[string]v1alpha1.ChangeStatus{}, notes: map[string]time.Time{}}
}

// act lets each strategy decide on s and carries out what differs from it. podOf names the pod of a group,
// and wrote is told what each knob is after a write.
func (a *actor) act(s qos.State, podOf func(group string) string, wrote func(actuate.Result)) {
	for _, r := range a.actuator.Finished() {
		key := knobKey(r.Change)
		a.settle(s.Now, a.pending[key].strategy, r, podOf(r.Change.Group), a.pending[key].inputs)
		delete(a.pending, key)
	}
	a.settleEvictions(s.Now)
	if !s.Fast {
		a.hindered = nil
	}
	for _, strategy := range a.strategies {
		if s.Fast && !strategy.Fast {
			continue
		}
		notes := a.step(strategy, s, podOf, wrote)
		if s.Fast || strategy.mode != v1alpha1.ModeEnforce {
			continue
		}
		for _, n := range notes {
			a.hindered = append(a.hindered, strategy.Name+": "+n)
		}
	}
}

// waits says whether a write to a group, above it or below it, has not ended.
func (a *actor) waits(group string) bool {
	for key := range a.pending {
		if path, _, _ := strings.Cut(key, "\x00"); path == group || strings.HasPrefix(path, group+"/") || strings.HasPrefix(group, path+"/") {
			return true
		}
	}
	return false
}

// actOnly lets one strategy decide on a State that has some groups only. No other may see such a State.
func (a *actor) actOnly(name string, s qos.State, podOf func(group string) string) {
	for _, strategy := range a.strategies {
		if strategy.Name == name {
			a.step(strategy, s, podOf, func(actuate.Result) {})
		}
	}
}

// step lets a strategy decide, carries its plan out, and returns its remarks.
func (a *actor) step(strategy running, s qos.State, podOf func(group string) string, wrote func(actuate.Result)) (notes []string) {
	observes := strategy.mode != v1alpha1.ModeEnforce
	seen := s
	if observes {
		seen = a.pretended[strategy.Name].over(s)
	}
	plan := strategy.Step(seen)
	for _, n := range plan.Notes {
		a.note(s.Now, strategy.Name, n)
	}
	if foreign := strategy.Foreign(s, plan); len(foreign) > 0 {
		a.note(s.Now, strategy.Name, fmt.Sprintf("dropped its plan, which asks for knobs it does not own: %v", foreign))
		return plan.Notes
	}
	a.evictAll(s, strategy, plan.Evictions)
	changes := qos.Diff(seen, plan)
	if observes {
		for _, c := range changes {
			a.record(s.Now, strategy.Name, c, v1alpha1.OutcomeObserved, "")
		}
		a.pretended[strategy.Name] = a.pretended[strategy.Name].with(changes)
		return plan.Notes
	}
	for _, r := range a.actuator.Apply(changes) {
		inputs := inputsOf(s, r.Change)
		if r.Pending { // told of when it has ended
			a.pending[knobKey(r.Change)] = unended{strategy.Name, inputs}
			continue
		}
		if errors.Is(r.Err, actuate.ErrHeld) && a.waits(r.Change.Group) {
			continue // nobody refused it: it is asked for again when the write that it waits for has ended
		}
		wrote(r)
		a.settle(s.Now, strategy.Name, r, podOf(r.Change.Group), inputs)
	}
	return plan.Notes
}

// forget drops what is remembered of groups that s does not have any more, and remarks that are not made any
// more: pods come and go for months.
func (a *actor) forget(s qos.State) {
	there := make(map[string]bool, len(s.Groups))
	for _, g := range s.Groups {
		there[g.Path] = true
	}
	for _, p := range a.pretended {
		maps.DeleteFunc(p, func(group string, _ map[qos.Knob]string) bool { return !there[group] })
	}
	maps.DeleteFunc(a.latest, func(_ string, c v1alpha1.ChangeStatus) bool { return !there[c.Group] })
	maps.DeleteFunc(a.notes, func(_ string, at time.Time) bool { return s.Now.Sub(at) >= noteAgainAfter })
	a.actuator.Forget(func(group string) bool { return !there[group] })
}

// settle tells of what became of a change: in the audit log, the status and the metrics.
func (a *actor) settle(now time.Time, strategy string, r actuate.Result, pod string, inputs map[string]string) {
	if r.Undone {
		a.metrics.undone.WithLabelValues(strategy, string(r.Change.Knob)).Inc()
		a.contests.add(r.Change, now)
	}
	if !r.Written && r.Err == nil {
		return // it was so already
	}
	if errors.Is(r.Err, actuate.ErrVanished) && strategy == batchbound.Name {
		return // a pod that ended between reading and writing: nobody refused anything
	}
	outcome, problem := v1alpha1.OutcomeApplied, ""
	if r.Err != nil {
		outcome, problem = v1alpha1.OutcomeRefused, r.Err.Error()
	}
	if news := a.record(now, strategy, r.Change, outcome, problem); news {
		a.auditor.change(now, strategy, r, pod, inputs)
	}
}

func knobKey(c qos.Change) string { return c.Group + "\x00" + string(c.Knob) }

// record returns false where the outcome only repeats the one before: a write that the kernel refuses is
// tried each tick, and told of once.
func (a *actor) record(at time.Time, strategy string, c qos.Change, outcome v1alpha1.Outcome, problem string) (news bool) {
	a.metrics.changes.WithLabelValues(strategy, string(c.Knob), string(outcome)).Inc()
	key := knobKey(c)
	was := a.latest[key]
	next := v1alpha1.ChangeStatus{
		Time: metav1.NewMicroTime(at), Strategy: strategy, Group: c.Group, Knob: string(c.Knob), Value: c.Value,
		Outcome: outcome, Reason: limit(c.Reason), Error: limit(problem),
	}
	if outcome != v1alpha1.OutcomeApplied && was.Value == next.Value && was.Outcome == next.Outcome && was.Error == next.Error {
		return false
	}
	a.latest[key] = next
	a.changes = append([]v1alpha1.ChangeStatus{next}, a.changes[:min(len(a.changes), maxChanges-1)]...)
	level := slog.LevelInfo
	if outcome == v1alpha1.OutcomeRefused {
		level = slog.LevelError
	}
	a.log.Log(context.Background(), level, "change", "strategy", strategy, "group", c.Group, "knob", c.Knob, "value", c.Value, "outcome", outcome, "reason", c.Reason, "error", problem)
	return true
}

// note tells of a strategy's remark once, for as long as it is made.
func (a *actor) note(now time.Time, strategy, text string) {
	key := strategy + ": " + text
	_, told := a.notes[key]
	a.notes[key] = now
	if !told {
		a.log.Warn("note", "strategy", strategy, "note", text)
	}
}

// limit keeps a text within what the schema of NodeUtilization allows.
func limit(s string) string { return clipText(s, 512) }

// clipText cuts a text to at most that many bytes, and not within a character.
func clipText(s string, most int) string {
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "")
}
