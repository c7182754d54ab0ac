package scheduler

import (
	"context"
	"fmt"
	"os"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/util/workqueue"
	fwk "k8s.io/kube-scheduler/framework"
	kubescheduler "k8s.io/kubernetes/pkg/scheduler"
	frameworkruntime "k8s.io/kubernetes/pkg/scheduler/framework/runtime"
	schedulerperf "k8s.io/kubernetes/test/integration/scheduler_perf"
	"k8s.io/kubernetes/test/utils/client-go/ktesting"
	"sigs.k8s.io/yaml"

	"github.com/plimsoll/plimsoll/pkg/api/v1alpha1"
	"github.com/plimsoll/plimsoll/pkg/loadaware"
)

const crdFile = "../../../manifests/base/crd/plimsoll.dev_nodeutilizations.yaml"

func TestMain(m *testing.M) {
	if err := schedulerperf.InitTests(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	m.Run()
}

func BenchmarkPerfScheduling(b *testing.B) {
	// A watch of its own for each of the benchmark's schedulers.
	newLoadAware := func(ctx context.Context, args runtime.Object, handle fwk.Handle) (fwk.Plugin, error) {
		return new(loadaware.Factory).New(ctx, args, handle)
	}
	watch := &stopwatch{}
	schedulerperf.RunBenchmarkPerfScheduling(b, "testdata/performance-config.yaml", "scheduler",
		frameworkruntime.Registry{loadaware.Name: newLoadAware, idleName: newIdle, stopwatchName: watch.build},
		schedulerperf.WithPrepareFn(installCRD), schedulerperf.WithNodeUpdateFn(publishUtilization))
	fmt.Println(watch.report(3000))
}

// installCRD has NodeUtilization served, in both profiles' runs.
func installCRD(tCtx ktesting.TContext) error {
	content, err := os.ReadFile(crdFile)
	if err != nil {
		return err
	}
	crd := &unstructured.Unstructured{}
	if err := yaml.Unmarshal(content, &crd.Object); err != nil {
		return fmt.Errorf("decoding %s: %w", crdFile, err)
	}
	client, err := dynamic.NewForConfig(tCtx.RESTConfig())
	if err != nil {
		return err
	}
	crds := client.Resource(schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"})
	if _, err := crds.Create(tCtx, crd, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("creating the CRD: %w", err)
	}
	return wait.PollUntilContextTimeout(tCtx, 50*time.Millisecond, time.Minute, true, func(ctx context.Context) (bool, error) {
		_, err := client.Resource(v1alpha1.NodeUtilizationResource()).List(ctx, metav1.ListOptions{})
		return err == nil, nil
	})
}

// publishUtilization writes for each node what an agent would, 30 pods each, in both profiles' runs.
func publishUtilization(tCtx ktesting.TContext, _ *kubescheduler.Scheduler, _ *schedulerperf.Workload, nodes *corev1.NodeList) error {
	config := *tCtx.RESTConfig()
	config.QPS = -1
	client, err := dynamic.NewForConfig(&config)
	if err != nil {
		return err
	}
	resource := client.Resource(v1alpha1.NodeUtilizationResource())
	var failed atomic.Pointer[error]
	workqueue.ParallelizeUntil(tCtx, 16, len(nodes.Items), func(i int) {
		if err := publish(tCtx, resource, utilization(&nodes.Items[i], i)); err != nil {
			failed.Store(&err)
		}
	})
	if err := failed.Load(); err != nil {
		return fmt.Errorf("publishing: %w", *err)
	}
	return nil
}

func publish(ctx context.Context, resource dynamic.ResourceInterface, u *v1alpha1.NodeUtilization) error {
	object, err := runtime.DefaultUnstructuredConverter.ToUnstructured(u)
	if err != nil {
		return err
	}
	created, err := resource.Create(ctx, &unstructured.Unstructured{Object: object}, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	created.Object["status"] = object["status"]
	_, err = resource.UpdateStatus(ctx, created, metav1.UpdateOptions{})
	return err
}

// utilization is a node of 30 pods, a fifth to a half used.
func utilization(node *corev1.Node, i int) *v1alpha1.NodeUtilization {
	now := time.Now()
	use := v1alpha1.Resources{MilliCPU: node.Status.Capacity.Cpu().MilliValue() * int64(20+i%30) / 100, MemoryBytes: 4 << 30}
	u := &v1alpha1.NodeUtilization{
		TypeMeta: metav1.TypeMeta{APIVersion: v1alpha1.APIVersion, Kind: v1alpha1.KindNodeUtilization},
		ObjectMeta: metav1.ObjectMeta{
			Name:            node.Name,
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: node.Name, UID: node.UID}},
		},
		Status: v1alpha1.NodeUtilizationStatus{
			ObservedTime: metav1.NewMicroTime(now), WindowMilliseconds: 10_000,
			Capacity: v1alpha1.Resources{MilliCPU: node.Status.Capacity.Cpu().MilliValue(), MemoryBytes: node.Status.Capacity.Memory().Value()},
			Node:     use,
			Classes:  []v1alpha1.ClassUtilization{{Class: v1alpha1.ClassLatencySensitive, Pods: 30, Resources: use}},
			Forecast: &v1alpha1.Forecast{
				Start: metav1.NewTime(now.Truncate(15 * time.Minute)), StepSeconds: 900, QuantilePermille: 990, ConfidencePermille: 900, HistorySeconds: 7 * 86_400,
			},
		},
	}
	for k := range 96 {
		u.Status.Forecast.MedianMilliCPU = append(u.Status.Forecast.MedianMilliCPU, use.MilliCPU)
		u.Status.Forecast.PeakMilliCPU = append(u.Status.Forecast.PeakMilliCPU, use.MilliCPU*int64(100+k%40)/100)
	}
	for p := range 30 {
		u.Status.Pods = append(u.Status.Pods, v1alpha1.PodUtilization{
			UID: fmt.Sprintf("%08d-0000-4000-8000-%012d", i, p), Class: v1alpha1.ClassLatencySensitive, MeasuredMilliseconds: 3_600_000,
			Resources: v1alpha1.Resources{MilliCPU: use.MilliCPU / 30, MemoryBytes: use.MemoryBytes / 30},
		})
	}
	return u
}
