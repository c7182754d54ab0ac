package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/util/cert"

	"github.com/plimsoll/plimsoll/pkg/api/v1alpha1"
)

// TestSchedulerBesideKueue has Kueue's own controller admit jobs to a queue on what nodes lend, and our scheduler place
// the pods of those it admits.
func TestSchedulerBesideKueue(t *testing.T) {
	kueue := filepath.Join(binDir(t), "kueue")
	if _, err := os.Stat(kueue); err != nil {
		t.Skip("no bin/kueue: hack/kueue.sh builds it (v0.17.0 or later)")
	}
	if os.Geteuid() != 0 {
		t.Skip("not root: Kueue reads its certificate below /etc, which is shown to it by a mount namespace of its own")
	}
	cp := startControlPlane(t)
	cp.applyKustomization(t, "base/scheduler")
	cp.installCRDs(t)
	startScheduler(t, cp)
	cp.startKueue(t, kueue)

	p := cp.newNodePair(t, "kueue")
	p.lend(t, "8000") // it is the queue's quota that holds the second job back
	p.publish(t, "a", 300, 0, 0)
	p.publish(t, "b", 2500, 0, 0)
	p.wantPicks(t, "a", nil, asksForBatch("100"))
	cp.applyQueues(t, "1500")

	first, second := p.createJob(t, "first", "1000"), p.createJob(t, "second", "1000")
	admitted := func(name string) *batchv1.Job {
		t.Helper()
		var job *batchv1.Job
		eventually(t, "job "+name+" to be admitted", func(ctx context.Context) (bool, error) {
			var err error
			job, err = cp.client.BatchV1().Jobs(metav1.NamespaceDefault).Get(ctx, name, metav1.GetOptions{})
			return err == nil && !*job.Spec.Suspend, err
		})
		return job
	}
	admitted(first)
	p.wantJobOn(t, first, "a")
	if job, err := cp.client.BatchV1().Jobs(metav1.NamespaceDefault).Get(t.Context(), second, metav1.GetOptions{}); err != nil || !*job.Spec.Suspend {
		t.Errorf("the second job is not held back although the quota is used up (%v)", err)
	}
	p.deleteJob(t, first)
	admitted(second)
	p.wantJobOn(t, second, "a")
}

// startKueue runs Kueue's controller without its webhooks: the test sets what they would default.
func (cp *controlPlane) startKueue(t *testing.T, bin string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(filepath.Dir(bin), "kueue-crds", "*.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no CRDs beside %s: %v; hack/kueue.sh gathers them", bin, err)
	}
	for _, file := range files {
		cp.applyDocuments(t, file, nil)
	}
	dir := t.TempDir()
	certs := filepath.Join(dir, "etc/kueue/metrics/certs")
	if err := os.MkdirAll(certs, 0o755); err != nil {
		t.Fatal(err)
	}
	crt, key, err := cert.GenerateSelfSignedCertKey("localhost", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{"tls.crt": crt, "tls.key": key} {
		if err := os.WriteFile(filepath.Join(certs, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	config := writeYAML(t, dir, "config.yaml", map[string]any{
		"apiVersion": "config.kueue.x-k8s.io/v1beta2", "kind": "Configuration", "namespace": systemNamespace,
		"health": map[string]any{"healthProbeBindAddress": fmt.Sprint("127.0.0.1:", freePort(t))}, "metrics": map[string]any{"bindAddress": "0"},
		"webhook":        map[string]any{"port": freePort(t), "certDir": certs},
		"leaderElection": map[string]any{"leaderElect": false}, "internalCertManagement": map[string]any{"enable": false},
		"integrations": map[string]any{"frameworks": []any{"batch/job"}},
	})
	var log bytes.Buffer
	cmd := exec.Command("unshare", "-m", "sh", "-c", `mount --bind "$0" /etc && exec "$@"`, filepath.Join(dir, "etc"),
		bin, "--config="+config, "--kubeconfig="+cp.kubeconfig, "--feature-gates=VisibilityOnDemand=false")
	cmd.Stdout, cmd.Stderr = &log, &log
	cmd.WaitDelay = 10 * time.Second
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
		if t.Failed() {
			lines := strings.Split(log.String(), "\n")
			t.Logf("the end of Kueue's log:\n%s", strings.Join(lines[max(0, len(lines)-40):], "\n"))
		}
	})
}

// applyQueues applies the queues of the example with another quota of CPU.
func (cp *controlPlane) applyQueues(t *testing.T, milliCPU string) {
	t.Helper()
	cp.applyDocuments(t, "../../examples/kueue/queues.yaml", func(object *unstructured.Unstructured) {
		if object.GetKind() != "ClusterQueue" {
			return
		}
		groups, _, _ := unstructured.NestedSlice(object.Object, "spec", "resourceGroups")
		flavor := groups[0].(map[string]any)["flavors"].([]any)[0].(map[string]any)
		flavor["resources"].([]any)[0].(map[string]any)["nominalQuota"] = milliCPU
		if err := unstructured.SetNestedSlice(object.Object, groups, "spec", "resourceGroups"); err != nil {
			t.Fatal(err)
		}
	})
}

// applyDocuments applies the documents of a file, as soon as their kinds are served.
func (cp *controlPlane) applyDocuments(t *testing.T, file string, change func(*unstructured.Unstructured)) {
	t.Helper()
	content, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer content.Close()
	decoder := utilyaml.NewYAMLOrJSONDecoder(content, 4096)
	for {
		object := &unstructured.Unstructured{}
		if err := decoder.Decode(&object.Object); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			t.Fatalf("decoding %s: %v", file, err)
		}
		if change != nil {
			change(object)
		}
		if gvk := object.GroupVersionKind(); gvk.Group == "kueue.x-k8s.io" {
			cp.waitServed(t, gvk)
		}
		cp.apply(t, object)
	}
}

