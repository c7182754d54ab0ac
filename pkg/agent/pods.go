package agent

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	resourcehelper "k8s.io/component-helpers/resource"

	"github.com/plimsoll/plimsoll/pkg/api/v1alpha1"
)

// podInfo is what the agent knows of a pod from the API server.
type podInfo struct {
	Namespace, Name string
	Class           v1alpha1.Class
	// Realtime is true for a pod that asks for real-time priority, Burst for one that asks to burst above its limits.
	Realtime, Burst bool
	// WholeCores is how many whole cores without batch it asks for; 0 for none.
	WholeCores int64
	// UnsharedCores is true for a pod that asks that batch shares no core with it.
	UnsharedCores bool
	// Unconverted is true for a batch pod that the admission policy did not convert.
	Unconverted bool
	// Workload is the pod's topmost owner as namespace/Kind/name.
	Workload string
	// Started is when the kubelet took the pod on; zero while it is not known.
	Started time.Time
	// Lent is what the pod has asked for of what the node lends.
	Lent v1alpha1.Resources
}

// podWatch keeps the pods of this node.
type podWatch struct {
	informer cache.SharedIndexInformer
	// news counts what the API server told.
	news atomic.Uint64
}

const (
	byContainerID = "containerID"
	// byLoan finds, under the value "yes", the pods that were lent something and have not ended.
	byLoan = "loan"
	// cachedWorkload is an annotation of the trimmed copies of pods that are kept, and of no real pod.
	cachedWorkload = "workload"
)

// newPodWatch watches the pods bound to a node. Only what the agent needs of each is kept.
func newPodWatch(kube *rest.Config, nodeName string) (*podWatch, error) {
	client, err := kubernetes.NewForConfig(kube)
	if err != nil {
		return nil, fmt.Errorf("making a Kubernetes client: %w", err)
	}
	lw := cache.NewListWatchFromClient(client.CoreV1().RESTClient(), "pods", metav1.NamespaceAll,
		fields.OneTermEqualSelector("spec.nodeName", nodeName))
	informer := cache.NewSharedIndexInformer(lw, &corev1.Pod{}, 0, cache.Indexers{
		"uid":         func(obj any) ([]string, error) { return []string{string(obj.(*corev1.Pod).UID)}, nil },
		byContainerID: func(obj any) ([]string, error) { return containerIDs(obj.(*corev1.Pod)), nil },
		byLoan:        func(obj any) ([]string, error) { return loanOf(obj.(*corev1.Pod)), nil },
	})
	if err := informer.SetTransform(trimPod); err != nil {
		return nil, fmt.Errorf("watching pods: %w", err)
	}
	w := &podWatch{informer: informer}
	count := func(any) { w.news.Add(1) }
	if _, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: count, UpdateFunc: func(_, _ any) { count(nil) }, DeleteFunc: count,
	}); err != nil {
		return nil, fmt.Errorf("watching pods: %w", err)
	}
	return w, nil
}

// changes is a number that is another one once something about some pod may have changed.
func (w *podWatch) changes() uint64 { return w.news.Load() }

// told says whether the API server has told of all pods of the node.
func (w *podWatch) told() bool { return w.informer.HasSynced() }

// run watches until ctx ends. It retries for ever: the agent works without the API server.
func (w *podWatch) run(ctx context.Context) { w.informer.RunWithContext(ctx) }

// byUID returns what is known of a pod.
func (w *podWatch) byUID(uid string) (podInfo, bool) {
	pod := w.first("uid", uid)
	if pod == nil {
		return podInfo{}, false
	}
	info := podInfo{
		Namespace: pod.Namespace, Name: pod.Name, Class: v1alpha1.ClassOf(pod.Labels, pod.Spec.PriorityClassName),
		Workload: pod.Annotations[cachedWorkload],
	}
	_, converted := pod.Annotations[v1alpha1.BatchResourcesAnnotation]
	info.Unconverted = info.Class == v1alpha1.ClassBatch && !converted
	info.Burst = info.Class == v1alpha1.ClassLatencySensitive && pod.Annotations[v1alpha1.BurstAnnotation] == "true"
	if cores, err := v1alpha1.ParseWholeCores(pod.Annotations[v1alpha1.WholeCoresAnnotation]); err == nil && info.Class == v1alpha1.ClassLatencySensitive {
		info.WholeCores = cores
	}
	info.UnsharedCores = info.Class == v1alpha1.ClassLatencySensitive && pod.Annotations[v1alpha1.UnsharedCoresAnnotation] == "true"
	info.Realtime = info.Class == v1alpha1.ClassLatencySensitive && pod.Annotations[v1alpha1.RealtimeAnnotation] == "true"
	if pod.Status.StartTime != nil {
		info.Started = pod.Status.StartTime.Time
	}
	if len(pod.Spec.Containers) == 1 {
		info.Lent = lentBy(pod.Spec.Containers[0].Resources.Requests)
	}
	return info, true
}

