package cluster

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/plimsoll/plimsoll/pkg/api/v1alpha1"
	"github.com/plimsoll/plimsoll/pkg/cgroup"
	"github.com/plimsoll/plimsoll/pkg/qos"
)

const (
	unplacedPods = 24
	// mostUnbounded is how long a batch container may run without its limits where there is no NRI. Beside other
	// work on the machine the time says more about that work, so it is held to where PLIMSOLL_MEASURE is set.
	mostUnbounded = 150 * time.Millisecond
)

// TestWithoutNRITheLoopBoundsBatchContainers runs a Job of batch pods on a node whose container runtime has NRI
// switched off, and watches the kernel for what its containers are held to.
func TestWithoutNRITheLoopBoundsBatchContainers(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("a real node needs root: run the tests as root to cover it")
	}
	n := startNode(t)
	n.switchNRI(t, false)
	if err := n.cluster.Install(t.Context(), filepath.Join(manifests, "overlays/local-batch")); err != nil {
		t.Fatal(err)
	}
	n.wantHook(t, "NotConnected", "within a fast tick")
	n.lend(t, 2000, 1<<30)
	t.Run("each container of a Job gets its limits", func(t *testing.T) { n.testUnplacedJob(t) })
	t.Run("containers of one pod get each its own", func(t *testing.T) { n.testUnplacedPair(t) })
	stays := n.startBatch(t, "stays")
	t.Run("the hook connects as soon as there is NRI, and what runs already stays limited", func(t *testing.T) { n.testNRIComesBack(t, stays) })
	t.Run("another plugin that sets the same fields blocks no pod", func(t *testing.T) { n.testRivalPlugin(t) })
	t.Run("release takes the limits off again", func(t *testing.T) { n.testReleaseUnplaced(t, stays) })
}

// switchNRI switches NRI on or off in the container runtime, and restarts that.
func (n *node) switchNRI(t *testing.T, on bool) {
	t.Helper()
	file := filepath.Join(n.cluster.Dir(), "config", "containerd.toml")
	config, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	setting := func(disable bool) []byte { return fmt.Appendf(nil, "nri.v1.nri']\n  disable = %v", disable) }
	switched := bytes.Replace(config, setting(on), setting(!on), 1)
	if bytes.Equal(switched, config) {
		t.Fatalf("no NRI to switch in %s", file)
	}
	if err := os.WriteFile(file, switched, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := n.cluster.Restart(t.Context(), "containerd"); err != nil {
		t.Fatal(err)
	}
}

// wantHook waits for what the agent says of the runtime hook.
func (n *node) wantHook(t *testing.T, reason, message string) {
	t.Helper()
	eventually(t, "the condition RuntimeHookReady to be "+reason, func(ctx context.Context) (bool, error) {
		s, err := n.utilization(ctx)
		if err != nil {
			return false, ignoreNotFound(err)
		}
		return slices.ContainsFunc(s.Conditions, func(c metav1.Condition) bool {
			return c.Type == v1alpha1.ConditionRuntimeHookReady && c.Reason == reason && strings.Contains(c.Message, message)
		}), nil
	})
}

// batchWork is a pod that asks for a tenth of a core and 32 MiB, may use twice that much CPU, and always wants a core.
func batchWork(args ...string) corev1.PodTemplateSpec {
	return corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{v1alpha1.ClassLabel: v1alpha1.BatchLabelValue}},
		Spec: corev1.PodSpec{
			HostNetwork: true, RestartPolicy: corev1.RestartPolicyNever, TerminationGracePeriodSeconds: ptr.To[int64](1),
			Containers: []corev1.Container{{
				Name: "work", Image: batchImage, ImagePullPolicy: corev1.PullNever, Args: append([]string{"--threads=1", "--listen="}, args...),
				Resources: corev1.ResourceRequirements{
					Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("100m"), corev1.ResourceMemory: resource.MustParse("32Mi")},
					Limits:   corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("200m")},
				},
			}},
		},
	}
}

// What pods of batchWork are held to as a whole, and each container itself. A pod has one container.
func heldPod() map[qos.Knob]string {
	return map[qos.Knob]string{qos.CPUQuota: "20000", qos.MemoryMax: "33554432", qos.PIDsMax: "4096"}
}

