package loadaware

import (
	"fmt"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/plimsoll/plimsoll/pkg/api/v1alpha1"
)

// parseArgs decodes the plugin's arguments in the profile strictly: the scheduler hands the arguments
// of plugins it does not know over undecoded, and its own decoder would ignore a misspelt field. No
// arguments at all mean the defaults.
func parseArgs(args runtime.Object, profile string) (*v1alpha1.LoadAwareArgs, error) {
	root := field.NewPath("profiles").Key(profile).Child("pluginConfig").Key(Name).Child("args")
	switch a := args.(type) {
	case nil:
		return v1alpha1.ParseLoadAwareArgs(nil, root)
	case *runtime.Unknown:
		return v1alpha1.ParseLoadAwareArgs(a.Raw, root)
	default:
		return nil, fmt.Errorf("%s: want undecoded arguments, got %T", root, args)
	}
}
