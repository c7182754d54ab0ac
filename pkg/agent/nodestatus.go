package agent

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"

	"github.com/plimsoll/plimsoll/pkg/api/v1alpha1"
)

// nodeStatus keeps the node's extended resources for batch work as they shall be. It watches its own Node,
// because the kubelet sets every extended resource to 0 when it starts without a device plugin's
// checkpoint, and knows none of them when it registers the node anew: what is not as it shall be is put
// back at once.
//
// Capacity and allocatable are both written: at each of its status updates the kubelet copies the
// capacity of a resource that it does not know to allocatable, and drops an allocatable without a capacity.
type nodeStatus struct {
	nodeName string
	client   rest.Interface
	informer cache.SharedIndexInformer
	metrics  *metrics
	log      *slog.Logger

	// want is nil until it is known what the node shall offer, and once an offer was withdrawn: an agent
	// that does not lend leaves the Node alone from then on.
	want      atomic.Pointer[offer]
	withdrawn atomic.Bool
	wake      chan struct{}
}

// offer is what a node offers to batch work; withdrawn is a node without the resources.
type offer struct {
	withdrawn bool
	amounts   v1alpha1.Resources
}

func newNodeStatus(kube *rest.Config, nodeName string, m *metrics, log *slog.Logger) (*nodeStatus, error) {
	client, err := kubernetes.NewForConfig(kube)
	if err != nil {
		return nil, fmt.Errorf("making a Kubernetes client: %w", err)
	}
	n := &nodeStatus{nodeName: nodeName, client: client.CoreV1().RESTClient(), metrics: m, log: log, wake: make(chan struct{}, 1)}
	lw := cache.NewListWatchFromClient(n.client, "nodes", metav1.NamespaceAll, fields.OneTermEqualSelector("metadata.name", nodeName))
	n.informer = cache.NewSharedIndexInformer(lw, &corev1.Node{}, 0, nil)
	if err := n.informer.SetTransform(trimNode); err != nil {
		return nil, fmt.Errorf("watching the Node: %w", err)
	}
	_, err = n.informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { n.nudge() },
		UpdateFunc: func(any, any) { n.nudge() },
	})
	if err != nil {
		return nil, fmt.Errorf("watching the Node: %w", err)
	}
	return n, nil
}

// trimNode drops what is not needed of a Node: its list of images alone may be tens of kilobytes.
func trimNode(obj any) (any, error) {
	node, ok := obj.(*corev1.Node)
	if !ok {
		return obj, nil
	}
	trimmed := &corev1.Node{}
	trimmed.Name, trimmed.UID, trimmed.ResourceVersion = node.Name, node.UID, node.ResourceVersion
	if until, ok := node.Annotations[v1alpha1.FreezeUntilAnnotation]; ok {
		trimmed.Annotations = map[string]string{v1alpha1.FreezeUntilAnnotation: until}
	}
	trimmed.Status.Capacity, trimmed.Status.Allocatable = batchOnly(node.Status.Capacity), batchOnly(node.Status.Allocatable)
	return trimmed, nil
}

// freezeUntil is the Node's annotation that holds lending back, as it was last seen; empty where there is none.
func (n *nodeStatus) freezeUntil() string {
	if n == nil {
		return ""
	}
	obj, exists, err := n.informer.GetStore().GetByKey(n.nodeName)
	if err != nil || !exists {
		return ""
	}
	node, ok := obj.(*corev1.Node)
	if !ok {
		return ""
	}
	return node.Annotations[v1alpha1.FreezeUntilAnnotation]
}

func batchOnly(list corev1.ResourceList) corev1.ResourceList {
	kept := corev1.ResourceList{}
	for _, name := range []corev1.ResourceName{v1alpha1.BatchCPUResource, v1alpha1.BatchMemoryResource} {
		if q, ok := list[name]; ok {
			kept[name] = q
		}
	}
	return kept
}

// set says what the node shall offer from now on. It never waits.
func (n *nodeStatus) set(o offer) {
	if o.withdrawn && n.withdrawn.Load() {
		return
	}
	if was := n.want.Swap(&o); was == nil || *was != o {
		n.nudge()
	}
}

func (n *nodeStatus) nudge() {
	select {
	case n.wake <- struct{}{}:
	default: // it is going to look anyway
	}
}

