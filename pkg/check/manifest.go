package check

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/yaml"

	"github.com/plimsoll/plimsoll/pkg/api/v1alpha1"
)

// manifest checks an object of Kubernetes: its fields, the pods that it makes, and the files in it.
func (r *Result) manifest(file, object string, h head, document []byte) {
	gvk := schema.FromAPIVersionAndKind(h.APIVersion, h.Kind)
	into, err := scheme.Scheme.New(gvk)
	if err != nil {
		if kind := h.APIVersion + " " + h.Kind; !slices.Contains(r.Unknown, kind) {
			r.Unknown = append(r.Unknown, kind)
		}
		return
	}
	r.add(file, object, v1alpha1.DecodeStrict(document, into))
	switch o := into.(type) {
	case *corev1.ConfigMap:
		r.configMap(file, object, o)
	case *corev1.Namespace:
		if class, ok := o.Labels[v1alpha1.ClassLabel]; ok {
			r.add(file, object, checkClass(field.NewPath("metadata", "labels").Key(v1alpha1.ClassLabel), class))
		}
	}
	if path, meta, spec := podOf(into); spec != nil {
		r.add(file, object, errors.Join(pod(path, meta, spec)...))
	}
}

// configMap checks the files in a ConfigMap that are of kinds that this package knows.
func (r *Result) configMap(file, object string, c *corev1.ConfigMap) {
	for _, key := range slices.Sorted(maps.Keys(c.Data)) {
		var h head
		content := []byte(c.Data[key])
		if yaml.Unmarshal(content, &h) != nil || h.Kind == "" {
			continue
		}
		switch h.Kind {
		case v1alpha1.KindAgentConfiguration, v1alpha1.KindLoadAwareArgs, "KubeSchedulerConfiguration":
			r.kind(file, fmt.Sprintf("%s data[%s]", object, key), h, content)
		}
	}
}

// podOf is the pod that an object is, or makes.
func podOf(object any) (*field.Path, metav1.ObjectMeta, *corev1.PodSpec) {
	template := func(path *field.Path, t *corev1.PodTemplateSpec) (*field.Path, metav1.ObjectMeta, *corev1.PodSpec) {
		return path, t.ObjectMeta, &t.Spec
	}
	path := field.NewPath("spec", "template")
	switch o := object.(type) {
	case *corev1.Pod:
		return nil, o.ObjectMeta, &o.Spec
	case *corev1.PodTemplate:
		return template(field.NewPath("template"), &o.Template)
	case *corev1.ReplicationController:
		if o.Spec.Template == nil {
			return nil, metav1.ObjectMeta{}, nil
		}
		return template(path, o.Spec.Template)
	case *appsv1.Deployment:
		return template(path, &o.Spec.Template)
	case *appsv1.StatefulSet:
		return template(path, &o.Spec.Template)
	case *appsv1.DaemonSet:
		return template(path, &o.Spec.Template)
	case *appsv1.ReplicaSet:
		return template(path, &o.Spec.Template)
	case *batchv1.Job:
		return template(path, &o.Spec.Template)
	case *batchv1.CronJob:
		return template(field.NewPath("spec", "jobTemplate").Child("spec", "template"), &o.Spec.JobTemplate.Spec.Template)
	default:
		return nil, metav1.ObjectMeta{}, nil
	}
}

func checkClass(path *field.Path, class string) error {
	if class != v1alpha1.BatchLabelValue && class != "latency-sensitive" {
		return field.NotSupported(path, class, []string{v1alpha1.BatchLabelValue, "latency-sensitive"})
	}
	return nil
}

// child is a field of an object whose own path may be empty.
func child(path *field.Path, names ...string) *field.Path {
	if path == nil {
		return field.NewPath(names[0], names[1:]...)
	}
	return path.Child(names[0], names[1:]...)
}

// limits of memory below which nothing can run, and of CPU below which somebody meant cores.
const (
	leastMemoryBytes = 1 << 20
	leastMilliCPU    = 100
)

func isGuaranteed(containers []corev1.Container) bool {
	for _, c := range containers {
		for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
			limit, ok := c.Resources.Limits[name]
			request, asked := c.Resources.Requests[name]
			if !ok || asked && request.Cmp(limit) != 0 {
				return false
			}
		}
	}
	return len(containers) > 0
}

func names(list []string) string { return strings.Join(list, ", ") }
