package cluster

import (
	"context"
	"strings"
	"sync"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/plimsoll/plimsoll/pkg/api/v1alpha1"
)

func ordinaryTemplate(app string) corev1.PodTemplateSpec {
	return corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": app, v1alpha1.ClassLabel: v1alpha1.BatchLabelValue}},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{
			Name: "work", Image: "example.com/work",
			Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{
				corev1.ResourceCPU: resource.MustParse("1500m"), corev1.ResourceMemory: resource.MustParse("1Gi"),
			}},
		}}},
	}
}

func testControllersAreConverted(t *testing.T, cp *controlPlane) {
	meta := func(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Name: name, Namespace: "shop"} }
	selector := func(name string) *metav1.LabelSelector {
		return &metav1.LabelSelector{MatchLabels: map[string]string{"app": name}}
	}
	job := func(name string) batchv1.JobSpec {
		template := ordinaryTemplate(name)
		template.Spec.RestartPolicy = corev1.RestartPolicyNever
		return batchv1.JobSpec{Template: template}
	}
	ctx, create := t.Context(), metav1.CreateOptions{}
	// A DaemonSet makes no pod without a node.
	if _, err := cp.client.CoreV1().Nodes().Create(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "admission"}}, create); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cp.client.CoreV1().Nodes().Delete(context.Background(), "admission", metav1.DeleteOptions{})
	})
	for name, make := range map[string]func() error{
		"deployment": func() error {
			_, err := cp.client.AppsV1().Deployments("shop").Create(ctx, &appsv1.Deployment{ObjectMeta: meta("deployment"), Spec: appsv1.DeploymentSpec{Selector: selector("deployment"), Template: ordinaryTemplate("deployment")}}, create)
			return err
		},
		"statefulset": func() error {
			_, err := cp.client.AppsV1().StatefulSets("shop").Create(ctx, &appsv1.StatefulSet{ObjectMeta: meta("statefulset"), Spec: appsv1.StatefulSetSpec{Selector: selector("statefulset"), Template: ordinaryTemplate("statefulset")}}, create)
			return err
		},
		"daemonset": func() error {
			_, err := cp.client.AppsV1().DaemonSets("shop").Create(ctx, &appsv1.DaemonSet{ObjectMeta: meta("daemonset"), Spec: appsv1.DaemonSetSpec{Selector: selector("daemonset"), Template: ordinaryTemplate("daemonset")}}, create)
			return err
		},
		"job": func() error {
			_, err := cp.client.BatchV1().Jobs("shop").Create(ctx, &batchv1.Job{ObjectMeta: meta("job"), Spec: job("job")}, create)
			return err
		},
		"cronjob": func() error {
			// Every minute: the wait is up to a minute, in parallel with the others.
			_, err := cp.client.BatchV1().CronJobs("shop").Create(ctx, &batchv1.CronJob{ObjectMeta: meta("cronjob"), Spec: batchv1.CronJobSpec{Schedule: "* * * * *", JobTemplate: batchv1.JobTemplateSpec{Spec: job("cronjob")}}}, create)
			return err
		},
	} {
		if err := make(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	for _, name := range []string{"deployment", "statefulset", "daemonset", "job", "cronjob"} {
		var pod corev1.Pod
		waitAtMost(t, 2*patience, "the pod of the "+name, func(ctx context.Context) (bool, error) {
			list, err := cp.client.CoreV1().Pods("shop").List(ctx, metav1.ListOptions{LabelSelector: "app=" + name})
			if err != nil || len(list.Items) == 0 {
				return false, err
			}
			pod = list.Items[0]
			return true, nil
		})
		want := admissionCase{Requests: map[string]amounts{"work": {1500, 1 << 30}}, Holds: `{"work":{"milliCPU":1500,"memoryBytes":1073741824,"limitMilliCPU":1500}}`}
		t.Run(name, func(t *testing.T) { wantConverted(t, want, &pod) })
	}
	if err := cp.client.BatchV1().CronJobs("shop").Delete(ctx, "cronjob", metav1.DeleteOptions{}); err != nil {
		t.Error(err)
	}
}

func testRunningPodsAreKept(t *testing.T, cp *controlPlane) {
	pods := cp.client.CoreV1().Pods("shop")
	create := func(name, class string) {
		t.Helper()
		template := ordinaryTemplate(name)
		pod := &corev1.Pod{ObjectMeta: template.ObjectMeta, Spec: template.Spec}
		pod.Name, pod.Labels[v1alpha1.ClassLabel] = name, class
		if class == "" {
			delete(pod.Labels, v1alpha1.ClassLabel)
		}
		if _, err := pods.Create(t.Context(), pod, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	create("kept-batch", v1alpha1.BatchLabelValue)
	create("kept-online", "latency-sensitive")
	create("kept-unlabelled", "")

	for name, tc := range map[string]struct {
		pod, patch, subresource string
		refused                 string
	}{
		"batch becomes latency-sensitive": {"kept-batch", `{"metadata":{"labels":{"plimsoll.dev/class":"latency-sensitive"}}}`, "", "cannot change (from \"batch\" to \"latency-sensitive\")"},
		"batch loses its label":           {"kept-batch", `{"metadata":{"labels":{"plimsoll.dev/class":null}}}`, "", "Delete the pod"},
		"latency-sensitive becomes batch": {"kept-online", `{"metadata":{"labels":{"plimsoll.dev/class":"batch"}}}`, "", "cannot change"},
		"unlabelled becomes batch":        {"kept-unlabelled", `{"metadata":{"labels":{"plimsoll.dev/class":"batch"}}}`, "", "cannot change (from \"\" to \"batch\")"},
		"amounts are raised":              {"kept-batch", `{"metadata":{"annotations":{"plimsoll.dev/batch-resources":"{}"}}}`, "", "cannot change: the node goes by them"},
		"the original is rewritten":       {"kept-batch", `{"metadata":{"annotations":{"plimsoll.dev/original-resources":null}}}`, "", "cannot change"},
		"a batch pod is resized":          {"kept-batch", `{"spec":{"containers":[{"name":"work","resources":{"requests":{"cpu":"4"},"limits":{"cpu":"4"}}}]}}`, "resize", "QOS Class may not change"},
		"another label of a batch pod":    {"kept-batch", `{"metadata":{"labels":{"example.com/stage":"2"},"annotations":{"example.com/note":"x"}}}`, "", ""},
		"another label of an online pod":  {"kept-online", `{"metadata":{"labels":{"example.com/stage":"2"}}}`, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			var subresources []string
			if tc.subresource != "" {
				subresources = []string{tc.subresource}
			}
			_, err := pods.Patch(t.Context(), tc.pod, types.StrategicMergePatchType, []byte(tc.patch), metav1.PatchOptions{}, subresources...)
			wantRefusal(t, err, tc.refused)
		})
	}
}

// wantRefusal wants err to be the refusal of a policy that says want, or none for an empty want.
func wantRefusal(t *testing.T, err error, want string) {
	t.Helper()
	switch {
	case want == "" && err != nil:
		t.Errorf("refused: %v", err)
	case want != "" && (!apierrors.IsInvalid(err) && !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), want)):
		t.Errorf("%v, want a refusal that says %q", err, want)
	}
}

