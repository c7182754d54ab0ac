package localcluster

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"golang.org/x/sync/errgroup"
)

// grant binds rules, or an existing role when there are none, to a user.
type grant struct {
	name, role, user string
	rules            []rbacv1.PolicyRule
}

// grants are what the components need beyond the roles that the API server makes by itself.
func grants() []grant {
	rule := func(group string, resources []string, verbs ...string) rbacv1.PolicyRule {
		return rbacv1.PolicyRule{APIGroups: []string{group}, Resources: resources, Verbs: verbs}
	}
	return []grant{
		{name: "plimsoll-local:kubelet-api", role: "system:kubelet-api-admin", user: kubeletClientUser},
		// The scheduler runs as a process here; as a pod it has its own manifest.
		{name: "plimsoll-local:scheduler", user: "system:kube-scheduler", rules: []rbacv1.PolicyRule{
			rule("plimsoll.dev", []string{"*"}, "get", "list", "watch"),
		}},
		{name: "plimsoll-local:kwok", user: kwokUser, rules: []rbacv1.PolicyRule{
			rule("", []string{"nodes"}, "get", "list", "watch", "patch", "update"),
			rule("", []string{"nodes/status", "pods/status"}, "patch", "update"),
			rule("", []string{"pods"}, "get", "list", "watch", "patch", "update", "delete"),
			rule("", []string{"events"}, "create", "patch", "update"),
			rule("coordination.k8s.io", []string{"leases"}, "get", "list", "watch", "create", "patch", "update", "delete"),
		}},
	}
}

// bootstrap makes the cluster's first objects, and waits for what pods cannot be made without.
func (i *Instance) bootstrap(ctx context.Context, c kubernetes.Interface, p *progress) error {
	step := p.start("setting up roles")
	for _, g := range grants() {
		if err := g.apply(ctx, c); err != nil {
			return err
		}
	}
	// Made by the controller manager; a pod made before it is refused.
	err := poll(ctx, func(ctx context.Context) (bool, error) {
		_, err := c.CoreV1().ServiceAccounts("default").Get(ctx, "default", metav1.GetOptions{})
		return err == nil, nil
	})
	if err != nil {
		return fmt.Errorf("waiting for the default service account: %w", err)
	}
	step.done("roles and default service account made")
	return nil
}

func (g grant) apply(ctx context.Context, c kubernetes.Interface) error {
	role := g.role
	if role == "" {
		role = g.name
		obj := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: g.name}, Rules: g.rules}
		if _, err := c.RbacV1().ClusterRoles().Create(ctx, obj, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
			return fmt.Errorf("making role %s: %w", g.name, err)
		}
	}
	obj := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: g.name},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: g.user}},
	}
	if _, err := c.RbacV1().ClusterRoleBindings().Create(ctx, obj, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("binding role %s: %w", g.name, err)
	}
	return nil
}

func waitNode(ctx context.Context, c kubernetes.Interface, name string) error {
	err := poll(ctx, func(ctx context.Context) (bool, error) {
		n, err := c.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
		return err == nil && nodeReady(n), nil
	})
	if err != nil {
		return fmt.Errorf("waiting for node %s: %w", name, err)
	}
	return nil
}

func nodeReady(n *corev1.Node) bool {
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// makeSimulatedNodes creates the nodes that kwok runs and waits until it has made all of them ready.
func (i *Instance) makeSimulatedNodes(ctx context.Context) error {
	c, err := i.client()
	if err != nil {
		return err
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(16)
	for n := range i.SimulatedNodes {
		g.Go(func() error {
			node := simulatedNode(n)
			if _, err := c.CoreV1().Nodes().Create(gctx, node, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
				return fmt.Errorf("making simulated node %s: %w", node.Name, err)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	err = poll(ctx, func(ctx context.Context) (bool, error) {
		nodes, err := c.CoreV1().Nodes().List(ctx, metav1.ListOptions{LabelSelector: SimulatedLabel + "=true"})
		ready := 0
		if err == nil { // else it is asked again, until time is up
			for n := range nodes.Items {
				if nodeReady(&nodes.Items[n]) {
					ready++
				}
			}
		}
		return ready >= i.SimulatedNodes, nil
	})
	if err != nil {
		return fmt.Errorf("waiting for simulated nodes: %w", err)
	}
	return nil
}

// simulatedNode is one of a fleet of mid-size servers spread over three zones.
func simulatedNode(n int) *corev1.Node {
	name := fmt.Sprintf("simulated-%04d", n)
	resources := corev1.ResourceList{
		corev1.ResourceCPU: resource.MustParse("32"), corev1.ResourceMemory: resource.MustParse("128Gi"),
		corev1.ResourceEphemeralStorage: resource.MustParse("500Gi"), corev1.ResourcePods: resource.MustParse("110"),
	}
	allocatable := resources.DeepCopy()
	allocatable[corev1.ResourceCPU] = resource.MustParse("31500m")
	allocatable[corev1.ResourceMemory] = resource.MustParse("124Gi")
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{
			SimulatedLabel: "true", corev1.LabelHostname: name, corev1.LabelOSStable: "linux", corev1.LabelArchStable: "amd64",
			corev1.LabelTopologyZone: fmt.Sprintf("zone-%c", 'a'+n%3), corev1.LabelTopologyRegion: "simulated",
		}},
		Status: corev1.NodeStatus{Capacity: resources, Allocatable: allocatable},
	}
}

// poll asks until the answer is yes, an error, or ctx ends.
func poll(ctx context.Context, ask func(context.Context) (bool, error)) error {
	for {
		if yes, err := ask(ctx); yes || err != nil {
			return err
		}
		select {
		case <-time.After(pollInterval):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
