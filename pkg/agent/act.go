package agent

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/plimsoll/plimsoll/pkg/actuate"
	"github.com/plimsoll/plimsoll/pkg/api/v1alpha1"
	"github.com/plimsoll/plimsoll/pkg/qos"
)

// maxChanges is how many changes NodeUtilization shows.
const maxChanges = 16

// actor runs the strategies, writes what they want where they may, and keeps what became of it.
type actor struct {
	strategies []running
	actuator   *actuate.Actuator
	metrics    *metrics
	log        *slog.Logger

	// changes are the last outcomes, newest first.
	changes []v1alpha1.ChangeStatus
	// latest is the newest outcome of each knob of each group: an outcome that only repeats itself is
	// told of once.
	latest map[string]v1alpha1.ChangeStatus
	notes  map[string]bool
}

func newActor(strategies []running, actuator *actuate.Actuator, m *metrics, log *slog.Logger) *actor {
	return &actor{strategies: strategies, actuator: actuator, metrics: m, log: log,
		latest: map[string]v1alpha1.ChangeStatus{}, notes: map[string]bool{}}
}

// act lets each strategy decide on s and carries out what differs from it.
func (a *actor) act(s qos.State) {
	for _, strategy := range a.strategies {
		plan := strategy.Step(s)
		for _, n := range plan.Notes {
			a.note(strategy.Name, n)
		}
		if foreign := strategy.Foreign(plan); len(foreign) > 0 {
			a.note(strategy.Name, fmt.Sprintf("dropped its plan, which asks for knobs it does not own: %v", foreign))
			continue
		}
		changes := qos.Diff(s, plan)
		if strategy.mode != v1alpha1.ModeEnforce {
			for _, c := range changes {
				a.record(s.Now, strategy.Name, c, v1alpha1.OutcomeObserved, "")
			}
			continue
		}
		for _, r := range a.actuator.Apply(changes) {
			if r.Err != nil {
				a.record(s.Now, strategy.Name, r.Change, v1alpha1.OutcomeRefused, r.Err.Error())
				continue
			}
			a.record(s.Now, strategy.Name, r.Change, v1alpha1.OutcomeApplied, "")
		}
	}
}

func (a *actor) record(at time.Time, strategy string, c qos.Change, outcome v1alpha1.Outcome, problem string) {
	a.metrics.changes.WithLabelValues(strategy, string(c.Knob), string(outcome)).Inc()
	key := c.Group + "\x00" + string(c.Knob)
	was := a.latest[key]
	next := v1alpha1.ChangeStatus{
		Time: metav1.NewMicroTime(at), Strategy: strategy, Group: c.Group, Knob: string(c.Knob), Value: c.Value,
		Outcome: outcome, Reason: limit(c.Reason), Error: limit(problem),
	}
	if outcome != v1alpha1.OutcomeApplied && was.Value == next.Value && was.Outcome == next.Outcome && was.Error == next.Error {
		return
	}
	a.latest[key] = next
	a.changes = append([]v1alpha1.ChangeStatus{next}, a.changes[:min(len(a.changes), maxChanges-1)]...)
	level := slog.LevelInfo
	if outcome == v1alpha1.OutcomeRefused {
		level = slog.LevelError
	}
	a.log.Log(context.Background(), level, "change", "strategy", strategy, "group", c.Group, "knob", c.Knob, "value", c.Value, "outcome", outcome, "reason", c.Reason, "error", problem)
}

// note tells of a strategy's remark once.
func (a *actor) note(strategy, text string) {
	key := strategy + ": " + text
	if !a.notes[key] {
		a.notes[key] = true
		a.log.Warn("note", "strategy", strategy, "note", text)
	}
}

// limit keeps a text within what the schema of NodeUtilization allows.
func limit(s string) string {
	const most = 512
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "")
}
