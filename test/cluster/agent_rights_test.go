package cluster

import (
	"context"
	"slices"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/retry"

	"github.com/plimsoll/plimsoll/pkg/api/v1alpha1"
)

// TestAgentTouchesItsOwnNodeOnly uses tokens as the kubelet gives them to the agents of two nodes. Whoever
// steals one can do what is here, and no more.
func TestAgentTouchesItsOwnNodeOnly(t *testing.T) {
	cp := startControlPlane(t)
	cp.applyKustomization(t, "overlays/observe")
	cp.installCRDs(t)
	for _, node := range []string{"node-a", "node-b"} {
		cp.createNode(t, node)
	}
	a := cp.agentOn(t, "node-a")
	unbound := cp.withToken(t, cp.agentToken(t, nil))
	eventually(t, "the policy that guards nodes to be in force", func(ctx context.Context) (bool, error) {
		_, err := a.lend(ctx, "node-b", "/status/capacity", "1")
		return apierrors.IsForbidden(err) && strings.Contains(err.Error(), "own node only"), nil
	})

	t.Run("its Node's status", func(t *testing.T) { testNodeStatusRights(t, cp, a, unbound) })
	t.Run("NodeUtilization", func(t *testing.T) { testUtilizationRights(t, cp, a, unbound) })
	t.Run("everything else", func(t *testing.T) { testOtherRights(t, cp, a) })
}

// agentClient is the API server as the holder of an agent's token sees it.
type agentClient struct {
	kubernetes.Interface
	objects dynamic.Interface
}

func (cp *controlPlane) createNode(t *testing.T, name string) {
	t.Helper()
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"pool": "one"}, Annotations: map[string]string{"note": "kept"}}}
	node.Status.Capacity = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("8"), corev1.ResourceMemory: resource.MustParse("32Gi"), corev1.ResourcePods: resource.MustParse("110")}
	node.Status.Allocatable = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("7"), corev1.ResourceMemory: resource.MustParse("30Gi"), corev1.ResourcePods: resource.MustParse("110")}
	node.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}
	nodes := cp.client.CoreV1().Nodes()
	_, err := nodes.Create(t.Context(), node, metav1.CreateOptions{})
	if err == nil {
		err = retry.RetryOnConflict(retry.DefaultRetry, func() error { // the node controller writes too
			now, err := nodes.Get(t.Context(), name, metav1.GetOptions{})
			if err == nil {
				now.Status = node.Status
				_, err = nodes.UpdateStatus(t.Context(), now, metav1.UpdateOptions{})
			}
			return err
		})
	}
	if err != nil {
		t.Fatal(err)
	}
}

// agentToken is a token of the agent's service account, bound to a pod if there is one.
func (cp *controlPlane) agentToken(t *testing.T, pod *corev1.Pod) string {
	t.Helper()
	request := &authenticationv1.TokenRequest{}
	if pod != nil {
		request.Spec.BoundObjectRef = &authenticationv1.BoundObjectReference{Kind: "Pod", APIVersion: "v1", Name: pod.Name, UID: pod.UID}
	}
	token, err := cp.client.CoreV1().ServiceAccounts(systemNamespace).CreateToken(t.Context(), "plimsoll-agent", request, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return token.Status.Token
}

func (cp *controlPlane) withToken(t *testing.T, token string) *agentClient {
	t.Helper()
	config := rest.AnonymousClientConfig(cp.config)
	config.BearerToken, config.QPS = token, -1
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	objects, err := dynamic.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return &agentClient{client, objects}
}

// agentOn is what the pod of the agent on a node can do.
func (cp *controlPlane) agentOn(t *testing.T, node string) *agentClient {
	t.Helper()
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "agent-" + node, Namespace: systemNamespace},
		Spec:       corev1.PodSpec{NodeName: node, ServiceAccountName: "plimsoll-agent", Containers: []corev1.Container{{Name: "agent", Image: "example.com/agent"}}},
	}
	pod, err := cp.client.CoreV1().Pods(systemNamespace).Create(t.Context(), pod, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return cp.withToken(t, cp.agentToken(t, pod))
}

// lend sets what a node lends at a path of its status; an empty value takes it away.
func (a *agentClient) lend(ctx context.Context, node, path, value string) (*corev1.Node, error) {
	patch := `[{"op":"add","path":"` + path + `/plimsoll.dev~1batch-cpu","value":"` + value + `"}]`
	if value == "" {
		patch = `[{"op":"remove","path":"` + path + `/plimsoll.dev~1batch-cpu"}]`
	}
	return a.CoreV1().Nodes().Patch(ctx, node, types.JSONPatchType, []byte(patch), metav1.PatchOptions{}, "status")
}

