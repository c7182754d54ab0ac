package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/yaml"

	"github.com/plimsoll/plimsoll/pkg/api/v1alpha1"
)

// TestAdmission asks a real API server what the policies make of pods.
func TestAdmission(t *testing.T) {
	cp := startControlPlane(t)
	cp.applyKustomization(t, "overlays/enforce")
	cp.prepareForAdmission(t)
	cp.waitForPolicies(t)

	t.Run("each pod of the table", func(t *testing.T) { testAdmissionTable(t, cp) })
	t.Run("through Deployment, StatefulSet, DaemonSet, Job and CronJob", func(t *testing.T) { testControllersAreConverted(t, cp) })
	t.Run("a running pod keeps its class and its amounts", func(t *testing.T) { testRunningPodsAreKept(t, cp) })
	t.Run("without the conversion a batch pod is refused", func(t *testing.T) { testUnboundConversion(t, cp) })
	t.Run("warnings only, for an installation that observes", func(t *testing.T) { testObservingWarns(t, cp) })
}

// admissionCase is one row of testdata/admission.yaml, which says what its fields mean.
type admissionCase struct {
	Name, Namespace, Class string
	Annotations            map[string]string
	Spec                   corev1.PodSpec

	Requests                         map[string]amounts
	Others                           map[string]corev1.ResourceList
	Holds, Original                  string
	SchedulerName, PriorityClassName string
	Priority                         *int32
	Unchanged                        bool
	Refused                          []string
}

type amounts struct{ CPU, Memory int64 }

