package agent

import (
	"fmt"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/plimsoll/plimsoll/pkg/api/v1alpha1"
	"github.com/plimsoll/plimsoll/pkg/qos"
)

// batchProtected tells whether the kernel holds batch below online work, from what was read back.
func batchProtected(r reading, mode v1alpha1.Mode) metav1.Condition {
	c := metav1.Condition{Type: v1alpha1.ConditionBatchProtected, Status: metav1.ConditionFalse}
	setting := r.Settings[r.Branch.Path][qos.CPUIdle]
	switch {
	case r.Branch.Path != "" && setting.OK && setting.Value == "1":
		c.Status, c.Reason, c.Message = metav1.ConditionTrue, "CPUIdle", "cpu.idle is 1 on "+r.Branch.Path
	case mode == v1alpha1.ModeEnforce && setting.OK && isSlice(r.Settings[r.Branch.Path][qos.CPUWeight]):
		c.Status, c.Reason, c.Message = metav1.ConditionTrue, "Slice", "batch has a small weight for a moment, so that it does not starve"
	case setting.Unsupported:
		c.Reason, c.Message = "KernelLacksCPUIdle", "the kernel has no cpu.idle (it came with Linux 5.15)"
	case mode != v1alpha1.ModeEnforce:
		c.Reason, c.Message = "NotEnforced", "strategy batchidle is in mode "+string(mode)
	case r.Branch.Path == "":
		c.Reason, c.Message = "NoBatchBranch", "there is no batch branch on this node"
	default:
		c.Reason, c.Message = "NotInForce", "cpu.idle of "+r.Branch.Path+" reads "+setting.Value
	}
	return c
}

// isSlice says whether a weight is one that strategy batchidle gives for a slice: below the default.
func isSlice(weight qos.Setting) bool {
	n, err := strconv.Atoi(weight.Value)
	return weight.OK && err == nil && n < 100
}

// runtimeHookReady tells whether batch containers are placed and bounded when they are created, and where they are
// not, what bounds them: bounding is the mode of strategy batchbound.
func runtimeHookReady(connected bool, conflict string, mode, bounding v1alpha1.Mode) metav1.Condition {
	c := metav1.Condition{Type: v1alpha1.ConditionRuntimeHookReady, Status: metav1.ConditionFalse}
	switch {
	case mode == v1alpha1.ModeOff:
		c.Reason, c.Message = "Off", "the runtime hook is Off: "+insteadOfHook(bounding)
	case !connected:
		c.Reason, c.Message = "NotConnected", "not connected to the container runtime's NRI socket: "+insteadOfHook(bounding)
	case mode != v1alpha1.ModeEnforce:
		c.Reason, c.Message = "NotEnforced", "the runtime hook is in mode "+string(mode)+": "+insteadOfHook(bounding)
	case conflict != "":
		c.Reason, c.Message = "Conflict", conflict
	default:
		c.Status, c.Reason, c.Message = metav1.ConditionTrue, "Connected", "batch containers are put into the batch branch, with their limits, when they are created"
	}
	return c
}

// insteadOfHook says what becomes of batch containers without the hook.
func insteadOfHook(bounding v1alpha1.Mode) string {
	if bounding == v1alpha1.ModeEnforce {
		return "batch containers stay where the kubelet puts them, and get their limits within a fast tick (strategy batchbound)"
	}
	return "batch containers stay where the kubelet puts them, and nothing limits them (strategy batchbound is in mode " + string(bounding) + ")"
}

// batchPodsConverted tells of a batch pod that takes a node's cpu and memory instead of what is lent.
func batchPodsConverted(pods []pod) metav1.Condition {
	c := metav1.Condition{Type: v1alpha1.ConditionBatchPodsConverted, Status: metav1.ConditionTrue, Reason: "Converted", Message: "every batch pod was converted, or there is none"}
	first, count := "", 0
	for _, p := range pods {
		if name := p.Info.Namespace + "/" + p.Info.Name; p.Info.Unconverted {
			count++
			if first == "" || name < first {
				first = name
			}
		}
	}
	if count > 0 {
		c.Status, c.Reason = metav1.ConditionFalse, "NotConverted"
		c.Message = limit(fmt.Sprintf("%d batch pods were not converted, %s among them: create them anew once the policy plimsoll-batch is bound", count, first))
	}
	return c
}

// strategiesAble tells what strategies that enforce cannot do on this node, in their own words.
func strategiesAble(hindered []string) metav1.Condition {
	if len(hindered) == 0 {
		return metav1.Condition{
			Type: v1alpha1.ConditionStrategiesAble, Status: metav1.ConditionTrue, Reason: "Able", Message: "every strategy that enforces can do what it is for",
		}
	}
	return metav1.Condition{
		Type: v1alpha1.ConditionStrategiesAble, Status: metav1.ConditionFalse, Reason: "Hindered", Message: limit(strings.Join(hindered, "; ")),
	}
}

// setCondition updates one condition; its transition time moves only when its status does.
func setCondition(conditions []metav1.Condition, next metav1.Condition, now metav1.Time) []metav1.Condition {
	next.LastTransitionTime = now
	out := make([]metav1.Condition, 0, len(conditions)+1)
	for _, c := range conditions {
		if c.Type != next.Type {
			out = append(out, c)
			continue
		}
		if c.Status == next.Status {
			next.LastTransitionTime = c.LastTransitionTime
		}
	}
	return append(out, next)
}
