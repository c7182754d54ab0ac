package cluster

import (
	"bytes"
	"context"
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
	n.switchNRIOff(t)
	for _, folder := range []string{filepath.Join(manifests, "overlays/local"), filepath.Join("testdata", "admission")} {
		if err := n.cluster.Install(t.Context(), folder); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "the agent to say that there is no hook, and what becomes of batch containers", func(ctx context.Context) (bool, error) {
		s, err := n.utilization(ctx)
		if err != nil {
			return false, ignoreNotFound(err)
		}
		return slices.ContainsFunc(s.Conditions, func(c metav1.Condition) bool {
			return c.Type == v1alpha1.ConditionRuntimeHookReady && c.Reason == "NotConnected" && strings.Contains(c.Message, "within a fast tick")
		}), nil
	})
	n.lend(t, 2000, 1<<30)
	t.Run("each container of a Job gets its limits", func(t *testing.T) { n.testUnplacedJob(t) })
	t.Run("release takes the limits off again", func(t *testing.T) { n.testReleaseUnplaced(t) })
}

func (n *node) switchNRIOff(t *testing.T) {
	t.Helper()
	file := filepath.Join(n.cluster.Dir(), "config", "containerd.toml")
	config, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	off := bytes.Replace(config, []byte("nri.v1.nri']\n  disable = false"), []byte("nri.v1.nri']\n  disable = true"), 1)
	if bytes.Equal(off, config) {
		t.Fatalf("no NRI to switch off in %s", file)
	}
	if err := os.WriteFile(file, off, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := n.cluster.Restart(t.Context(), "containerd"); err != nil {
		t.Fatal(err)
	}
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

// What containers of batchWork are held to: the pod as a whole, every group in it, and the container itself.
func heldPod() map[qos.Knob]string {
	return map[qos.Knob]string{qos.CPUQuota: "20000", qos.MemoryMax: "33554432"}
}
func heldGroup() map[qos.Knob]string { return map[qos.Knob]string{qos.PIDsMax: "4096"} }
func heldContainer() map[qos.Knob]string {
	return map[qos.Knob]string{qos.CPUWeight: "17", qos.CPUQuota: "20000", qos.MemoryMax: "33554432", qos.PIDsMax: "4096"} // 102 shares
}

// sighting is when a group was first seen, and when first with what it is to be held to.
type sighting struct{ seen, pod, group, container time.Time }

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
				if s.group.IsZero() && n.holds(c.Path, heldGroup()) {
					s.group = time.Now()
				}
				if s.container.IsZero() && n.holds(c.Path, heldContainer()) {
					s.container = time.Now()
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
	var limited, own []time.Duration
	for i := range list.Items {
		s := all[containerID(&list.Items[i])]
		switch {
		case s == nil:
			t.Errorf("the container of %s was never seen in besteffort", list.Items[i].Name)
		case s.pod.IsZero() || s.group.IsZero():
			t.Errorf("the container of %s was never held to what its pod was given: %+v", list.Items[i].Name, *s)
		case s.container.IsZero():
			t.Errorf("the container of %s never had its own limits: %+v", list.Items[i].Name, *s)
		default:
			right := s.group
			if s.pod.After(right) {
				right = s.pod
			}
			limited, own = append(limited, right.Sub(s.seen)), append(own, s.container.Sub(s.seen))
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
	if p99 := report("held to what its pod was given", limited); p99 > mostUnbounded && os.Getenv("PLIMSOLL_MEASURE") != "" {
		t.Errorf("p99 of the time without limits is %v, more than %v", p99, mostUnbounded)
	}
	report("its own limits too", own)
}

// testReleaseUnplaced releases the node while a batch pod runs.
func (n *node) testReleaseUnplaced(t *testing.T) {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "stays"}}
	template := batchWork()
	pod.Labels, pod.Spec = template.Labels, template.Spec
	pods := n.client.CoreV1().Pods(metav1.NamespaceDefault)
	created, err := pods.Create(t.Context(), pod, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var container string
	eventually(t, "the pod to run", func(ctx context.Context) (bool, error) {
		now, err := pods.Get(ctx, pod.Name, metav1.GetOptions{})
		if err != nil || now.Status.Phase != corev1.PodRunning {
			return false, err
		}
		container = containerID(now)
		return true, nil
	})
	group, err := n.groupOf(string(created.UID))
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "all limits", func(context.Context) (bool, error) {
		return n.holds(group, heldPod()) && n.holds(group+"/"+container, heldContainer()), nil
	})
	n.testRelease(t)
	free := map[qos.Knob]string{qos.CPUQuota: "max", qos.MemoryMax: "max"}
	if !n.holds(group, free) || !n.holds(group+"/"+container, free) || n.holds(group+"/"+container, map[qos.Knob]string{qos.PIDsMax: "4096"}) {
		t.Errorf("limits of %s are still there after a release", group)
	}
	if !n.holds(group+"/"+container, map[qos.Knob]string{qos.CPUWeight: "1"}) {
		t.Error("the container's weight is not the kubelet's after a release")
	}
}
