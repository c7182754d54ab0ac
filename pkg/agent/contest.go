package agent

import (
	"fmt"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/plimsoll/plimsoll/pkg/api/v1alpha1"
	"github.com/plimsoll/plimsoll/pkg/cgroup"
	"github.com/plimsoll/plimsoll/pkg/qos"
)

// contestAfter undoings within contestWindow make a contest of a knob: once may be a person who tried
// something, or a runtime that updated a container.
const (
	contestAfter  = 3
	contestWindow = 10 * time.Minute
)

// contests is when somebody else undid our writes of late, by knob of a group.
type contests map[knobOfGroup][]time.Time

type knobOfGroup struct {
	group string
	knob  qos.Knob
}

func (c contests) add(change qos.Change, now time.Time) {
	key := knobOfGroup{change.Group, change.Knob}
	c[key] = append(c[key], now)
}

// describe names each contested knob with those who are known to write it too; nothing where none is.
func (c contests) describe(now time.Time) string {
	var all []string
	for key, times := range c {
		times = slices.DeleteFunc(times, func(t time.Time) bool { return now.Sub(t) >= contestWindow })
		c[key] = times
		if len(times) == 0 {
			delete(c, key)
		}
		if len(times) < contestAfter {
			continue
		}
		writers := "unknown"
		if k, err := cgroup.Knob(key.knob); err == nil {
			writers = k.AlsoWrittenBy
		}
		all = append(all, fmt.Sprintf("%s of %s was undone %d times in %v (it is also written by: %s)", key.knob, key.group, len(times), contestWindow, writers))
	}
	slices.Sort(all)
	return strings.Join(all, "; ")
}

// settingsHold tells whether what the agent writes stays as it was written.
func settingsHold(contested string) metav1.Condition {
	c := metav1.Condition{Type: v1alpha1.ConditionSettingsHold, Status: metav1.ConditionTrue, Reason: "NobodyElseWrites", Message: "what the agent writes stays as it was written"}
	if contested != "" {
		c.Status, c.Reason, c.Message = metav1.ConditionFalse, "SomebodyElseWrites", limit(contested)
	}
	return c
}
