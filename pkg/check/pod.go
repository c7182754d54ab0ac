package check

import (
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/plimsoll/plimsoll/pkg/api/v1alpha1"
)

// pod checks what Plimsoll reads of a pod. The rules are those of the admission policies
// (manifests/base/admission/refuse.yaml), which have the last word.
func pod(path *field.Path, meta metav1.ObjectMeta, spec *corev1.PodSpec) []error {
	var errs []error
	labels, annotations := child(path, "metadata", "labels"), child(path, "metadata", "annotations")
	class, labelled := meta.Labels[v1alpha1.ClassLabel]
	if labelled {
		if err := checkClass(labels.Key(v1alpha1.ClassLabel), class); err != nil {
			errs = append(errs, err)
		}
	}
	if text, ok := meta.Annotations[v1alpha1.DurationAnnotation]; ok {
		at := annotations.Key(v1alpha1.DurationAnnotation)
		if d, err := time.ParseDuration(text); err != nil || d <= 0 {
			errs = append(errs, field.Invalid(at, text, "must be a duration above 0 like 90m or 36h"))
		}
	}
	if text, ok := meta.Annotations[v1alpha1.RealtimeAnnotation]; ok {
		at := annotations.Key(v1alpha1.RealtimeAnnotation)
		if text != "true" && text != "false" {
			errs = append(errs, field.NotSupported(at, text, []string{"true", "false"}))
		}
		if text == "true" && class == v1alpha1.BatchLabelValue {
			errs = append(errs, field.Invalid(at, text, "batch gives way to everything: it cannot have real-time priority"))
		}
	}
	if text, ok := meta.Annotations[v1alpha1.UnsharedCoresAnnotation]; ok {
		at := annotations.Key(v1alpha1.UnsharedCoresAnnotation)
		if text != "true" && text != "false" {
			errs = append(errs, field.NotSupported(at, text, []string{"true", "false"}))
		}
		if text == "true" && class == v1alpha1.BatchLabelValue {
			errs = append(errs, field.Invalid(at, text, "batch gives way to everything: it cannot have cores without batch"))
		}
	}
	if text, ok := meta.Annotations[v1alpha1.WholeCoresAnnotation]; ok {
		at := annotations.Key(v1alpha1.WholeCoresAnnotation)
		cores, err := v1alpha1.ParseWholeCores(text)
		if err != nil || text == "" {
			errs = append(errs, field.Invalid(at, text, "must be a whole number like 2"))
		}
		if cores > 0 && class == v1alpha1.BatchLabelValue {
			errs = append(errs, field.Invalid(at, text, "batch gives way to everything: it cannot have cores without batch"))
		}
	}
	if class == v1alpha1.BatchLabelValue {
		return append(errs, batchPod(path, spec)...)
	}
	for _, c := range containersOf(path, spec) {
		for _, name := range []corev1.ResourceName{v1alpha1.BatchCPUResource, v1alpha1.BatchMemoryResource} {
			if q, ok := c.Resources.Requests[name]; ok {
				errs = append(errs, field.Invalid(c.path.Child("resources", "requests").Key(string(name)), q.String(),
					"the pod is not batch: label it "+v1alpha1.ClassLabel+": batch, or ask for cpu and memory"))
			}
		}
	}
	return errs
}

// container is one of a pod's and where it stands.
type container struct {
	*corev1.Container
	path *field.Path
}

func containersOf(path *field.Path, spec *corev1.PodSpec) []container {
	var all []container
	for i := range spec.Containers {
		all = append(all, container{&spec.Containers[i], child(path, "spec", "containers").Index(i)})
	}
	for i := range spec.InitContainers {
		all = append(all, container{&spec.InitContainers[i], child(path, "spec", "initContainers").Index(i)})
	}
	return all
}

func batchPod(path *field.Path, spec *corev1.PodSpec) []error {
	var errs []error
	if strings.HasPrefix(spec.PriorityClassName, "system-") {
		errs = append(errs, field.Invalid(child(path, "spec", "priorityClassName"), spec.PriorityClassName, "a batch pod gives way to everything: leave it out, or the label"))
	}
	if isGuaranteed(spec.Containers) {
		errs = append(errs, field.Invalid(child(path, "spec", "containers"), "limits equal to requests in every container",
			"a batch pod cannot be Guaranteed: set requests.cpu below limits.cpu, or leave limits.cpu out"))
	}
	var silent []string
	for _, c := range containersOf(path, spec) {
		errs = append(errs, batchContainer(c)...)
		if !asks(c, corev1.ResourceCPU, v1alpha1.BatchCPUResource) || !asks(c, corev1.ResourceMemory, v1alpha1.BatchMemoryResource) {
			silent = append(silent, c.Name)
		}
	}
	if len(silent) > 0 && spec.Resources == nil {
		errs = append(errs, field.Required(child(path, "spec", "containers"), fmt.Sprintf(
			"requests of cpu and memory of %s: nothing would bound them, unless a LimitRange of the namespace has defaultRequest", names(silent))))
	}
	return errs
}

// asks reports whether a container asks for either of two resources, be it by its limit.
func asks(c container, of ...corev1.ResourceName) bool {
	for _, name := range of {
		_, request := c.Resources.Requests[name]
		_, limit := c.Resources.Limits[name]
		if request || limit {
			return true
		}
	}
	return false
}

func batchContainer(c container) []error {
	var errs []error
	requests := c.path.Child("resources", "requests")
	for _, pair := range []struct{ ours, plain corev1.ResourceName }{
		{v1alpha1.BatchCPUResource, corev1.ResourceCPU}, {v1alpha1.BatchMemoryResource, corev1.ResourceMemory},
	} {
		q, ok := c.Resources.Requests[pair.ours]
		if !ok {
			continue
		}
		at := requests.Key(string(pair.ours))
		if asks(c, pair.plain) {
			errs = append(errs, field.Invalid(at, q.String(), fmt.Sprintf("%s is asked for too: leave this one out, %s is converted", pair.plain, pair.plain)))
		}
		if pair.plain == corev1.ResourceCPU && q.Value() < leastMilliCPU {
			errs = append(errs, field.Invalid(at, q.String(), "it is in thousandths of a core, and must be 100 or more: for whole cores write requests.cpu"))
		}
		if pair.plain == corev1.ResourceMemory && q.Value() < leastMemoryBytes {
			errs = append(errs, field.Invalid(at, q.String(), "must be 1Mi or more: write requests.memory with its unit, for example 512Mi"))
		}
	}
	return errs
}
