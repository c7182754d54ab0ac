package localcluster

import (
	"context"
	"errors"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

const (
	installer = "plimsoll-local"
	// settleTimeout bounds the wait for an applied DaemonSet to have its pods ready.
	settleTimeout = 90 * time.Second
	// cgroupRootEnv is how the agent's manifest says the kubelet's cgroupRoot.
	cgroupRootEnv = "KUBELET_CGROUP_ROOT"
)

// Install renders a kustomization, tells its DaemonSets the kubelet's cgroup root, which no manifest can
// know, applies it and waits until the DaemonSets' pods are ready.
func (c *Cluster) Install(ctx context.Context, kustomization string) error {
	return install(ctx, kustomization, c.Kubeconfig(), settleTimeout, c.inst.fit)
}

// InstallOn is Install on any cluster, as its manifests are: the kubelets have their cgroup root at "/". The pods
// have until ctx ends to be ready.
func InstallOn(ctx context.Context, kustomization, kubeconfig string) error {
	asIs := func(o *unstructured.Unstructured) (*unstructured.Unstructured, error) { return o, nil }
	return install(ctx, kustomization, kubeconfig, 0, asIs)
}

// install waits for the DaemonSets' pods until settle has passed, or with 0 until ctx ends.
func install(ctx context.Context, kustomization, kubeconfig string, settle time.Duration, fit func(*unstructured.Unstructured) (*unstructured.Unstructured, error)) error {
	objects, err := renderKustomization(kustomization)
	if err != nil {
		return err
	}
	a, err := newApplier(kubeconfig)
	if err != nil {
		return err
	}
	var daemons []*unstructured.Unstructured
	for _, o := range objects {
		if o.GetKind() == "DaemonSet" {
			if o, err = fit(o); err != nil {
				return err
			}
			daemons = append(daemons, o)
		}
		if err := a.apply(ctx, o); err != nil {
			return err
		}
	}
	for _, d := range daemons {
		if err := a.waitReady(ctx, d, settle); err != nil {
			return err
		}
	}
	return nil
}

// renderKustomization builds a kustomization; its objects come in the order in which they can be applied.
func renderKustomization(kustomization string) ([]*unstructured.Unstructured, error) {
	options := krusty.MakeDefaultOptions()
	options.Reorder = krusty.ReorderOptionLegacy // namespaces and CRDs first
	resources, err := krusty.MakeKustomizer(options).Run(filesys.MakeFsOnDisk(), kustomization)
	if err != nil {
		return nil, fmt.Errorf("rendering %s: %w", kustomization, err)
	}
	var objects []*unstructured.Unstructured
	for _, r := range resources.Resources() {
		content, err := r.Map()
		if err != nil {
			return nil, fmt.Errorf("rendering %s: %w", kustomization, err)
		}
		objects = append(objects, &unstructured.Unstructured{Object: content})
	}
	return objects, nil
}

// fit sets what differs from instance to instance in the environment of a DaemonSet's containers.
func (i *Instance) fit(o *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	var ds appsv1.DaemonSet
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, &ds); err != nil {
		return nil, fmt.Errorf("reading DaemonSet %s: %w", o.GetName(), err)
	}
	for c := range ds.Spec.Template.Spec.Containers {
		env := ds.Spec.Template.Spec.Containers[c].Env
		for e := range env {
			if env[e].Name == cgroupRootEnv {
				env[e] = corev1.EnvVar{Name: cgroupRootEnv, Value: i.CgroupRoot}
			}
		}
	}
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&ds)
	if err != nil {
		return nil, fmt.Errorf("writing DaemonSet %s: %w", o.GetName(), err)
	}
	unstructured.RemoveNestedField(content, "status")
	return &unstructured.Unstructured{Object: content}, nil
}

// applier applies objects of any kind.
type applier struct {
	client dynamic.Interface
	mapper *restmapper.DeferredDiscoveryRESTMapper
}

func newApplier(kubeconfig string) (*applier, error) {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("reading the kubeconfig: %w", err)
	}
	config.QPS = -1 // one person's few objects
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("making a client: %w", err)
	}
	disco, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("making a client: %w", err)
	}
	return &applier{client, restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(disco))}, nil
}

// apply makes o so by server-side apply. A kind that was applied a moment ago, and is not served yet, is waited for.
func (a *applier) apply(ctx context.Context, o *unstructured.Unstructured) error {
	var last error
	err := wait.PollUntilContextTimeout(ctx, 200*time.Millisecond, 15*time.Second, true, func(ctx context.Context) (bool, error) {
		resource, err := a.resource(o)
		if err == nil {
			_, err = resource.Apply(ctx, o.GetName(), o, metav1.ApplyOptions{FieldManager: installer, Force: true})
		}
		last = err
		if meta.IsNoMatchError(err) || apierrors.IsNotFound(err) {
			a.mapper.Reset()
			return false, nil
		}
		return err == nil, err
	})
	if err != nil {
		return fmt.Errorf("applying %s %s: %w", o.GetKind(), o.GetName(), errors.Join(last, err))
	}
	return nil
}

func (a *applier) resource(o *unstructured.Unstructured) (dynamic.ResourceInterface, error) {
	gvk := o.GroupVersionKind()
	mapping, err := a.mapper.RESTMapping(gvk.GroupKind(), gvk.Version)
	if err != nil {
		return nil, err
	}
	if mapping.Scope.Name() == meta.RESTScopeNameNamespace {
		return a.client.Resource(mapping.Resource).Namespace(o.GetNamespace()), nil
	}
	return a.client.Resource(mapping.Resource), nil
}

// waitReady waits until each pod that the DaemonSet should have is updated and ready.
func (a *applier) waitReady(ctx context.Context, o *unstructured.Unstructured, settle time.Duration) error {
	if settle > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, settle)
		defer cancel()
	}
	var ds appsv1.DaemonSet
	err := wait.PollUntilContextCancel(ctx, 200*time.Millisecond, true, func(ctx context.Context) (bool, error) {
		resource, err := a.resource(o)
		if err != nil {
			return false, err
		}
		now, err := resource.Get(ctx, o.GetName(), metav1.GetOptions{})
		if err != nil {
			return false, err
		}
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(now.Object, &ds); err != nil {
			return false, err
		}
		s := ds.Status
		return s.ObservedGeneration == ds.Generation && s.DesiredNumberScheduled > 0 &&
			s.UpdatedNumberScheduled == s.DesiredNumberScheduled && s.NumberReady == s.DesiredNumberScheduled, nil
	})
	if err != nil {
		return fmt.Errorf("waiting for the pods of %s/%s (%d of %d ready; see kubectl describe and logs): %w",
			o.GetNamespace(), o.GetName(), ds.Status.NumberReady, ds.Status.DesiredNumberScheduled, err)
	}
	return nil
}