func heldContainer() map[qos.Knob]string {
	return map[qos.Knob]string{qos.CPUWeight: "17", qos.CPUQuota: "20000", qos.MemoryMax: "33554432", qos.PIDsMax: "4096"} // 102 shares
}

// sighting is when a container's group was first seen, and when first its pod, and it, were held to what they
// were given. weighed is when its weight came too, which counts among the containers of its pod only.
type sighting struct{ seen, pod, container, weighed time.Time }

// watchUnplaced looks at every group in besteffort pods, again and again, until done is closed.
func (n *node) watchUnplaced(done <-chan struct{}) map[string]*sighting {
	all := map[string]*sighting{}
	podAt := map[string]time.Time{}
	ticker := time.NewTicker(2 * time.Millisecond)
	defer ticker.Stop()
	for {
		select {
		case <-done:
			return all
		case <-ticker.C:
		}
		groups, err := n.host.Scan()
		if err != nil {
			continue // the next look is in a moment
		}
		for _, p := range groups.Pods {
			if p.Tier != cgroup.BestEffort {
				continue
			}
			if podAt[p.UID].IsZero() && n.holds(p.Path, heldPod()) {
				podAt[p.UID] = time.Now()
			}
			for _, c := range p.Containers {
				s := all[c.ID]
				if s == nil {
					s = &sighting{seen: time.Now()}
					all[c.ID] = s
				}
				s.pod = podAt[p.UID]
				if s.container.IsZero() && n.holds(c.Path, heldPod()) { // it is the pod's only one
					s.container = time.Now()
				}
				if s.weighed.IsZero() && n.holds(c.Path, heldContainer()) {
					s.weighed = time.Now()
				}
			}
		}
	}
}

func (n *node) holds(group string, want map[qos.Knob]string) bool {
	for knob, value := range want {
		if s, err := n.host.ReadSetting(group, knob); err != nil || s.Value != value {
			return false
		}
	}
	return true
}

func (n *node) testUnplacedJob(t *testing.T) {
	job := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: "unplaced"}, Spec: batchv1.JobSpec{
		Completions: ptr.To[int32](unplacedPods), Parallelism: ptr.To[int32](4), BackoffLimit: ptr.To[int32](0), Template: batchWork("--duration=3s"),
	}}
	done, sightings := make(chan struct{}), make(chan map[string]*sighting, 1)
	go func() { sightings <- n.watchUnplaced(done) }()
	n.createOnceConverted(t, job)
	var list *corev1.PodList
	waitAtMost(t, 3*patience, "the Job to complete", func(ctx context.Context) (bool, error) {
		now, err := n.client.BatchV1().Jobs(metav1.NamespaceDefault).Get(ctx, job.Name, metav1.GetOptions{})
		if err != nil {
			return false, err
		}
		list, err = n.client.CoreV1().Pods(metav1.NamespaceDefault).List(ctx, metav1.ListOptions{LabelSelector: "job-name=" + job.Name})
		return err == nil && now.Status.Succeeded == unplacedPods, err
	})
	close(done)
	all := <-sightings
	var limited, own, weighed []time.Duration
	for i := range list.Items {
		s := all[containerID(&list.Items[i])]
		switch {
		case s == nil:
			t.Errorf("the container of %s was never seen in besteffort", list.Items[i].Name)
		case s.pod.IsZero():
			t.Errorf("the container of %s was never held to what its pod was given: %+v", list.Items[i].Name, *s)
		case s.container.IsZero() || s.weighed.IsZero():
			t.Errorf("the container of %s never had its own limits: %+v", list.Items[i].Name, *s)
		default:
			limited, own, weighed = append(limited, s.pod.Sub(s.seen)), append(own, s.container.Sub(s.seen)), append(weighed, s.weighed.Sub(s.seen))
		}
	}
	if t.Failed() {
		return
	}
	report := func(what string, d []time.Duration) time.Duration {
		slices.Sort(d)
		p99 := d[(len(d)*99+99)/100-1]
		t.Logf("%s, from a container's group to the limit, %d containers: median %v, p99 %v, max %v", what, len(d), d[(len(d)-1)/2], p99, d[len(d)-1])
		return p99
	}
	for what, d := range map[string][]time.Duration{"held to what its pod was given": limited, "its own limits too": own} {
		if p99 := report(what, d); p99 > mostUnbounded && os.Getenv("PLIMSOLL_MEASURE") != "" {
			t.Errorf("%s: p99 of the time without limits is %v, more than %v", what, p99, mostUnbounded)
		}
	}
	report("its weight too", weighed)
}