func (cp *controlPlane) waitServed(t *testing.T, gvk schema.GroupVersionKind) {
	t.Helper()
	eventually(t, gvk.Kind+" to be served", func(context.Context) (bool, error) {
		list, err := cp.client.Discovery().ServerResourcesForGroupVersion(gvk.GroupVersion().String())
		if err != nil {
			return false, ignoreNotFound(err)
		}
		for i := range list.APIResources {
			if list.APIResources[i].Kind == gvk.Kind {
				return true, nil
			}
		}
		return false, nil
	})
}

// createJob makes a suspended job of one pod of the pair in the queue, as Kueue's webhook would leave it.
func (p *nodePair) createJob(t *testing.T, name, milliCPU string) string {
	t.Helper()
	yes := true
	request := corev1.ResourceList{v1alpha1.GroupName + "/batch-cpu": resource.MustParse(milliCPU)}
	job := &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"kueue.x-k8s.io/queue-name": "batch"}},
		Spec: batchv1.JobSpec{Suspend: &yes, Template: corev1.PodTemplateSpec{
			ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{v1alpha1.ClassLabel: v1alpha1.BatchLabelValue}},
			Spec: corev1.PodSpec{
				SchedulerName: p.schedulerName, RestartPolicy: corev1.RestartPolicyNever,
				NodeSelector: map[string]string{pairLabel: p.label}, Tolerations: []corev1.Toleration{{Operator: corev1.TolerationOpExists}},
				Containers: []corev1.Container{{Name: "main", Image: "none", Resources: corev1.ResourceRequirements{Requests: request, Limits: request}}},
			},
		}},
	}
	if _, err := p.cp.client.BatchV1().Jobs(metav1.NamespaceDefault).Create(t.Context(), job, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	return name
}

func (p *nodePair) deleteJob(t *testing.T, name string) {
	t.Helper()
	now, background := int64(0), metav1.DeletePropagationBackground
	err := p.cp.client.BatchV1().Jobs(metav1.NamespaceDefault).Delete(t.Context(), name, metav1.DeleteOptions{GracePeriodSeconds: &now, PropagationPolicy: &background})
	if err != nil {
		t.Fatal(err)
	}
}

// wantJobOn waits until the job has a pod on a node, and wants it to be this one.
func (p *nodePair) wantJobOn(t *testing.T, job, want string) {
	t.Helper()
	eventually(t, "a pod of job "+job+" to be bound", func(ctx context.Context) (bool, error) {
		pods, err := p.cp.client.CoreV1().Pods(metav1.NamespaceDefault).List(ctx, metav1.ListOptions{LabelSelector: "batch.kubernetes.io/job-name=" + job})
		if err != nil || len(pods.Items) == 0 || pods.Items[0].Spec.NodeName == "" {
			return false, err
		}
		if got := strings.TrimPrefix(pods.Items[0].Spec.NodeName, p.label+"-"); got != want {
			t.Errorf("the pod of job %s is on %s, want %s", job, got, want)
		}
		return true, nil
	})
}
