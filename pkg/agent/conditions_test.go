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
	for reason, c := range map[string]metav1.Condition{
		"Off":          runtimeHookReady(false, "", v1alpha1.ModeOff),
		"NotConnected": runtimeHookReady(false, "a conflict of before", v1alpha1.ModeEnforce),
		"NotEnforced":  runtimeHookReady(true, "", v1alpha1.ModeObserve),
		"Conflict":     runtimeHookReady(true, "container work of pod a/b", v1alpha1.ModeEnforce),
		"Connected":    runtimeHookReady(true, "", v1alpha1.ModeEnforce),
	} {
		if c.Reason != reason || (c.Status == metav1.ConditionTrue) != (reason == "Connected") {
			t.Errorf("%+v, want reason %s", c, reason)
		}
	}
}