// batchRun is a batch pod that runs: its own group, and its container's ID.
type batchRun struct{ group, container string }

// startBatch runs a pod of batchWork.
func (n *node) startBatch(t *testing.T, name string) (run batchRun) {
	t.Helper()
	template := batchWork()
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: template.Labels}, Spec: template.Spec}
	pods := n.client.CoreV1().Pods(metav1.NamespaceDefault)
	created, err := pods.Create(t.Context(), pod, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "pod "+name+" to run", func(ctx context.Context) (bool, error) {
		now, err := pods.Get(ctx, name, metav1.GetOptions{})
		if err != nil || now.Status.Phase != corev1.PodRunning {
			return false, err
		}
		run.container = containerID(now)
		return true, nil
	})
	if run.group, err = n.groupOf(string(created.UID)); err != nil {
		t.Fatal(err)
	}
	return run
}

// limited reports whether a batch pod that was not placed has all its limits.
func (n *node) limited(run batchRun) bool {
	return n.holds(run.group, heldPod()) && n.holds(run.group+"/"+run.container, heldContainer())
}

// testUnplacedPair runs a pod of two containers that were given different amounts.
func (n *node) testUnplacedPair(t *testing.T) {
	template := batchWork()
	small := *template.Spec.Containers[0].DeepCopy()
	small.Name, small.Resources.Requests[corev1.ResourceMemory], small.Resources.Limits[corev1.ResourceCPU] = "small", resource.MustParse("16Mi"), resource.MustParse("100m")
	template.Spec.Containers = append(template.Spec.Containers, small)
	pods := n.client.CoreV1().Pods(metav1.NamespaceDefault)
	pod, err := pods.Create(t.Context(), &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "pair", Labels: template.Labels}, Spec: template.Spec}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer n.deletePod(t, "pair")
	want := map[string]map[qos.Knob]string{"work": heldContainer(), "small": heldContainer()}
	want["small"][qos.CPUQuota], want["small"][qos.MemoryMax] = "10000", "16777216"
	eventually(t, "each container's own limits", func(ctx context.Context) (bool, error) {
		now, err := pods.Get(ctx, pod.Name, metav1.GetOptions{})
		group, groupErr := n.groupOf(string(pod.UID))
		if err != nil || groupErr != nil || len(now.Status.ContainerStatuses) != len(want) {
			return false, err
		}
		for _, s := range now.Status.ContainerStatuses {
			if _, id, _ := strings.Cut(s.ContainerID, "://"); id == "" || !n.holds(group+"/"+id, want[s.Name]) {
				return false, nil
			}
		}
		return true, nil
	})
}

func (n *node) testNRIComesBack(t *testing.T, stays batchRun) {
	eventually(t, "all limits", func(context.Context) (bool, error) { return n.limited(stays), nil })
	n.switchNRI(t, true)
	n.wantHook(t, "Connected", "when they are created")
	placed := n.startBatch(t, "placed")
	if !n.holds(n.host.BatchBranch()+"/"+placed.container, heldContainer()) {
		t.Error("a container that was created with the hook is not in the branch with its limits")
	}
	if !n.limited(stays) || len(n.tasks(stays.group+"/"+stays.container)) == 0 {
		t.Error("a container from before the hook lost its limits, or its place")
	}
}

// testReleaseUnplaced releases the node while a batch pod runs that was not placed.
func (n *node) testReleaseUnplaced(t *testing.T, stays batchRun) {
	n.deletePod(t, "placed")
	n.testRelease(t)
	free := map[qos.Knob]string{qos.CPUQuota: "max", qos.MemoryMax: "max", qos.PIDsMax: "max"}
	container := stays.group + "/" + stays.container
	if !n.holds(stays.group, free) || !n.holds(container, free) {
		t.Errorf("limits of %s are still there after a release", stays.group)
	}
	if !n.holds(container, map[qos.Knob]string{qos.CPUWeight: "1"}) {
		t.Error("the container's weight is not the kubelet's after a release")
	}
}
