package cluster

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apiextensions "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// testdata/upgrade has what agents of earlier formats wrote through the API server, and the CRD of that time; the
// recordings are never changed. Format 1 has no windows, workloads, capabilities or lendable amounts.
const upgradeData = "testdata/upgrade"

// TestMixedVersions runs this version's scheduler on what an earlier agent wrote, and writes what this version's agent
// writes where the CRD is still the earlier one.
func TestMixedVersions(t *testing.T) {
	cp := startControlPlane(t)
	old := cp.applyOldCRD(t)
	cp.applyKustomization(t, "base/scheduler")
	startScheduler(t, cp)
	t.Run("this scheduler places by what an earlier agent publishes", func(t *testing.T) { cp.testPlacing(t, "before", "nodeutilization-1.json") })
	t.Run("an earlier CRD takes what this agent publishes, less what it does not know", func(t *testing.T) { cp.testNewAgentOldCRD(t, old) })
	cp.installCRDs(t)
	t.Run("an earlier agent can publish where the CRD is of today", func(t *testing.T) { cp.testPlacing(t, "after", "nodeutilization-1.json") })
}

// earlierScheduler is the last commit whose scheduler was written for format 1: it knows nothing of what agents have
// published since.
const earlierScheduler = "0591240a5eb5034e21c8c147d27a2cbbe24574a6"

// TestAnEarlierScheduler runs that scheduler, with the configuration of its time, on what this version's agent
// publishes through this version's CRD, with the rights of this version's manifests.
func TestAnEarlierScheduler(t *testing.T) {
	source := t.TempDir()
	archive := exec.Command("sh", "-c", "git archive "+earlierScheduler+" | tar -x -C "+source)
	if exec.Command("git", "cat-file", "-e", earlierScheduler+"^{commit}").Run() != nil {
		t.Skipf("the repository has no commit %s to build an earlier scheduler from: git fetch --unshallow to cover it", earlierScheduler)
	}
	archive.Dir = filepath.Join("..", "..")
	if out, err := archive.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	binary := filepath.Join(source, "plimsoll-scheduler")
	build := exec.Command("go", "build", "-o", binary, "./cmd/plimsoll-scheduler")
	build.Dir, build.Env = source, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building the scheduler of %s: %v: %s", earlierScheduler, err, out)
	}
	cp := startControlPlane(t)
	cp.installCRDs(t)
	cp.applyKustomization(t, "base/scheduler")
	dir := t.TempDir()
	kubeconfig := cp.serviceAccountKubeconfig(t, dir, systemNamespace, "plimsoll-scheduler")
	runScheduler(t, cp, binary, dir, kubeconfig, readSchedulerConfig(t, filepath.Join(source, "manifests")))
	cp.testPlacing(t, "earlier", "nodeutilization-2.json")
	u, err := cp.utilizations().Get(t.Context(), "earlier-a", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, unknown := range []string{"capabilities", "forecast", "lendable"} { // or the earlier scheduler was not asked for anything new
		if _, found := u.Object["status"].(map[string]any)[unknown]; !found {
			t.Errorf("what it placed by has no %s, which came later than it: the test cannot fail", unknown)
		}
	}
}

func (cp *controlPlane) applyOldCRD(t *testing.T) *apiextensions.JSONSchemaProps {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(upgradeData, "crd-1.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	u := &unstructured.Unstructured{}
	var crd apiextensions.CustomResourceDefinition
	if err := yaml.Unmarshal(content, &u.Object); err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(content, &crd); err != nil {
		t.Fatal(err)
	}
	cp.apply(t, u)
	eventually(t, "the earlier NodeUtilization to be served", func(ctx context.Context) (bool, error) {
		_, err := cp.utilizations().List(ctx, metav1.ListOptions{})
		return err == nil, ignoreNotFound(err)
	})
	return crd.Spec.Versions[0].Schema.OpenAPIV3Schema
}

// recordedStatus is the status that an agent of a format wrote.
func recordedStatus(t *testing.T, file string) map[string]any {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(upgradeData, file))
	if err != nil {
		t.Fatal(err)
	}
	var u map[string]any
	if err := json.Unmarshal(content, &u); err != nil {
		t.Fatal(err)
	}
	return u["status"].(map[string]any)
}

