package cluster

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/plimsoll/plimsoll/pkg/api/v1alpha1"
)

// refused waits until the scheduler says of the pod that it fits no node, and why.
func (p *nodePair) refused(t *testing.T, pod *corev1.Pod, why string) {
	t.Helper()
	eventually(t, "pod "+pod.Name+" to be refused for "+why, func(ctx context.Context) (bool, error) {
		got, err := p.cp.client.CoreV1().Pods(pod.Namespace).Get(ctx, pod.Name, metav1.GetOptions{})
		if err != nil {
			return false, err
		}
		for _, c := range got.Status.Conditions {
			if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse && strings.Contains(c.Message, why) {
				return true, nil
			}
		}
		return false, nil
	})
}

// Of 4000, 95 % is 3800. The scheduler's own retry comes after five minutes, which is beyond the patience of
// the test: the pod is bound in time only if the measurement has it retried.
func testRefusedUntilANodeCools(t *testing.T, cp *controlPlane) {
	cp.installCRDs(t)
	p := cp.newNodePair(t, "hot")
	p.publish(t, "a", 3900, 0, 0)
	p.publish(t, "b", 3900, 0, 0)
	p.wantRefusal(t)
	pod := p.createPod(t, "", "300m", nil)
	p.refused(t, pod, "more CPU than is safe")
	p.publish(t, "b", 500, 0, 0)
	if got := p.picked(t, pod); got != "b" {
		t.Errorf("the pod went to %s, want the node that cooled", got)
	}
}

// wantRefusal waits until the scheduler has seen that both nodes are hot.
func (p *nodePair) wantRefusal(t *testing.T) {
	t.Helper()
	eventually(t, "both nodes to be seen as hot", func(ctx context.Context) (bool, error) {
		pod := p.createPod(t, "", "300m", nil)
		defer p.delete(pod)
		decided := false
		eventually(t, "a decision", func(ctx context.Context) (bool, error) {
			got, err := p.cp.client.CoreV1().Pods(pod.Namespace).Get(ctx, pod.Name, metav1.GetOptions{})
			if err != nil {
				return false, err
			}
			decided = got.Spec.NodeName == "" && len(got.Status.Conditions) > 0
			return decided || got.Spec.NodeName != "", nil
		})
		return decided, nil
	})
}

func testBatchNeedsAMeasurement(t *testing.T, cp *controlPlane) {
	cp.installCRDs(t)
	p := cp.newNodePair(t, "unknown")
	pod := p.createPod(t, "", "100m", map[string]string{v1alpha1.ClassLabel: v1alpha1.BatchLabelValue})
	p.refused(t, pod, "no measurement")
	p.publish(t, "a", 500, 0, 0)
	if got := p.picked(t, pod); got != "a" {
		t.Errorf("the pod went to %s, want the node that is measured", got)
	}
}

func testExplain(t *testing.T, cp *controlPlane, s *scheduler) {
	cp.installCRDs(t)
	const reader = "configz-reader"
	meta := metav1.ObjectMeta{Name: reader}
	if _, err := cp.client.CoreV1().ServiceAccounts(systemNamespace).Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: meta}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	token, err := cp.client.CoreV1().ServiceAccounts(systemNamespace).CreateToken(t.Context(), reader, &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(token.Status.Token), 0o600); err != nil {
		t.Fatal(err)
	}
	p := cp.newNodePair(t, "explained")
	p.publish(t, "a", 300, 0, 0)
	p.publish(t, "b", 2500, 0, 0)
	p.wantPicks(t, "a", nil)
	pod := p.createPod(t, "", "100m", nil)
	p.picked(t, pod)
	explain := func(ctx context.Context) (string, error) {
		var out bytes.Buffer
		cmd := exec.CommandContext(ctx, filepath.Join(cp.bin, "plimsoll"), "explain", "pod", pod.Namespace+"/"+pod.Name,
			"--scheduler", s.url, "--token-file", file, "--insecure-skip-tls-verify")
		cmd.Stdout, cmd.Stderr = &out, &out
		err := cmd.Run()
		return out.String(), err
	}
	if out, err := explain(t.Context()); err == nil || !strings.Contains(out, "403") {
		t.Errorf("without the right to it the record can be read: %v, %s", err, out)
	}
	role := &rbacv1.ClusterRole{ObjectMeta: meta, Rules: []rbacv1.PolicyRule{{NonResourceURLs: []string{"/configz"}, Verbs: []string{"get"}}}}
	if _, err := cp.client.RbacV1().ClusterRoles().Create(t.Context(), role, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: meta, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: reader},
		Subjects: []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: systemNamespace, Name: reader}},
	}
	if _, err := cp.client.RbacV1().ClusterRoleBindings().Create(t.Context(), binding, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the decision to be explained", func(ctx context.Context) (bool, error) {
		out, err := explain(ctx)
		if err != nil {
			return false, nil //nolint:nilerr // the scheduler remembers for ten seconds that it was forbidden
		}
		// b carries 2500m, its pressure as 408m, and this pod of 100m.
		for _, want := range []string{`Went to: +explained-a\n`, `\nexplained-b +0 +3008m +3008m +408m +0m +3200m `} {
			if !regexp.MustCompile(want).MatchString(out) {
				t.Errorf("explanation = %s\nwant it to match %q", out, want)
			}
		}
		return true, nil
	})
}
