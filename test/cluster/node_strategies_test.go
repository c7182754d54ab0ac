package cluster

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/plimsoll/plimsoll/pkg/api/v1alpha1"
	"github.com/plimsoll/plimsoll/pkg/cgroup"
	"github.com/plimsoll/plimsoll/pkg/qos"
	"github.com/plimsoll/plimsoll/pkg/qos/all"
)

// TestTheKubeletRestartsUnderEveryStrategy has every strategy that there is enforce on a real node, with a batch
// pod and a service that it harms, and restarts the kubelet: it sets up its own groups when it starts, and must
// find nothing in them that it cannot write over. Then the node is frozen by hand.
func TestTheKubeletRestartsUnderEveryStrategy(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("a real node needs root: run the tests as root to cover it")
	}
	n := startNode(t)
	n.installStrategies(t)
	batch := n.startPod(t, "batch", map[string]string{v1alpha1.ClassLabel: v1alpha1.BatchLabelValue}, "plimsoll-scheduler")
	service := n.startPod(t, "service", nil, "", "--threads=1") // at real-time priority: the rest of the node needs a CPU
	asks := fmt.Sprintf(`{"metadata":{"annotations":{%q:"true",%q:"1"}}}`, v1alpha1.RealtimeAnnotation, v1alpha1.WholeCoresAnnotation)
	if _, err := n.client.CoreV1().Pods(service.Namespace).Patch(t.Context(), service.Name, types.MergePatchType, []byte(asks), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	in := func(group string, knob qos.Knob) string {
		s, err := n.host.ReadSetting(group, knob)
		if err != nil {
			t.Log(err)
		}
		return s.Value
	}
	group, err := n.groupOf(string(service.UID))
	if err != nil {
		t.Fatal(err)
	}
	allowed, err := n.host.AllowedCPUs()
	if err != nil {
		t.Fatal(err)
	}
	narrow := func() bool { // the service has a core without batch, where there is more than one
		cpus, err := qos.ParseCPUs(in(n.host.BatchBranch(), qos.CPUSetCPUs))
		return len(allowed) < 2 || err == nil && len(cpus) > 0 && len(cpus) < len(allowed)
	}
	for what, is := range map[string]func() bool{
		"batchidle": func() bool { return in(n.host.BatchBranch(), qos.CPUIdle) == "1" },
		"batchcap":  func() bool { return in(n.host.BatchBranch(), qos.CPUQuota) != "max" }, "batchcpuset": narrow,
	} {
		n.hasSet(t, what, is)
	}
	t.Run("realtime gives the service priority", func(t *testing.T) {
		n.needRealtimeBudget(t)
		n.hasSet(t, "realtime", func() bool { return strings.HasPrefix(in(group+"/"+containerID(service), qos.CPUPolicy), "rr 1") })
	})
	before := in(n.host.BatchBranch(), qos.CPUQuota)

	t.Run("the kubelet comes up and the pods run on", func(t *testing.T) { n.testKubeletRestart(t, batch, service) })
	t.Run("its groups are as it wants them", func(t *testing.T) {
		for _, tier := range []string{"burstable", "besteffort"} {
			if got := in(n.host.Kubepods+"/"+tier, qos.CPUIdle); got == "1" {
				t.Errorf("cpu.idle of the tier %s is 1", tier)
			}
			if got := in(n.host.Kubepods+"/"+tier, qos.CPUQuota); got != "max" {
				t.Errorf("the quota of the tier %s is %s", tier, got)
			}
		}
		if got := in(n.host.BatchBranch(), qos.CPUQuota); got == "max" {
			t.Errorf("the branch's quota was %s and is gone", before)
		}
	})
	t.Run("batch is still kept off the service's core, and a new batch container starts beside it", func(t *testing.T) {
		if !narrow() {
			t.Errorf("the branch may use %s, of %v", in(n.host.BatchBranch(), qos.CPUSetCPUs), allowed)
		}
		late := n.startPod(t, "late", map[string]string{v1alpha1.ClassLabel: v1alpha1.BatchLabelValue}, "plimsoll-scheduler")
		want, got := in(n.host.BatchBranch(), qos.CPUSetCPUs), in(n.host.BatchBranch()+"/"+containerID(late), qos.CPUSetCPUs)
		if n.host.Mode != cgroup.V2 && got != want {
			t.Errorf("a new batch container may use %s, want what the branch may, %s", got, want)
		}
	})
	t.Run("freeze and unfreeze reach the node", func(t *testing.T) { n.testFreeze(t) })
}

