package agent

import (
	"slices"
	"time"

	"github.com/plimsoll/plimsoll/pkg/api/v1alpha1"
	"github.com/plimsoll/plimsoll/pkg/usage"
)

// timerSlack keeps a tick that is a little early from losing its turn to publish.
const timerSlack = 50 * time.Millisecond

// PublishRule is the rule that a configuration asks for.
func PublishRule(c v1alpha1.PublishConfiguration) usage.PublishRule {
	millis := func(n int64) time.Duration { return time.Duration(n) * time.Millisecond }
	return usage.PublishRule{
		MinInterval: millis(c.MinIntervalMilliseconds) - timerSlack, AverageInterval: millis(c.AverageIntervalMilliseconds),
		Heartbeat: millis(c.HeartbeatMilliseconds), FloorPermille: c.ChangePermille, JumpPermille: c.JumpPermille,
		BudgetPermilleSeconds: c.ErrorBudgetPermilleSeconds,
	}
}

// strangerPermille is the least error of what readers do not know of at all: a pod that is new or gone, a
// kernel setting that was changed. With the default budget they are told within 5 seconds, and not once
// for each pod on a node where pods come and go all the time.
const strangerPermille = 20

// told compares what readers see with what is so now. Its error is the largest of what they see of the
// CPU and memory of the node, a class, a pod or what can be lent, in thousandths of the node's capacity.
// Its news is true when something changed that is told of at once.
func told(last, next *v1alpha1.NodeUtilizationStatus) (errorPermille int64, news bool) {
	if last == nil {
		return 1000, true
	}
	distance := func(a, b v1alpha1.Resources) {
		errorPermille = max(errorPermille,
			usage.ErrorPermille(a.MilliCPU, b.MilliCPU, next.Capacity.MilliCPU),
			usage.ErrorPermille(a.MemoryBytes, b.MemoryBytes, next.Capacity.MemoryBytes))
	}
	distance(last.Node, next.Node)
	for i := range min(len(last.Classes), len(next.Classes)) {
		distance(last.Classes[i].Resources, next.Classes[i].Resources)
	}
	distance(published(last.Lendable), published(next.Lendable))
	strangers := len(next.Changes) > 0 && (len(last.Changes) == 0 || last.Changes[0] != next.Changes[0])

	if samePods(last.Pods, next.Pods) { // and in the same order, as nearly always: no map is needed
		for i := range next.Pods {
			distance(last.Pods[i].Resources, next.Pods[i].Resources)
		}
	} else {
		strangers = true
		before := make(map[string]v1alpha1.Resources, len(last.Pods))
		for i := range last.Pods {
			before[last.Pods[i].UID] = last.Pods[i].Resources
		}
		for i := range next.Pods {
			distance(before[next.Pods[i].UID], next.Pods[i].Resources)
			delete(before, next.Pods[i].UID)
		}
		for _, gone := range before {
			distance(gone, v1alpha1.Resources{})
		}
	}
	if strangers {
		errorPermille = max(errorPermille, strangerPermille)
	}
	return errorPermille, isNews(last, next)
}

func samePods(a, b []v1alpha1.PodUtilization) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i].UID != b[i].UID {
			return false
		}
	}
	return true
}

// published is what a status says batch work may use, 0 where it says nothing.
func published(l *v1alpha1.Lendable) v1alpha1.Resources {
	if l == nil {
		return v1alpha1.Resources{}
	}
	return v1alpha1.Resources{MilliCPU: l.MilliCPU.Published, MemoryBytes: l.MemoryBytes.Published}
}

// isNews reports whether something changed that is no measurement, and that is rare.
func isNews(last, next *v1alpha1.NodeUtilizationStatus) bool {
	if last.Capacity != next.Capacity || last.CgroupMode != next.CgroupMode ||
		len(last.Classes) != len(next.Classes) || len(last.Conditions) != len(next.Conditions) ||
		!slices.Equal(last.Capabilities, next.Capabilities) ||
		(last.Lendable == nil) != (next.Lendable == nil) || (last.Forecast == nil) != (next.Forecast == nil) {
		return true
	}
	if next.Forecast != nil && last.Forecast.ColdStart != next.Forecast.ColdStart {
		return true
	}
	for i := range next.Classes {
		if last.Classes[i].Class != next.Classes[i].Class {
			return true
		}
	}
	for i := range next.Conditions {
		a, b := last.Conditions[i], next.Conditions[i]
		if a.Type != b.Type || a.Status != b.Status || a.Reason != b.Reason {
			return true
		}
	}
	return false
}