func admissionCases(t *testing.T) []admissionCase {
	t.Helper()
	content, err := os.ReadFile("testdata/admission.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var cases []admissionCase
	if err := yaml.UnmarshalStrict(content, &cases); err != nil {
		t.Fatal(err)
	}
	return cases
}

func (c admissionCase) pod() *corev1.Pod {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p", Namespace: c.Namespace, Annotations: c.Annotations}, Spec: *c.Spec.DeepCopy()}
	if pod.Namespace == "" {
		pod.Namespace = "shop"
	}
	if c.Class != "" {
		pod.Labels = map[string]string{v1alpha1.ClassLabel: c.Class}
	}
	for _, list := range [][]corev1.Container{pod.Spec.Containers, pod.Spec.InitContainers} {
		for i := range list {
			list[i].Image = "example.com/work"
		}
	}
	return pod
}

func (cp *controlPlane) prepareForAdmission(t *testing.T) {
	t.Helper()
	for name, labels := range map[string]map[string]string{"shop": nil, "defaults": nil, "reports": {v1alpha1.ClassLabel: v1alpha1.BatchLabelValue}} {
		if _, err := cp.client.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	for name, value := range map[string]int32{"important": 1000, "overnight": -10} {
		if _, err := cp.client.SchedulingV1().PriorityClasses().Create(t.Context(), &schedulingv1.PriorityClass{ObjectMeta: metav1.ObjectMeta{Name: name}, Value: value}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	limits := &corev1.LimitRange{ObjectMeta: metav1.ObjectMeta{Name: "defaults"}, Spec: corev1.LimitRangeSpec{Limits: []corev1.LimitRangeItem{{
		Type:           corev1.LimitTypeContainer,
		DefaultRequest: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("250m"), corev1.ResourceMemory: resource.MustParse("256Mi")},
		Default:        corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("500m"), corev1.ResourceMemory: resource.MustParse("256Mi")},
	}}}}
	if _, err := cp.client.CoreV1().LimitRanges("defaults").Create(t.Context(), limits, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, namespace := range []string{"shop", "defaults", "reports", metav1.NamespaceSystem} {
		eventually(t, "the service account of "+namespace, func(ctx context.Context) (bool, error) {
			_, err := cp.client.CoreV1().ServiceAccounts(namespace).Get(ctx, "default", metav1.GetOptions{})
			return err == nil, ignoreNotFound(err)
		})
	}
}

// try says what would become of a pod.
func (cp *controlPlane) try(ctx context.Context, pod *corev1.Pod) (*corev1.Pod, error) {
	return cp.client.CoreV1().Pods(pod.Namespace).Create(ctx, pod, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
}

// waitForPolicies waits until the API server goes by the policies, which it learns of by a watch.
func (cp *controlPlane) waitForPolicies(t *testing.T) {
	t.Helper()
	both := map[string]admissionCase{}
	for _, c := range admissionCases(t) {
		both[c.Name] = c
	}
	var last error
	eventually(t, "the admission policies to be in force", func(ctx context.Context) (bool, error) {
		byPod, err := cp.try(ctx, both["requests only"].pod())
		if err != nil {
			last = err
			return false, nil //nolint:nilerr // refused until both policies are known
		}
		byNamespace, err := cp.try(ctx, both["a pod without a class in a batch namespace"].pod())
		if err != nil {
			last = err
			return false, nil //nolint:nilerr // as above
		}
		_, errUnlabelled := cp.try(ctx, both["batch resources without the class"].pod())
		_, errGuaranteed := cp.try(ctx, both["Guaranteed by limits alone"].pod())
		return byPod.Annotations[v1alpha1.BatchResourcesAnnotation] != "" && byNamespace.Annotations[v1alpha1.BatchResourcesAnnotation] != "" &&
			apierrors.IsInvalid(errUnlabelled) && apierrors.IsInvalid(errGuaranteed), nil
	})
	if last != nil {
		t.Logf("while the policies came into force: %v", last)
	}
}

func testAdmissionTable(t *testing.T, cp *controlPlane) {
	cases := admissionCases(t)
	accepted, refused := 0, 0
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			if len(c.Refused) > 0 {
				refused++
			} else {
				accepted++
			}
			got, err := cp.try(t.Context(), c.pod())
			if len(c.Refused) > 0 {
				if !apierrors.IsInvalid(err) && !apierrors.IsForbidden(err) {
					t.Fatalf("not refused: %v", err)
				}
				for _, want := range c.Refused {
					if !strings.Contains(err.Error(), want) {
						t.Errorf("the refusal does not say %q:\n%v", want, err)
					}
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if c.Unchanged {
				wantUntouched(t, c, got)
				return
			}
			wantConverted(t, c, got)
		})
	}
	if accepted < 20 || refused < 15 || len(cases) < 40 {
		t.Errorf("%d pods, %d accepted and %d refused: the table has lost rows", len(cases), accepted, refused)
	}
}

func wantUntouched(t *testing.T, c admissionCase, got *corev1.Pod) {
	t.Helper()
	if got.Labels[v1alpha1.ClassLabel] != c.Class || len(got.Annotations) != len(c.Annotations) || got.Spec.SchedulerName != "default-scheduler" || got.Spec.PriorityClassName != "" {
		t.Errorf("labels %v, annotations %v, scheduler %q, priority class %q: something was changed", got.Labels, got.Annotations, got.Spec.SchedulerName, got.Spec.PriorityClassName)
	}
	for _, container := range got.Spec.Containers {
		for name := range container.Resources.Requests {
			if strings.HasPrefix(string(name), v1alpha1.GroupName) {
				t.Errorf("container %s asks for %s", container.Name, name)
			}
		}
	}
}

func wantConverted(t *testing.T, c admissionCase, got *corev1.Pod) {
	t.Helper()
	type scheduling struct {
		Class, SchedulerName, PriorityClassName string
		Priority                                int32
		PodResources                            *corev1.ResourceRequirements
	}
	want := scheduling{v1alpha1.BatchLabelValue, c.SchedulerName, c.PriorityClassName, ptr.Deref(c.Priority, -1000), nil}
	if want.SchedulerName == "" {
		want.SchedulerName = "plimsoll-scheduler"
	}
	if want.PriorityClassName == "" {
		want.PriorityClassName = "plimsoll-batch"
	}
	s := got.Spec
	if d := cmp.Diff(want, scheduling{got.Labels[v1alpha1.ClassLabel], s.SchedulerName, s.PriorityClassName, ptr.Deref(s.Priority, 0), s.Resources}); d != "" {
		t.Errorf("scheduling (-want +got):\n%s", d)
	}
	requests := map[string]amounts{}
	for _, container := range slices.Concat(s.InitContainers, s.Containers) {
		requests[container.Name] = wantOnlyBatch(t, container, c.Others[container.Name])
	}
	if d := cmp.Diff(c.Requests, requests); d != "" {
		t.Errorf("batch resources (-want +got):\n%s", d)
	}
	if holds := got.Annotations[v1alpha1.BatchResourcesAnnotation]; !json.Valid([]byte(holds)) || c.Holds != "" && holds != c.Holds {
		t.Errorf("%s: %s\nwant %s", v1alpha1.BatchResourcesAnnotation, holds, c.Holds)
	}
	if original := got.Annotations[v1alpha1.OriginalResourcesAnnotation]; !json.Valid([]byte(original)) || c.Original != "" && original != c.Original {
		t.Errorf("%s: %s\nwant %s", v1alpha1.OriginalResourcesAnnotation, original, c.Original)
	}
	for key, value := range c.Annotations {
		if key != v1alpha1.BatchResourcesAnnotation && got.Annotations[key] != value {
			t.Errorf("annotation %s is %q, was %q", key, got.Annotations[key], value)
		}
	}
}

// wantOnlyBatch checks that a container asks for batch resources, with limits that equal requests, and
// for what is in others, and returns how much.
func wantOnlyBatch(t *testing.T, c corev1.Container, others corev1.ResourceList) amounts {
	t.Helper()
	var got amounts
	rest := maps.Clone(c.Resources.Requests)
	for name, to := range map[corev1.ResourceName]*int64{v1alpha1.BatchCPUResource: &got.CPU, v1alpha1.BatchMemoryResource: &got.Memory} {
		request, limit := c.Resources.Requests[name], c.Resources.Limits[name]
		if request.Cmp(limit) != 0 {
			t.Errorf("%s of %s: request %s, limit %s", name, c.Name, request.String(), limit.String())
		}
		*to = request.Value()
		delete(rest, name)
	}
	if fmt.Sprint(len(rest)) != fmt.Sprint(len(others)) {
		t.Errorf("container %s also asks for %v, want %v", c.Name, rest, others)
	}
	for name, want := range others {
		if q := rest[name]; q.Cmp(want) != 0 {
			t.Errorf("container %s asks for %s of %s, want %s", c.Name, q.String(), name, want.String())
		}
	}
	return got
}
