package cluster

import (
	"bytes"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/restmapper"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

// overlays are those that are applied as they are.
func overlays() []string { return []string{"observe", "enforce", "pools", "local", "local-batch"} }

// TestManifestsAreAccepted sends what kustomize and Helm make to a real API server, which checks every field
// and keeps nothing.
func TestManifestsAreAccepted(t *testing.T) {
	cp := startControlPlane(t)
	for _, overlay := range overlays() {
		t.Run("kustomize overlay "+overlay, func(t *testing.T) { cp.wantAccepted(t, kustomized(t, "overlays/"+overlay)) })
	}
	t.Run("kustomize uninstall", func(t *testing.T) { cp.wantAccepted(t, kustomized(t, "uninstall")) })
	chart := makeChart(t)
	for name, values := range map[string][]string{
		"observe": nil,
		"enforce": {"mode=enforce", "namespace.create=true"},
		"every value changed": {"mode=enforce", "agent.image=r.example/a:1", "agent.kubeletCgroupRoot=/kube", "agent.nodeSelector.pool=x", "scheduler.enabled=false",
			"networkPolicy.enabled=false", "agent.config.apiVersion=plimsoll.dev/v1alpha1", "agent.config.kind=AgentConfiguration", "agent.resources.limits.memory=256Mi"},
	} {
		t.Run("helm "+name, func(t *testing.T) { cp.wantAccepted(t, helmed(t, chart, values...)) })
	}
}

// wantAccepted applies the objects without keeping them.
func (cp *controlPlane) wantAccepted(t *testing.T, objects map[string]*unstructured.Unstructured) {
	t.Helper()
	groups, err := restmapper.GetAPIGroupResources(cp.client.Discovery())
	if err != nil {
		t.Fatal(err)
	}
	mapper := restmapper.NewDiscoveryRESTMapper(groups)
	for key, o := range objects {
		gvk := o.GroupVersionKind()
		mapping, err := mapper.RESTMapping(gvk.GroupKind(), gvk.Version)
		if err != nil {
			t.Errorf("%s: %v", key, err)
			continue
		}
		if _, err := cp.objects.Resource(mapping.Resource).Namespace(o.GetNamespace()).Apply(t.Context(), o.GetName(), o,
			metav1.ApplyOptions{FieldManager: "test", Force: true, DryRun: []string{metav1.DryRunAll}}); err != nil {
			t.Errorf("%s: %v", key, err)
		}
	}
}

func keyed(t *testing.T, objects []*unstructured.Unstructured) map[string]*unstructured.Unstructured {
	t.Helper()
	byKey := map[string]*unstructured.Unstructured{}
	for _, o := range objects {
		key := strings.Join([]string{o.GetAPIVersion(), o.GetKind(), o.GetNamespace(), o.GetName()}, "/")
		if byKey[key] != nil {
			t.Errorf("%s is there twice", key)
		}
		byKey[key] = o
	}
	if len(byKey) == 0 {
		t.Fatal("no objects")
	}
	return byKey
}

func kustomized(t *testing.T, folder string) map[string]*unstructured.Unstructured {
	t.Helper()
	resources, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), filepath.Join(manifests, folder))
	if err != nil {
		t.Fatalf("building the kustomization %s: %v", folder, err)
	}
	var objects []*unstructured.Unstructured
	for _, r := range resources.Resources() {
		m, err := r.Map()
		if err != nil {
			t.Fatal(err)
		}
		objects = append(objects, &unstructured.Unstructured{Object: m})
	}
	return keyed(t, objects)
}

// makeChart makes the chart from the manifests, as `make chart` does.
func makeChart(t *testing.T) string {
	t.Helper()
	chart := filepath.Join(t.TempDir(), "plimsoll")
	cmd := exec.CommandContext(t.Context(), "go", "run", "../../hack/chart", manifests, chart)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("making the chart: %v\n%s", err, out)
	}
	return chart
}

// helm is what it prints, and what is said beside that: go says there what it fetches to build it.
func helm(t *testing.T, args ...string) (out, said string, err error) {
	t.Helper()
	var errs bytes.Buffer
	cmd := exec.CommandContext(t.Context(), "../../hack/tool.sh", append([]string{"helm"}, args...)...)
	cmd.Stderr = &errs
	b, err := cmd.Output()
	return string(b), errs.String(), err
}

func helmed(t *testing.T, chart string, values ...string) map[string]*unstructured.Unstructured {
	t.Helper()
	args := []string{"template", "plimsoll", chart, "--namespace", systemNamespace}
	for _, v := range values {
		args = append(args, "--set", v)
	}
	out, said, err := helm(t, args...)
	if err != nil {
		t.Fatalf("helm template: %v\n%s", err, said)
	}
	var objects []*unstructured.Unstructured
	for text := range strings.SplitSeq(out, "\n---\n") {
		o := &unstructured.Unstructured{}
		if err := yaml.Unmarshal([]byte(text), &o.Object); err != nil {
			t.Fatalf("%v in\n%s", err, text)
		}
		if len(o.Object) > 0 {
			objects = append(objects, o)
		}
	}
	return keyed(t, objects)
}

func TestChartMakesWhatTheOverlaysMake(t *testing.T) {
	chart := makeChart(t)
	hash := regexp.MustCompile(`\b(plimsoll-agent|plimsoll-scheduler-config)-[2456789bcdfghkmt]{10}\b`)
	for _, mode := range []string{"observe", "enforce"} {
		t.Run(mode, func(t *testing.T) {
			normal := func(objects map[string]*unstructured.Unstructured) map[string]string {
				texts := map[string]string{}
				for key, o := range objects {
					unstructured.RemoveNestedField(o.Object, "spec", "template", "metadata", "annotations", "plimsoll.dev/config-sha256")
					if a, _, _ := unstructured.NestedMap(o.Object, "spec", "template", "metadata", "annotations"); len(a) == 0 {
						unstructured.RemoveNestedField(o.Object, "spec", "template", "metadata", "annotations")
					}
					text, err := yaml.Marshal(o.Object)
					if err != nil {
						t.Fatal(err)
					}
					texts[hash.ReplaceAllString(key, "$1")] = hash.ReplaceAllString(string(text), "$1")
				}
				return texts
			}
			want := normal(kustomized(t, "overlays/"+mode))
			got := normal(helmed(t, chart, "mode="+mode, "namespace.create=true"))
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("objects (-kustomize +helm):\n%s", d)
			}
		})
	}
}

func TestChartRefusesBadValues(t *testing.T) {
	chart := makeChart(t)
	for value, want := range map[string]string{
		"mode=enforced":                "mode",
		"agent.images=x":               "images",
		"agent.image=":                 "image",
		"scheduler.replicas=0":         "replicas",
		"scheduler.enabled=yes":        "enabled",
		"agent.kubeletCgroupRoot=kube": "kubeletCgroupRoot",
		"agent.config.kind=Wrong":      "config",
		"unknown=1":                    "unknown",
	} {
		_, said, err := helm(t, "template", "plimsoll", chart, "--set", value)
		if err == nil || !strings.Contains(said, want) {
			t.Errorf("--set %s: %v, want a refusal that names %s:\n%.500s", value, err, want, said)
		}
	}
}
