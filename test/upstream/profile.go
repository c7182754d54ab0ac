// Package upstream is what Kubernetes' own integration tests of the scheduler need to run with LoadAware in the default
// profile. It has no tests of its own: hack/test-upstream-scheduler.sh runs those of the module that go.mod pins.
package upstream

import (
	"context"
	"testing"

	"k8s.io/apimachinery/pkg/runtime"
	kubeschedulerv1 "k8s.io/kube-scheduler/config/v1"
	fwk "k8s.io/kube-scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler"
	configtesting "k8s.io/kubernetes/pkg/scheduler/apis/config/testing"
	frameworkruntime "k8s.io/kubernetes/pkg/scheduler/framework/runtime"

	"github.com/plimsoll/plimsoll/pkg/loadaware"
)

// Options replace the default profile by the same one with LoadAware in it, weighted as ours.
func Options(t *testing.T) []scheduler.Option {
	config := configtesting.V1ToInternalWithDefaults(t, kubeschedulerv1.KubeSchedulerConfiguration{
		Profiles: []kubeschedulerv1.KubeSchedulerProfile{{
			SchedulerName: new("default-scheduler"),
			Plugins: &kubeschedulerv1.Plugins{MultiPoint: kubeschedulerv1.PluginSet{
				Enabled: []kubeschedulerv1.Plugin{{Name: loadaware.Name, Weight: new(int32(3))}},
			}},
		}},
	})
	// One for each scheduler: a test may start several, each with a server of its own.
	factory := &loadaware.Factory{}
	newLoadAware := func(ctx context.Context, args runtime.Object, handle fwk.Handle) (fwk.Plugin, error) {
		t.Log("LoadAware is in the profile", handle.ProfileName())
		return factory.New(ctx, args, handle)
	}
	return []scheduler.Option{
		scheduler.WithProfiles(config.Profiles...),
		scheduler.WithFrameworkOutOfTreeRegistry(frameworkruntime.Registry{loadaware.Name: newLoadAware}),
	}
}
