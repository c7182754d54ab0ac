package scheduler

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	fwk "k8s.io/kube-scheduler/framework"
)

// idle does nothing at the extension points that LoadAware has: what a scheduler with it loses to the default profile
// is what the framework takes for one plugin more, whatever the plugin does.
type idle struct{}

const idleName = "Idle"

var (
	_ fwk.PreFilterPlugin = idle{}
	_ fwk.FilterPlugin    = idle{}
	_ fwk.PreScorePlugin  = idle{}
	_ fwk.ScorePlugin     = idle{}
	_ fwk.ScoreExtensions = idle{}
	_ fwk.PostBindPlugin  = idle{}
	_ fwk.SignPlugin      = idle{}
)

func newIdle(context.Context, runtime.Object, fwk.Handle) (fwk.Plugin, error) { return idle{}, nil }

func (idle) Name() string { return idleName }

func (idle) PreFilter(context.Context, fwk.CycleState, *corev1.Pod, []fwk.NodeInfo) (*fwk.PreFilterResult, *fwk.Status) {
	return nil, nil
}

func (idle) PreFilterExtensions() fwk.PreFilterExtensions { return nil }

func (idle) Filter(context.Context, fwk.CycleState, *corev1.Pod, fwk.NodeInfo) *fwk.Status {
	return nil
}

func (idle) PreScore(context.Context, fwk.CycleState, *corev1.Pod, []fwk.NodeInfo) *fwk.Status {
	return nil
}

func (idle) Score(context.Context, fwk.CycleState, *corev1.Pod, fwk.NodeInfo) (int64, *fwk.Status) {
	return 0, nil
}

func (i idle) ScoreExtensions() fwk.ScoreExtensions { return i }

func (idle) NormalizeScore(context.Context, fwk.CycleState, *corev1.Pod, fwk.NodeScoreList) *fwk.Status {
	return nil
}

func (idle) PostBind(context.Context, fwk.CycleState, *corev1.Pod, string) {}

func (idle) SignPod(context.Context, *corev1.Pod) ([]fwk.SignFragment, *fwk.Status) { return nil, nil }