func testNodeStatusRights(t *testing.T, cp *controlPlane, a, unbound *agentClient) {
	ctx := t.Context()
	for _, path := range []string{"/status/capacity", "/status/allocatable"} {
		for _, value := range []string{"4000", "3000", ""} {
			if _, err := a.lend(ctx, "node-a", path, value); err != nil {
				t.Errorf("setting %s to %q: %v", path, value, err)
			}
		}
	}
	if _, err := unbound.lend(ctx, "node-a", "/status/capacity", "1"); !refused(err, "names no node") {
		t.Errorf("a token without a node: %v", err)
	}
	patch := func(node, body string, subresources ...string) error {
		_, err := a.CoreV1().Nodes().Patch(ctx, node, types.MergePatchType, []byte(body), metav1.PatchOptions{}, subresources...)
		return err
	}
	for name, tc := range map[string]struct{ node, body, want string }{
		"another node":               {"node-b", `{"status":{"capacity":{"plimsoll.dev/batch-cpu":"1"}}}`, "own node only"},
		"its CPU":                    {"node-a", `{"status":{"capacity":{"cpu":"64"}}}`, "nothing else"},
		"its allocatable memory":     {"node-a", `{"status":{"allocatable":{"memory":"1Ti"}}}`, "nothing else"},
		"another extended resource":  {"node-a", `{"status":{"capacity":{"example.com/gpu":"8"}}}`, "nothing else"},
		"a look-alike resource":      {"node-a", `{"status":{"capacity":{"plimsoll.dev/batch-cpus":"8"}}}`, "nothing else"},
		"its pods taken away":        {"node-a", `{"status":{"capacity":{"pods":null}}}`, "nothing else"},
		"its capacity taken away":    {"node-a", `{"status":{"allocatable":null}}`, "nothing else"},
		"its conditions":             {"node-a", `{"status":{"conditions":[{"type":"Ready","status":"False"}]}}`, "nothing else"},
		"its conditions taken away":  {"node-a", `{"status":{"conditions":null}}`, "nothing else"},
		"its addresses":              {"node-a", `{"status":{"addresses":[{"type":"InternalIP","address":"10.0.0.1"}]}}`, "nothing else"},
		"its kubelet's port":         {"node-a", `{"status":{"daemonEndpoints":{"kubeletEndpoint":{"Port":1}}}}`, "nothing else"},
		"a label":                    {"node-a", `{"metadata":{"labels":{"pool":"two"}}}`, "labels"},
		"a new label":                {"node-a", `{"metadata":{"labels":{"node-role.kubernetes.io/control-plane":""}}}`, "labels"},
		"an annotation":              {"node-a", `{"metadata":{"annotations":{"note":null}}}`, "annotations"},
		"a finalizer":                {"node-a", `{"metadata":{"finalizers":["example.com/keep"]}}`, "its status"},
		"lends, and a label with it": {"node-a", `{"metadata":{"labels":{"x":"y"}},"status":{"capacity":{"plimsoll.dev/batch-cpu":"1"}}}`, "labels"},
	} {
		t.Run(name, func(t *testing.T) {
			if err := patch(tc.node, tc.body, "status"); !refused(err, tc.want) {
				t.Errorf("%v, want a refusal that says %q", err, tc.want)
			}
		})
	}
	// The API server drops a change of the spec that comes with the status.
	_ = patch("node-a", `{"spec":{"taints":[{"key":"stolen","effect":"NoExecute"}],"unschedulable":true}}`, "status")
	for _, body := range []string{`{"spec":{"unschedulable":true}}`, `{"spec":{"taints":[{"key":"stolen","effect":"NoExecute"}]}}`, `{"metadata":{"labels":{"pool":"two"}}}`} {
		if err := patch("node-a", body); !apierrors.IsForbidden(err) {
			t.Errorf("patching the Node with %s: %v, want forbidden", body, err)
		}
	}
	isStolen := func(taint corev1.Taint) bool { return taint.Key == "stolen" } // beside those of the node controller
	for _, name := range []string{"node-a", "node-b"} {
		node, err := cp.client.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if cpu := node.Status.Capacity.Cpu(); slices.ContainsFunc(node.Spec.Taints, isStolen) || node.Spec.Unschedulable || node.Labels["pool"] != "one" || node.Annotations["note"] != "kept" || cpu.Value() != 8 {
			t.Errorf("%s was changed: %+v %+v, CPU %s", name, node.ObjectMeta, node.Spec, cpu)
		}
	}
}

