package systemdnode

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/plimsoll/plimsoll/pkg/api/v1alpha1"
	"github.com/plimsoll/plimsoll/pkg/cgroup"
)

// coreScheduling says whether threads can have core cookies here.
func coreScheduling() bool {
	_, err := cgroup.Cookie(0)
	return err == nil
}

// cookies is the core cookies of all threads of a group, each once.
func (n *node) cookies(t *testing.T, group string) []uint64 {
	t.Helper()
	threads, err := cgroup.ThreadsBelow(n.host.Dir("cpu", group), "cgroup.threads")
	if err != nil || len(threads) == 0 {
		t.Fatalf("threads of %s: %v, %v", group, threads, err)
	}
	var all []uint64
	for _, thread := range threads {
		cookie, err := cgroup.Cookie(thread)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Contains(all, cookie) {
			all = append(all, cookie)
		}
	}
	return all
}

// groupOf is the group of a pod's only container.
func (n *node) groupOf(t *testing.T, pod *corev1.Pod) string {
	t.Helper()
	_, id, _ := strings.Cut(pod.Status.ContainerStatuses[0].ContainerID, "//")
	groups, err := n.host.Scan()
	if err != nil {
		t.Fatal(err)
	}
	containers := groups.BatchContainers
	for _, p := range groups.Pods {
		containers = append(containers, p.Containers...)
	}
	i := slices.IndexFunc(containers, func(c cgroup.Container) bool { return c.ID == id })
	if i < 0 {
		t.Fatalf("no group is of container %s", id)
	}
	return containers[i].Path
}

// testCoreScheduling has a service ask that batch shares no core with it, and ask no more.
func (n *node) testCoreScheduling(t *testing.T) {
	if !coreScheduling() {
		t.Skip("needs core scheduling and CPUs of several threads a core: hack/vm-kernel.sh --from-source builds a kernel with it")
	}
	pods := n.client.CoreV1().Pods(metav1.NamespaceDefault)
	service, err := pods.Create(t.Context(), &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "asks", Annotations: map[string]string{v1alpha1.UnsharedCoresAnnotation: "true"}},
		Spec: corev1.PodSpec{
			NodeName: nodeName, HostNetwork: true, TerminationGracePeriodSeconds: new(int64(1)),
			Containers: []corev1.Container{{
				Name: "work", Image: workImage, ImagePullPolicy: corev1.PullNever, Resources: corev1.ResourceRequirements{Requests: resources("100m", "32Mi")},
			}},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	until(t, "the service to run", func(ctx context.Context) (bool, error) {
		service, err = pods.Get(ctx, service.Name, metav1.GetOptions{})
		return err == nil && service.Status.Phase == corev1.PodRunning, err
	})
	batch := n.groupOf(t, n.second)
	until(t, "batch to have one core cookie", func(context.Context) (bool, error) {
		got := n.cookies(t, batch)
		return len(got) == 1 && got[0] != 0, nil
	})
	if got := n.cookies(t, n.groupOf(t, service)); !slices.Equal(got, []uint64{0}) {
		t.Errorf("the service that asks has cookies %d, want none", got)
	}
	patch := fmt.Sprintf(`{"metadata":{"annotations":{%q:null}}}`, v1alpha1.UnsharedCoresAnnotation)
	if _, err := pods.Patch(t.Context(), service.Name, types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	until(t, "batch to have no core cookie any more", func(context.Context) (bool, error) {
		return slices.Equal(n.cookies(t, batch), []uint64{0}), nil
	})
}
