package agent

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"

	"github.com/plimsoll/plimsoll/pkg/api/v1alpha1"
)

func TestABatchPodThatWasNotConvertedIsReported(t *testing.T) {
	converted := map[string]string{v1alpha1.BatchResourcesAnnotation: "{}"}
	batch := map[string]string{v1alpha1.ClassLabel: v1alpha1.BatchLabelValue}
	for name, tc := range map[string]struct {
		labels, annotations map[string]string
		want                metav1.ConditionStatus
	}{
		"a batch pod that was not converted": {batch, nil, metav1.ConditionFalse},
		"a batch pod that was converted":     {batch, converted, metav1.ConditionTrue},
		"an online pod":                      {nil, nil, metav1.ConditionTrue},
	} {
		t.Run(name, func(t *testing.T) {
			kept, err := trimPod(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{UID: "u", Namespace: "jobs", Name: "sort", Labels: tc.labels, Annotations: tc.annotations}})
			if err != nil {
				t.Fatal(err)
			}
			w := &podWatch{informer: cache.NewSharedIndexInformer(nil, &corev1.Pod{}, 0, cache.Indexers{
				"uid": func(obj any) ([]string, error) { return []string{string(obj.(*corev1.Pod).UID)}, nil },
			})}
			if err := w.informer.GetIndexer().Add(kept); err != nil {
				t.Fatal(err)
			}
			info, _ := w.byUID("u")
			c := batchPodsConverted([]pod{{UID: "u", Info: info}})
			if c.Status != tc.want || (c.Status == metav1.ConditionFalse) != strings.Contains(c.Message, "jobs/sort") {
				t.Errorf("condition %+v, want %s", c, tc.want)
			}
		})
	}
}

func TestRuntimeHookReadySaysWhatIsWrong(t *testing.T) {
	const enforce, observe, off = v1alpha1.ModeEnforce, v1alpha1.ModeObserve, v1alpha1.ModeOff
	for name, tc := range map[string]struct {
		c             metav1.Condition
		reason, wants string
	}{
		"off":                             {runtimeHookReady(false, "", off, enforce), "Off", "within a fast tick"},
		"off, and nothing else":           {runtimeHookReady(false, "", off, off), "Off", "nothing limits them"},
		"not connected":                   {runtimeHookReady(false, "a conflict of before", enforce, enforce), "NotConnected", "within a fast tick"},
		"not connected, and nothing else": {runtimeHookReady(false, "", enforce, observe), "NotConnected", "batchbound is in mode Observe"},
		"not enforced":                    {runtimeHookReady(true, "", observe, observe), "NotEnforced", "nothing limits them"},
		"conflict":                        {runtimeHookReady(true, "container work of pod a/b", enforce, enforce), "Conflict", "a/b"},
		"connected":                       {runtimeHookReady(true, "", enforce, off), "Connected", "when they are created"},
	} {
		if tc.c.Reason != tc.reason || (tc.c.Status == metav1.ConditionTrue) != (tc.reason == "Connected") || !strings.Contains(tc.c.Message, tc.wants) {
			t.Errorf("%s: %+v, want reason %s and %q", name, tc.c, tc.reason, tc.wants)
		}
	}
}

func TestWhatAStrategyCannotDoIsACondition(t *testing.T) {
	const allExclusive = "batchcpuset: every CPU is exclusive"
	if c := strategiesAble(nil); c.Status != metav1.ConditionTrue || c.Type != v1alpha1.ConditionStrategiesAble {
		t.Errorf("without remarks %+v, want True", c)
	}
	if c := strategiesAble([]string{allExclusive, "realtime: b"}); c.Status != metav1.ConditionFalse || c.Message != allExclusive+"; realtime: b" {
		t.Errorf("with remarks %+v, want False and both", c)
	}
}