func testUtilizationRights(t *testing.T, cp *controlPlane, a, unbound *agentClient) {
	ctx := t.Context()
	mine, others := asUnstructured(t, goodUtilization("node-a")), asUnstructured(t, goodUtilization("node-b"))
	client := a.objects.Resource(v1alpha1.NodeUtilizationResource())
	created, err := client.Create(ctx, mine, metav1.CreateOptions{})
	if err != nil {
		t.Fatalf("creating its own: %v", err)
	}
	created.Object["status"] = mine.Object["status"]
	if created, err = client.UpdateStatus(ctx, created, metav1.UpdateOptions{}); err != nil {
		t.Fatalf("updating its own: %v", err)
	}
	if _, err := client.Create(ctx, others, metav1.CreateOptions{}); !refused(err, "own node only") {
		t.Errorf("creating another's: %v", err)
	}
	if theirs, err := cp.utilizations().Create(ctx, others, metav1.CreateOptions{}); err != nil {
		t.Error(err)
	} else {
		theirs.Object["status"] = others.Object["status"]
		if _, err := client.UpdateStatus(ctx, theirs, metav1.UpdateOptions{}); !refused(err, "own node only") {
			t.Errorf("updating another's: %v", err)
		}
	}
	if _, err := unbound.objects.Resource(v1alpha1.NodeUtilizationResource()).UpdateStatus(ctx, created, metav1.UpdateOptions{}); !refused(err, "names no node") {
		t.Errorf("a token without a node: %v", err)
	}
	for _, name := range []string{"node-a", "node-b"} {
		if err := client.Delete(ctx, name, metav1.DeleteOptions{}); !apierrors.IsForbidden(err) {
			t.Errorf("deleting that of %s: %v, want forbidden", name, err)
		}
	}
}

func refused(err error, want string) bool {
	return apierrors.IsForbidden(err) && strings.Contains(err.Error(), want)
}

func testOtherRights(t *testing.T, cp *controlPlane, a *agentClient) {
	ctx, get, list := t.Context(), metav1.GetOptions{}, metav1.ListOptions{}
	core := a.CoreV1()
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p"}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "example.com/c"}}}}
	merge := func(body string) (types.PatchType, []byte, metav1.PatchOptions) {
		return types.MergePatchType, []byte(body), metav1.PatchOptions{}
	}
	for name, do := range map[string]func() error{
		"read a secret":        func() error { _, err := core.Secrets(systemNamespace).Get(ctx, "any", get); return err },
		"list secrets":         func() error { _, err := core.Secrets("").List(ctx, list); return err },
		"read a configuration": func() error { _, err := core.ConfigMaps(systemNamespace).Get(ctx, "any", get); return err },
		"list views": func() error {
			_, err := a.objects.Resource(v1alpha1.NodeUtilizationResource()).List(ctx, list)
			return err
		},
		"get a pod by name": func() error { _, err := core.Pods("default").Get(ctx, "any", get); return err },
		"create a pod":      func() error { _, err := core.Pods("default").Create(ctx, pod, metav1.CreateOptions{}); return err },
		"delete a pod":      func() error { return core.Pods(systemNamespace).Delete(ctx, "agent-node-a", metav1.DeleteOptions{}) },
		"read a pod's log": func() error {
			_, err := core.Pods(systemNamespace).GetLogs("agent-node-a", &corev1.PodLogOptions{}).DoRaw(ctx)
			return err
		},
		"delete its node": func() error { return core.Nodes().Delete(ctx, "node-a", metav1.DeleteOptions{}) },
		"reach a node's kubelet": func() error {
			_, err := core.RESTClient().Get().AbsPath("/api/v1/nodes/node-b/proxy/pods").DoRaw(ctx)
			return err
		},
		"make tokens": func() error {
			_, err := core.ServiceAccounts(systemNamespace).CreateToken(ctx, "plimsoll-agent", &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
			return err
		},
		"change the policies": func() error {
			return a.AdmissionregistrationV1().ValidatingAdmissionPolicyBindings().Delete(ctx, "plimsoll-agent", metav1.DeleteOptions{})
		},
		"give itself more rights": func() error {
			p, b, o := merge(`{"rules":[]}`)
			_, err := a.RbacV1().ClusterRoles().Patch(ctx, "plimsoll-agent", p, b, o)
			return err
		},
		"change its pod's status": func() error {
			p, b, o := merge(`{"status":{"phase":"Failed"}}`)
			_, err := core.Pods(systemNamespace).Patch(ctx, "agent-node-a", p, b, o, "status")
			return err
		},
		"be somebody else": func() error {
			config := rest.AnonymousClientConfig(cp.config)
			config.BearerToken, config.Impersonate.UserName = cp.agentToken(t, nil), "admin"
			client, err := kubernetes.NewForConfig(config)
			if err != nil {
				return err
			}
			_, err = client.CoreV1().Nodes().List(ctx, list)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			if err := do(); !apierrors.IsForbidden(err) {
				t.Errorf("%v, want forbidden", err)
			}
		})
	}
	// docs/security.md says so: RBAC cannot limit this to a node.
	pods, err := core.Pods("").List(ctx, list)
	if err != nil || len(pods.Items) == 0 {
		t.Errorf("listing pods, which the agent does with its node's name: %v", err)
	}
}