// run keeps the node's status until ctx ends. It withdraws nothing when it ends: an agent that is
// replaced must not make the scheduler believe that there is nothing to lend.
func (n *nodeStatus) run(ctx context.Context) {
	go n.informer.RunWithContext(ctx)
	pause := firstPause
	for {
		select {
		case <-ctx.Done():
			return
		case <-n.wake:
		}
		for {
			err := n.reconcile(ctx)
			if err == nil {
				pause = firstPause
				break
			}
			n.metrics.nodeWrites.WithLabelValues("error").Inc()
			n.log.Error("writing what the node offers to batch work", "node", n.nodeName, "error", err, "retryIn", pause)
			select {
			case <-ctx.Done():
				return
			case <-time.After(pause):
			}
			pause = min(2*pause, lastPause)
		}
	}
}

// reconcile writes what is wanted if the Node, as it was last seen, differs. A write that was not seen yet
// is written again, which changes nothing.
func (n *nodeStatus) reconcile(ctx context.Context) error {
	want := n.want.Load()
	if want == nil {
		return nil
	}
	obj, exists, err := n.informer.GetStore().GetByKey(n.nodeName)
	if err != nil || !exists {
		return err // no Node, no offer; its coming wakes this up
	}
	node, ok := obj.(*corev1.Node)
	if !ok {
		return nil
	}
	if want.holds(node) {
		if want.withdrawn {
			n.withdrawn.Store(true)
			n.want.Store(nil)
		}
		return nil
	}
	body, err := want.patch()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	if err := patchNodeStatus(ctx, n.client, n.nodeName, body); err != nil {
		return err
	}
	n.metrics.nodeWrites.WithLabelValues("ok").Inc()
	return nil
}

func patchNodeStatus(ctx context.Context, client rest.Interface, nodeName string, body []byte) error {
	err := client.Patch(types.MergePatchType).Resource("nodes").Name(nodeName).SubResource("status").
		Param("fieldManager", v1alpha1.FieldManager).Body(body).Do(ctx).Error()
	if err != nil {
		return fmt.Errorf("patching the status of Node %s: %w", nodeName, err)
	}
	return nil
}

// resources are the amounts as quantities; nil where they are withdrawn. Extended resources are whole
// numbers and never negative: the API server refuses any other.
func (o offer) resources() map[corev1.ResourceName]*resource.Quantity {
	if o.withdrawn {
		return map[corev1.ResourceName]*resource.Quantity{v1alpha1.BatchCPUResource: nil, v1alpha1.BatchMemoryResource: nil}
	}
	return map[corev1.ResourceName]*resource.Quantity{
		v1alpha1.BatchCPUResource:    resource.NewQuantity(max(0, o.amounts.MilliCPU), resource.DecimalSI),
		v1alpha1.BatchMemoryResource: resource.NewQuantity(max(0, o.amounts.MemoryBytes), resource.BinarySI),
	}
}

// holds reports whether a Node offers exactly this.
func (o offer) holds(node *corev1.Node) bool {
	for name, want := range o.resources() {
		for _, list := range []corev1.ResourceList{node.Status.Capacity, node.Status.Allocatable} {
			is, ok := list[name]
			if ok != (want != nil) || ok && is.Cmp(*want) != 0 {
				return false
			}
		}
	}
	return true
}

// patch is a JSON merge patch of a Node's status; null takes a resource away, whoever wrote it.
func (o offer) patch() ([]byte, error) {
	resources := o.resources()
	body, err := json.Marshal(map[string]any{"status": map[string]any{"capacity": resources, "allocatable": resources}})
	if err != nil {
		return nil, fmt.Errorf("encoding what the node offers: %w", err)
	}
	return body, nil
}

// WithdrawNode takes the resources for batch work off a Node, for uninstalling.
func WithdrawNode(ctx context.Context, kube *rest.Config, nodeName string) error {
	client, err := kubernetes.NewForConfig(kube)
	if err != nil {
		return fmt.Errorf("making a Kubernetes client: %w", err)
	}
	body, err := offer{withdrawn: true}.patch()
	if err != nil {
		return err
	}
	return patchNodeStatus(ctx, client.CoreV1().RESTClient(), nodeName, body)
}

// WithdrawCommand does by hand what WithdrawNode does.
func WithdrawCommand(nodeName string) string {
	body, _ := offer{withdrawn: true}.patch() // strings and nulls: it always encodes
	return fmt.Sprintf("kubectl patch node %s --subresource=status --type=merge -p '%s'", nodeName, body)
}