// hasSet waits for what a strategy is for. Where it does not come, it tells what the agent has to say.
func (n *node) hasSet(t *testing.T, strategy string, is func() bool) {
	t.Helper()
	waited := wait.PollUntilContextTimeout(t.Context(), 20*time.Millisecond, 2*patience, true, func(context.Context) (bool, error) { return is(), nil })
	if waited == nil {
		return
	}
	if s, err := n.utilization(t.Context()); err != nil {
		t.Log(err)
	} else {
		t.Logf("of the node: classes %+v, changes %+v, conditions %+v", s.Classes, s.Changes, s.Conditions)
	}
	t.Fatalf("strategy %s has not set what it is for: %v", strategy, waited)
}

// needRealtimeBudget skips where the cluster has no real-time budget: the kernel has one to share, and a group of
// another cluster or program may have taken it before.
func (n *node) needRealtimeBudget(t *testing.T) {
	t.Helper()
	groups, err := filepath.Glob(filepath.Join(n.host.Dir("cpu", "/"), "*", "cpu.rt_runtime_us"))
	if err != nil {
		t.Fatal(err)
	}
	own, others := "", []string(nil)
	for _, file := range groups {
		b, err := os.ReadFile(file)
		budget := strings.TrimSpace(string(b))
		switch group := filepath.Base(filepath.Dir(file)); {
		case err != nil: // it is gone
		case "/"+group == n.cluster.CgroupRoot():
			own = budget
		case budget != "0":
			others = append(others, group+" has "+budget)
		}
	}
	if own == "0" && len(others) > 0 {
		t.Skipf("needs a machine whose real-time budget no other group has: %s", strings.Join(others, ", "))
	}
	t.Logf("the cluster's real-time budget: %q", own)
}

// installStrategies installs the agent of the local overlay with every strategy in mode Enforce.
func (n *node) installStrategies(t *testing.T) {
	t.Helper()
	args := map[string]string{
		"realtime":    fmt.Sprintf(`{namespaces: [%s], nodeBudgetMicroseconds: 820000, podsBudgetMicroseconds: 300000}`, corev1.NamespaceDefault), // the service spins, and the rest has to run
		"batchidle":   `{windowSeconds: 3600}`,                                                                                                    // no slice while this test looks
		"batchcpuset": fmt.Sprintf(`{namespaces: [%s]}`, corev1.NamespaceDefault),
		"batchcap":    `{calmLinePermille: 800}`, // a quota also where real-time priority came before any harm was seen
	}
	config := fmt.Sprintf("apiVersion: %s\nkind: AgentConfiguration\nlending: {mode: Enforce}\nruntimeHook: {mode: Enforce}\nstrategies:\n", v1alpha1.APIVersion)
	for _, f := range all.Factories() {
		config += fmt.Sprintf("- {name: %s, mode: Enforce", f.Name)
		if a, ok := args[f.Name]; ok {
			config += ", args: " + a
		}
		config += "}\n"
	}
	n.installConfigured(t, config, "cpuset")
	eventually(t, "the agent to protect and publish the node", func(ctx context.Context) (bool, error) {
		s, err := n.utilization(ctx)
		return err == nil && isTrue(s, v1alpha1.ConditionBatchProtected) && isTrue(s, v1alpha1.ConditionRuntimeHookReady), ignoreNotFound(err)
	})
}

func (n *node) testFreeze(t *testing.T) {
	plimsoll := func(args ...string) {
		t.Helper()
		out, err := exec.CommandContext(t.Context(), filepath.Join(binDir(t), "plimsoll"), append(args, "--kubeconfig", n.cluster.Kubeconfig())...).CombinedOutput()
		if err != nil {
			t.Fatalf("plimsoll %v: %v: %s", args, err, out)
		}
	}
	reason := func(what string, want bool) {
		t.Helper()
		began := time.Now()
		eventually(t, what, func(ctx context.Context) (bool, error) {
			s, err := n.utilization(ctx)
			return err == nil && s.Lendable != nil && strings.Contains(s.Lendable.Reason, "frozen by hand until") == want, err
		})
		t.Logf("%s after %v", what, time.Since(began))
	}
	plimsoll("freeze", n.cluster.NodeName(), "--for", "1h")
	reason("the node says that it is frozen", true)
	plimsoll("unfreeze", "all")
	reason("the node says so no more", false)
}
