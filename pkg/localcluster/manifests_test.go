package localcluster

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// Two components may each give the agent a right, and neither may take the other's away.
func TestComponentsThatGiveRightsAddUp(t *testing.T) {
	manifests, err := filepath.Abs("../../manifests")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	relative, err := filepath.Rel(dir, manifests)
	if err != nil {
		t.Fatal(err)
	}
	for _, order := range [][]string{{"realtime", "coresched"}, {"coresched", "realtime"}} {
		text := fmt.Sprintf("apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources: [%[1]s/overlays/observe]\n"+
			"components: [%[1]s/components/%[2]s, %[1]s/components/%[3]s]\n", relative, order[0], order[1])
		if err := os.WriteFile(filepath.Join(dir, "kustomization.yaml"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		objects, err := renderKustomization(dir)
		if err != nil {
			t.Fatal(err)
		}
		found := false
		for _, o := range objects {
			if o.GetKind() != "DaemonSet" {
				continue
			}
			var agent appsv1.DaemonSet
			if err := runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, &agent); err != nil {
				t.Fatal(err)
			}
			spec := agent.Spec.Template.Spec
			found = true
			want := &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}, Add: []corev1.Capability{"SYS_NICE", "SYS_PTRACE"}}
			if order[0] == "coresched" {
				want.Add = []corev1.Capability{"SYS_PTRACE", "SYS_NICE"}
			}
			if diff := cmp.Diff(want, spec.Containers[0].SecurityContext.Capabilities); diff != "" || spec.Containers[0].Name != "agent" || !spec.HostPID {
				t.Errorf("%v: container %s, host's PIDs %v (-want +got):\n%s", order, spec.Containers[0].Name, spec.HostPID, diff)
			}
		}
		if !found {
			t.Errorf("%v: no DaemonSet", order)
		}
	}
}
