package check

import (
	"errors"
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	schedulerv1 "k8s.io/kube-scheduler/config/v1"

	"github.com/plimsoll/plimsoll/pkg/api/v1alpha1"
	"github.com/plimsoll/plimsoll/pkg/loadaware"
)

// schedulerConfiguration checks the scheduler's file: its fields, the arguments of the plugins that come with
// the scheduler, and those of LoadAware. What the scheduler itself would say of other values it says at start.
func schedulerConfiguration(apiVersion string, document []byte) error {
	if want := schedulerv1.SchemeGroupVersion.String(); apiVersion != want {
		return field.NotSupported(field.NewPath("apiVersion"), apiVersion, []string{want})
	}
	var c schedulerv1.KubeSchedulerConfiguration
	decoding := v1alpha1.DecodeStrict(document, &c)
	var errs field.ErrorList
	if p := c.PercentageOfNodesToScore; p != nil && (*p < 0 || *p > 100) {
		errs = append(errs, field.Invalid(field.NewPath("percentageOfNodesToScore"), *p, "must be from 0 to 100"))
	}
	if p := c.Parallelism; p != nil && *p < 1 {
		errs = append(errs, field.Invalid(field.NewPath("parallelism"), *p, "must be 1 or more"))
	}
	all := []error{decoding}
	seen := map[string]bool{}
	for i := range c.Profiles {
		path := field.NewPath("profiles").Index(i)
		name := schedulerName(&c.Profiles[i])
		if seen[name] {
			errs = append(errs, field.Duplicate(path.Child("schedulerName"), name))
		}
		seen[name] = true
		all = append(all, profile(path, &c.Profiles[i])...)
	}
	for _, e := range errs {
		all = append(all, e)
	}
	return errors.Join(all...)
}

func schedulerName(p *schedulerv1.KubeSchedulerProfile) string {
	if p.SchedulerName == nil {
		return "default-scheduler"
	}
	return *p.SchedulerName
}

// profile checks the arguments of the plugins of a profile.
func profile(path *field.Path, p *schedulerv1.KubeSchedulerProfile) []error {
	var errs []error
	seen := map[string]bool{}
	for i, c := range p.PluginConfig {
		at := path.Child("pluginConfig").Index(i)
		if seen[c.Name] {
			errs = append(errs, field.Duplicate(at.Child("name"), c.Name))
		}
		seen[c.Name] = true
		if c.Name == loadaware.Name {
			_, err := v1alpha1.ParseLoadAwareArgs(c.Args.Raw, at.Child("args"))
			errs = append(errs, err)
			if !enabled(p.Plugins, loadaware.Name) {
				errs = append(errs, field.Invalid(at.Child("name"), c.Name, "it has arguments and is not enabled: add it to plugins.multiPoint.enabled of the profile"))
			}
			continue
		}
		if args := builtInArgs(c.Name); args != nil && len(c.Args.Raw) > 0 {
			if err := v1alpha1.DecodeStrict(c.Args.Raw, args); err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", at.Child("args"), err))
			}
		}
	}
	return errs
}

// enabled reports whether a profile enables a plugin at any of the points that LoadAware has.
func enabled(p *schedulerv1.Plugins, name string) bool {
	if p == nil {
		return false
	}
	for _, set := range []schedulerv1.PluginSet{p.MultiPoint, p.PreFilter, p.Filter, p.PreScore, p.Score} {
		if slices.ContainsFunc(set.Enabled, func(e schedulerv1.Plugin) bool { return e.Name == name }) {
			return true
		}
	}
	return false
}

// builtInArgs is an empty value of the arguments of a plugin that comes with the scheduler, nil for others.
func builtInArgs(plugin string) runtime.Object {
	switch plugin {
	case "DefaultPreemption":
		return &schedulerv1.DefaultPreemptionArgs{}
	case "InterPodAffinity":
		return &schedulerv1.InterPodAffinityArgs{}
	case "NodeAffinity":
		return &schedulerv1.NodeAffinityArgs{}
	case "NodeResourcesBalancedAllocation":
		return &schedulerv1.NodeResourcesBalancedAllocationArgs{}
	case "NodeResourcesFit":
		return &schedulerv1.NodeResourcesFitArgs{}
	case "PodTopologySpread":
		return &schedulerv1.PodTopologySpreadArgs{}
	case "VolumeBinding":
		return &schedulerv1.VolumeBindingArgs{}
	default:
		return nil
	}
}