// testUnboundConversion takes the binding away that converts pods by their own label. It is the last
// that needs it.
func testUnboundConversion(t *testing.T, cp *controlPlane) {
	bindings := cp.client.AdmissionregistrationV1().MutatingAdmissionPolicyBindings()
	if err := bindings.Delete(t.Context(), "plimsoll-batch-by-pod", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	c := admissionCase{Class: v1alpha1.BatchLabelValue, Spec: ordinaryTemplate("x").Spec}
	var last error
	eventually(t, "an unconverted batch pod to be refused", func(ctx context.Context) (bool, error) {
		_, last = cp.try(ctx, c.pod())
		return last != nil, nil
	})
	wantRefusal(t, last, "cpu and memory of work were not converted")
	wantRefusal(t, last, "manifests/overlays/enforce")
}

// testObservingWarns takes the rest of what enforces away and binds what an installation that observes has.
func testObservingWarns(t *testing.T, cp *controlPlane) {
	if err := cp.client.AdmissionregistrationV1().MutatingAdmissionPolicyBindings().Delete(t.Context(), "plimsoll-batch-by-namespace", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	cp.applyKustomization(t, "overlays/observe")
	warnings := &warnings{}
	config := rest.CopyConfig(cp.config)
	config.WarningHandlerWithContext = warnings
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	c := admissionCase{Class: v1alpha1.BatchLabelValue, Spec: ordinaryTemplate("x").Spec}
	eventually(t, "an unconverted batch pod to be warned of", func(ctx context.Context) (bool, error) {
		got, err := client.CoreV1().Pods("shop").Create(ctx, c.pod(), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		if err != nil {
			return false, nil //nolint:nilerr // still refused
		}
		wantUntouched(t, c, got)
		return strings.Contains(warnings.said(), "were not converted"), nil
	})
}

// warnings collects what the API server warns of.
type warnings struct {
	mu   sync.Mutex
	text strings.Builder
}

func (w *warnings) HandleWarningHeaderWithContext(_ context.Context, _ int, _, text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.text.WriteString(text + "\n")
}

func (w *warnings) said() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.String()
}