// podOfContainer returns the UID of the pod whose status names this container.
func (w *podWatch) podOfContainer(id string) (uid string, ok bool) {
	pod := w.first(byContainerID, id)
	if pod == nil {
		return "", false
	}
	return string(pod.UID), true
}

func loanOf(pod *corev1.Pod) []string {
	ended := pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
	if ended || len(pod.Spec.Containers) != 1 || lentBy(pod.Spec.Containers[0].Resources.Requests) == (v1alpha1.Resources{}) {
		return nil
	}
	return []string{"yes"}
}

// loans is what each pod of the node that has not ended has asked for of what the node lends, by UID.
func (w *podWatch) loans() map[string]v1alpha1.Resources {
	objs, err := w.informer.GetIndexer().ByIndex(byLoan, "yes")
	if err != nil || len(objs) == 0 { // the only error is an unknown index
		return nil
	}
	loans := make(map[string]v1alpha1.Resources, len(objs))
	for _, obj := range objs {
		if pod, ok := obj.(*corev1.Pod); ok {
			loans[string(pod.UID)] = lentBy(pod.Spec.Containers[0].Resources.Requests)
		}
	}
	return loans
}

func (w *podWatch) first(index, value string) *corev1.Pod {
	objs, err := w.informer.GetIndexer().ByIndex(index, value)
	if err != nil || len(objs) == 0 { // the only error is an unknown index
		return nil
	}
	pod, _ := objs[0].(*corev1.Pod)
	return pod
}

// trimPod drops what the agent does not need, so that memory does not grow with the size of specs.
func trimPod(obj any) (any, error) {
	pod, ok := obj.(*corev1.Pod)
	if !ok {
		return obj, nil
	}
	trimmed := &corev1.Pod{}
	trimmed.UID, trimmed.Namespace, trimmed.Name = pod.UID, pod.Namespace, pod.Name
	trimmed.ResourceVersion = pod.ResourceVersion
	trimmed.Spec.PriorityClassName = pod.Spec.PriorityClassName
	if class, ok := pod.Labels[v1alpha1.ClassLabel]; ok {
		trimmed.Labels = map[string]string{v1alpha1.ClassLabel: class}
	}
	trimmed.Status.Phase = pod.Status.Phase
	trimmed.Annotations = map[string]string{cachedWorkload: workloadOf(pod)}
	for _, key := range []string{
		v1alpha1.RealtimeAnnotation, v1alpha1.BurstAnnotation, v1alpha1.WholeCoresAnnotation, v1alpha1.UnsharedCoresAnnotation, v1alpha1.BatchResourcesAnnotation,
	} {
		if v, ok := pod.Annotations[key]; ok {
			trimmed.Annotations[key] = v
		}
	}
	trimmed.Status.StartTime = pod.Status.StartTime
	// All requests of the pod, as those of one container.
	requests := batchOnly(resourcehelper.PodRequests(pod, resourcehelper.PodResourcesOptions{}))
	trimmed.Spec.Containers = []corev1.Container{{Resources: corev1.ResourceRequirements{Requests: requests}}}
	for _, c := range pod.Spec.InitContainers {
		trimmed.Spec.InitContainers = append(trimmed.Spec.InitContainers, corev1.Container{Name: c.Name, RestartPolicy: c.RestartPolicy})
	}
	for _, s := range statuses(pod) {
		trimmed.Status.ContainerStatuses = append(trimmed.Status.ContainerStatuses, corev1.ContainerStatus{Name: s.Name, ContainerID: s.ContainerID})
	}
	return trimmed, nil
}

// statuses are those of all containers of a pod.
func statuses(pod *corev1.Pod) []corev1.ContainerStatus {
	return slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses, pod.Status.EphemeralContainerStatuses)
}

// containerIDs are the IDs of all containers in a pod's status, without the runtime's scheme.
func containerIDs(pod *corev1.Pod) []string {
	var ids []string
	for _, s := range statuses(pod) {
		if id := idOf(s); id != "" {
			ids = append(ids, id)
		}
	}
	return ids
}

// idOf is the ID in a container's status; empty while there is none.
func idOf(s corev1.ContainerStatus) string {
	_, id, _ := strings.Cut(s.ContainerID, "//")
	return id
}
