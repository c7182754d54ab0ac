package agent

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/plimsoll/plimsoll/pkg/api/v1alpha1"
)

func TestWhatReadersAreToldOf(t *testing.T) {
	base := func() *v1alpha1.NodeUtilizationStatus {
		r, u := aNode()
		s := &v1alpha1.NodeUtilizationStatus{
			Changes:    []v1alpha1.ChangeStatus{{Knob: "cpu.idle"}},
			Conditions: []metav1.Condition{{Type: "BatchProtected", Status: metav1.ConditionTrue}},
			Forecast:   &v1alpha1.Forecast{ColdStart: true},
			Lendable:   &v1alpha1.Lendable{MilliCPU: v1alpha1.LendableSum{Published: 1000}},
		}
		measure(s, r, u)
		return s
	}
	type status = v1alpha1.NodeUtilizationStatus
	tests := map[string]struct {
		change    func(*status)
		wantError int64
		wantNews  bool
	}{
		"nothing":                        {func(*status) {}, 0, false},
		"only the time":                  {func(s *status) { s.ObservedTime.Time = at.Add(time.Second) }, 0, false},
		"the node by 39 of 4000":         {func(s *status) { s.Node.MilliCPU += 39 }, 9, false},
		"the node down by 400":           {func(s *status) { s.Node.MilliCPU -= 400 }, 100, false},
		"a class":                        {func(s *status) { s.Classes[1].MilliCPU += 100 }, 25, false},
		"a pod's memory by 160 of 16000": {func(s *status) { s.Pods[0].MemoryBytes += 160 }, 10, false},
		"a pod of another UID, of 900":   {func(s *status) { s.Pods[0].UID = "other" }, 225, false},
		"a small pod that is new": {func(s *status) {
			s.Pods = append(s.Pods, v1alpha1.PodUtilization{UID: "new"})
		}, strangerPermille, false},
		"a pod of 100 that is gone": {func(s *status) { s.Pods = s.Pods[:len(s.Pods)-1] }, 25, false},
		"what can be lent":          {func(s *status) { s.Lendable.MilliCPU.Published = 800 }, 50, false},
		"a kernel setting":          {func(s *status) { s.Changes = []v1alpha1.ChangeStatus{{Knob: "cpu.quota"}} }, strangerPermille, false},
		"a class vanishes":          {func(s *status) { s.Classes = s.Classes[:2] }, 0, true},
		"a condition":               {func(s *status) { s.Conditions[0].Status = metav1.ConditionFalse }, 0, true},
		"nothing can be lent":       {func(s *status) { s.Lendable = nil }, 250, true},
		"the forecast is warm":      {func(s *status) { s.Forecast = &v1alpha1.Forecast{} }, 0, true},
		"a CPU was added":           {func(s *status) { s.Capacity.MilliCPU = 5000 }, 0, true},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			next := base()
			tc.change(next)
			gotError, gotNews := told(base(), next)
			if gotError != tc.wantError || gotNews != tc.wantNews {
				t.Errorf("told: error %d permille, news %v; want %d, %v", gotError, gotNews, tc.wantError, tc.wantNews)
			}
		})
	}
	if gotError, gotNews := told(nil, base()); gotError != 1000 || !gotNews {
		t.Error("the first status is not told of at once")
	}
}