// putStatus writes a status as an agent does, and returns what the API server made of it.
func (cp *controlPlane) putStatus(t *testing.T, node string, status map[string]any) map[string]any {
	t.Helper()
	current, err := cp.utilizations().Get(t.Context(), node, metav1.GetOptions{})
	if ignoreNotFound(err) != nil {
		t.Fatal(err)
	}
	if err != nil {
		u := asUnstructured(t, goodUtilization(node))
		delete(u.Object, "status")
		if current, err = cp.utilizations().Create(t.Context(), u, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	current.Object["status"] = status
	after, err := cp.utilizations().UpdateStatus(t.Context(), current, metav1.UpdateOptions{})
	if err != nil {
		t.Fatalf("what the agent writes is refused: %v", err)
	}
	return after.Object["status"].(map[string]any)
}

// testPlacing publishes as the agent does that was recorded, of which one node is busy and one is not, and turns that
// round.
func (cp *controlPlane) testPlacing(t *testing.T, label, recorded string) {
	p := cp.newNodePair(t, label)
	publish := func(which string, milliCPU int64) {
		status := recordedStatus(t, recorded)
		status["observedTime"] = time.Now().UTC().Format(metav1.RFC3339Micro)
		status["capacity"] = map[string]any{"milliCPU": int64(4000), "memoryBytes": int64(8 << 30)}
		status["node"].(map[string]any)["milliCPU"] = milliCPU
		for _, c := range status["classes"].([]any) {
			class := c.(map[string]any)
			class["milliCPU"] = int64(0)
			if class["class"] == "LatencySensitive" {
				class["milliCPU"] = milliCPU
			}
		}
		status["pods"] = []any{}
		cp.putStatus(t, p.node(which), status)
	}
	publish("a", 300)
	publish("b", 2500)
	p.wantPicks(t, "a", nil)
	publish("a", 2500)
	publish("b", 300)
	p.wantPicks(t, "b", nil)
}

// testNewAgentOldCRD wants every field that the earlier CRD knows, and nothing else, to be there as it was written.
func (cp *controlPlane) testNewAgentOldCRD(t *testing.T, old *apiextensions.JSONSchemaProps) {
	schema := old.Properties["status"]
	good := asUnstructured(t, goodUtilization("x")).Object["status"].(map[string]any)
	for name, status := range map[string]map[string]any{"recorded": recordedStatus(t, "nodeutilization-2.json"), "every-field": good} {
		want := known(&schema, status)
		got := cp.putStatus(t, name, status)
		if diff := cmp.Diff(plain(t, want), plain(t, got)); diff != "" {
			t.Errorf("%s through the earlier CRD (-what it knows +what it gives):\n%s", name, diff)
		}
		if name == "recorded" && cmp.Equal(plain(t, status), plain(t, got)) {
			t.Error("the earlier CRD knows every field: the test cannot fail")
		}
	}
}

// known is what a schema knows of a value.
func known(s *apiextensions.JSONSchemaProps, v any) any {
	switch v := v.(type) {
	case map[string]any:
		kept := map[string]any{}
		for name, field := range v {
			if sub, ok := s.Properties[name]; ok {
				kept[name] = known(&sub, field)
			} else if s.AdditionalProperties != nil {
				kept[name] = field
			}
		}
		return kept
	case []any:
		kept := slices.Clone(v)
		for i := range kept {
			kept[i] = known(s.Items.Schema, kept[i])
		}
		return kept
	default:
		return v
	}
}

// plain makes numbers alike.
func plain(t *testing.T, v any) (out any) {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &out); err != nil {
		t.Fatal(err)
	}
	return out
}
