package agent

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/plimsoll/plimsoll/pkg/api/v1alpha1"
	"github.com/plimsoll/plimsoll/pkg/usage"
)

const gib = 1 << 30

func enforcing(node *nodeStatus) *lending {
	c := v1alpha1.DefaultAgentConfiguration().Lending
	c.Mode, c.RaiseAfterSeconds = v1alpha1.ModeEnforce, 10
	l := newLending(c, 5*time.Second, node)
	for ago := 8 * 24 * time.Hour; ago > 0; ago -= usage.SlotLength {
		l.learn(aQuietNode(-ago))
	}
	return l
}

// aQuietNode has 8 cores and 32 GiB, of which online pods use 1 core and 4 GiB, and the system 0.2 and 1.
func aQuietNode(after time.Duration) lendInputs {
	return lendInputs{
		now: at.Add(after), capacity: v1alpha1.Resources{MilliCPU: 8000, MemoryBytes: 32 * gib},
		onlineCPU: usage.Of(1000), onlineMemory: usage.Of(4 * gib), onlineNow: usage.Of(1000),
		systemCPU: usage.Of(200), systemMemory: usage.Of(gib),
	}
}

// settle takes a quiet node's measurements for 20 seconds.
func settle(t *testing.T, l *lending) *v1alpha1.Lendable {
	t.Helper()
	var got *v1alpha1.Lendable
	for s := range 20 {
		got = l.step(aQuietNode(time.Duration(s) * time.Second))
	}
	if got == nil || got.MilliCPU.Published == 0 || got.MemoryBytes.Published == 0 {
		t.Fatalf("lendable = %+v, want something", got)
	}
	return got
}

func TestTheSumCanBeChecked(t *testing.T) {
	got := settle(t, enforcing(nil))
	for name, s := range map[string]v1alpha1.LendableSum{"CPU": got.MilliCPU, "memory": got.MemoryBytes} {
		if want := s.SafeLine - s.System - s.ForecastPeak - s.Margin; s.Computed != want {
			t.Errorf("%s: computed %d, the published terms give %d", name, s.Computed, want)
		}
		if s.Published > s.Computed || s.Published < s.Computed*9/10 {
			t.Errorf("%s: published %d of %d, want all but the unit's rest", name, s.Published, s.Computed)
		}
	}
	if got.MilliCPU.SafeLine != 6400 || got.MilliCPU.System != 200 || got.MilliCPU.ForecastPeak < 1000 {
		t.Errorf("CPU %+v, want a safe line of 6400, a system share of 200 and a peak of at least 1000", got.MilliCPU)
	}
}

func TestASwingCountsAtTheNextTick(t *testing.T) {
	l := enforcing(nil)
	before := settle(t, l)
	in := aQuietNode(20 * time.Second)
	in.onlineNow = usage.Of(4000) // the window's average is still near 1000
	got := l.step(in)
	if want := before.MilliCPU.Computed - (4000 - before.MilliCPU.ForecastPeak); got.MilliCPU.Computed != want || got.MilliCPU.Published > want {
		t.Errorf("computed %d, published %d; want %d at once", got.MilliCPU.Computed, got.MilliCPU.Published, want)
	}
}

func TestNothingIsLentWithoutAFreshMeasurement(t *testing.T) {
	for name, forget := range map[string]func(*lendInputs){
		"online CPU":    func(in *lendInputs) { in.onlineNow = usage.Reading{} },
		"online memory": func(in *lendInputs) { in.onlineMemory = usage.Reading{} },
		"system CPU":    func(in *lendInputs) { in.systemCPU = usage.Reading{} },
		"system memory": func(in *lendInputs) { in.systemMemory = usage.Reading{Value: -5, OK: true} },
	} {
		l := enforcing(nil)
		settle(t, l)
		for s, wantSome := range map[int]bool{1: true, 10: false} { // patience is 5 s
			l := enforcing(nil)
			settle(t, l)
			in := aQuietNode(time.Duration(19+s) * time.Second)
			forget(&in)
			if got := l.step(in); (got != nil) != wantSome {
				t.Errorf("%s missing for %d s: lendable %+v, want some: %v", name, s, got, wantSome)
			}
		}
	}
	l := enforcing(nil)
	in := aQuietNode(0)
	in.capacity = v1alpha1.Resources{}
	if got := l.step(in); got != nil {
		t.Errorf("a node without capacity lends %+v", got)
	}
}

func TestTheNodeOffersAtLeastWhatItsPodsWereLent(t *testing.T) {
	node := &nodeStatus{wake: make(chan struct{}, 1)}
	l := enforcing(node)
	settle(t, l)
	in := aQuietNode(20 * time.Second)
	in.onlineNow = usage.Of(8000) // nothing is left
	in.loans = map[string]v1alpha1.Resources{"a": {MilliCPU: 1500, MemoryBytes: gib}, "new": {MilliCPU: 500}}
	in.pods = []v1alpha1.PodUtilization{
		{UID: "a", Class: v1alpha1.ClassBatch, Resources: v1alpha1.Resources{MilliCPU: 1000, MemoryBytes: 2 * gib}},
		{UID: "b", Class: v1alpha1.ClassBatch, Resources: v1alpha1.Resources{MilliCPU: 70}}, // asked for nothing
		{UID: "c", Class: v1alpha1.ClassLatencySensitive, Resources: v1alpha1.Resources{MilliCPU: 900}},
	}
	got := l.step(in)
	want := v1alpha1.LendableSum{
		SafeLine: 6400, System: 200, ForecastPeak: 8000, Margin: got.MilliCPU.Margin, Computed: 0,
		Published: 2000, Lent: 2000, LentUnused: 500, UsedBeyondLent: 70,
	}
	if diff := cmp.Diff(want, got.MilliCPU); diff != "" {
		t.Errorf("CPU (-want +got):\n%s", diff)
	}
	if got.MemoryBytes.UsedBeyondLent != gib || !strings.Contains(got.Reason, "held at") {
		t.Errorf("memory %+v, reason %q; want 1 GiB beyond, and the reason", got.MemoryBytes, got.Reason)
	}
	if o := node.want.Load(); o == nil || o.amounts.MilliCPU != 2000 {
		t.Errorf("the node offers %+v, want 2000 milli-cores", o)
	}
	l.stop(in.loans)
	if o := node.want.Load(); o.withdrawn || o.amounts != (v1alpha1.Resources{MilliCPU: 2000, MemoryBytes: gib}) {
		t.Errorf("a blind agent's node offers %+v, want what is lent and no more", o)
	}
}

func TestTheNodeOffersNothingUnlessLendingEnforces(t *testing.T) {
	for _, mode := range []v1alpha1.Mode{v1alpha1.ModeOff, v1alpha1.ModeObserve} {
		node := &nodeStatus{wake: make(chan struct{}, 1)}
		l := enforcing(node)
		l.config.Mode = mode
		var got *v1alpha1.Lendable
		for s := range 20 {
			got = l.step(aQuietNode(time.Duration(s) * time.Second))
		}
		if o := node.want.Load(); o == nil || !o.withdrawn {
			t.Errorf("%s: the node offers %+v, want the resources withdrawn", mode, o)
		}
		if (got != nil) != (mode == v1alpha1.ModeObserve) {
			t.Errorf("%s: lendable %+v", mode, got)
		}
	}
}

func TestAnAgentThatDoesNotLendWithdrawsOnceAndLeavesTheNodeAlone(t *testing.T) {
	n, err := newNodeStatus(nowhere(), "n1", newMetrics(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	n.set(offer{withdrawn: true})
	if err := n.reconcile(t.Context()); err != nil || n.want.Load() == nil {
		t.Errorf("before the Node was seen: %v, want %+v; nothing was withdrawn yet", err, n.want.Load())
	}
	list := corev1.ResourceList{v1alpha1.BatchCPUResource: resource.MustParse("5")}
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}, Status: corev1.NodeStatus{Capacity: list}}
	if err := n.informer.GetStore().Add(node); err != nil {
		t.Fatal(err)
	}
	if err := n.reconcile(t.Context()); err == nil { // nowhere answers no write
		t.Error("what another agent offered was not withdrawn")
	}
	if err := n.informer.GetStore().Update(&corev1.Node{ObjectMeta: node.ObjectMeta}); err != nil {
		t.Fatal(err)
	}
	if err := n.reconcile(t.Context()); err != nil {
		t.Error(err)
	}
	if err := n.informer.GetStore().Update(node); err != nil { // somebody lends by hand
		t.Fatal(err)
	}
	n.set(offer{withdrawn: true})
	if err := n.reconcile(t.Context()); err != nil || n.want.Load() != nil {
		t.Errorf("%v, want %+v; the Node is not left alone", err, n.want.Load())
	}
}

func TestAnOfferIsWholeNumbersInBothPlacesOfANode(t *testing.T) {
	o := offer{amounts: v1alpha1.Resources{MilliCPU: 2500, MemoryBytes: 3 * gib}}
	body, err := o.patch()
	if err != nil {
		t.Fatal(err)
	}
	const resources = `{"plimsoll.dev/batch-cpu":"2500","plimsoll.dev/batch-memory":"3Gi"}`
	if diff := cmp.Diff(`{"status":{"allocatable":`+resources+`,"capacity":`+resources+`}}`, string(body)); diff != "" {
		t.Errorf("patch (-want +got):\n%s", diff)
	}
	list := corev1.ResourceList{
		v1alpha1.BatchCPUResource: resource.MustParse("2500"), v1alpha1.BatchMemoryResource: resource.MustParse("3221225472"),
		"nvidia.com/gpu": resource.MustParse("1"),
	}
	node := &corev1.Node{Status: corev1.NodeStatus{Capacity: list, Allocatable: list}}
	withdrawn := offer{withdrawn: true}
	if !o.holds(node) || withdrawn.holds(node) {
		t.Error("a node that offers it does not count as so")
	}
	// What the kubelet does when it starts.
	node.Status.Capacity = corev1.ResourceList{v1alpha1.BatchCPUResource: resource.MustParse("0"), v1alpha1.BatchMemoryResource: resource.MustParse("0")}
	if o.holds(node) {
		t.Error("a node whose capacity was set to 0 counts as one that offers it")
	}
	if none := (&corev1.Node{}); o.holds(none) || !withdrawn.holds(none) {
		t.Error("a node that was registered anew offers nothing")
	}
	if want := `-p '{"status":{"allocatable":{"plimsoll.dev/batch-cpu":null,"plimsoll.dev/batch-memory":null},"capacity":{`; !strings.Contains(WithdrawCommand("n1"), want) {
		t.Errorf("command %q, want it to contain %q", WithdrawCommand("n1"), want)
	}
}

func TestWorkloadsAreNamedByTheirTopmostOwner(t *testing.T) {
	owned := func(kind, name string, labels map[string]string) *corev1.Pod {
		yes := true
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "pay", Name: "pod-1", Labels: labels}}
		if kind != "" {
			p.OwnerReferences = []metav1.OwnerReference{{Kind: kind, Name: name, Controller: &yes}}
		}
		return p
	}
	hash := map[string]string{"pod-template-hash": "6d4cf56db6"}
	for want, pod := range map[string]*corev1.Pod{
		"pay/Deployment/api":                 owned("ReplicaSet", "api-6d4cf56db6", hash),
		"pay/ReplicaSet/api-6d4cf56db6":      owned("ReplicaSet", "api-6d4cf56db6", nil),
		"pay/ReplicaSet/api":                 owned("ReplicaSet", "api", hash),
		"pay/CronJob/eod":                    owned("Job", "eod-29384729", nil),
		"pay/Job/import-2026":                owned("Job", "import-2026", nil),
		"pay/Job/-29384729":                  owned("Job", "-29384729", nil),
		"pay/StatefulSet/db":                 owned("StatefulSet", "db", nil),
		"pay/DaemonSet/log":                  owned("DaemonSet", "log", nil),
		"pay/Pod/pod-1":                      owned("", "", nil),
		"pay/Rollout/api":                    owned("Rollout", "api", hash),
		"pay/Job/eod-2938472a":               owned("Job", "eod-2938472a", nil),
		"pay/ReplicaSet/-6d4cf56db6":         owned("ReplicaSet", "-6d4cf56db6", hash),
		"pay/Deployment/api-6d4cf56db6-live": owned("ReplicaSet", "api-6d4cf56db6-live-6d4cf56db6", hash),
	} {
		if got := workloadOf(pod); got != want {
			t.Errorf("workload %q, want %q", got, want)
		}
	}
	if got := workloadOf(owned("Node", "n1", nil)); got != "pay/Pod/pod-1" {
		t.Errorf("a static pod's workload is %q, want the pod itself", got)
	}
}

func TestWhatIsKeptOfAPodTellsItsWorkloadAndItsLoan(t *testing.T) {
	request := func(cpu, memory string) corev1.Container {
		list := corev1.ResourceList{
			v1alpha1.BatchCPUResource: resource.MustParse(cpu), v1alpha1.BatchMemoryResource: resource.MustParse(memory),
			corev1.ResourceCPU: resource.MustParse("1"),
		}
		return corev1.Container{Resources: corev1.ResourceRequirements{Requests: list, Limits: list}}
	}
	started := metav1.NewTime(at)
	kept, err := trimPod(&corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{UID: "u", Namespace: "jobs", Name: "sort", Annotations: map[string]string{"workload": "forged/Deployment/x"}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{request("1500", "1Gi"), request("500", "1Gi")}},
		Status:     corev1.PodStatus{StartTime: &started, Phase: corev1.PodRunning},
	})
	if err != nil {
		t.Fatal(err)
	}
	w, err := newPodWatch(nowhere(), "n1")
	if err != nil {
		t.Fatal(err)
	}
	if err := w.informer.GetIndexer().Add(kept); err != nil {
		t.Fatal(err)
	}
	info, ok := w.byUID("u")
	want := podInfo{
		Namespace: "jobs", Name: "sort", Class: v1alpha1.ClassLatencySensitive, Workload: "jobs/Pod/sort",
		Started: at, Lent: v1alpha1.Resources{MilliCPU: 2000, MemoryBytes: 2 * gib},
	}
	if diff := cmp.Diff(want, info); !ok || diff != "" {
		t.Errorf("pod (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]v1alpha1.Resources{"u": want.Lent}, w.loans()); diff != "" {
		t.Errorf("loans (-want +got):\n%s", diff)
	}
	ended := kept.(*corev1.Pod).DeepCopy()
	ended.Status.Phase = corev1.PodSucceeded
	if err := w.informer.GetIndexer().Update(ended); err != nil {
		t.Fatal(err)
	}
	if got := w.loans(); len(got) != 0 {
		t.Errorf("a pod that has ended still has a loan: %v", got)
	}
}

// nowhere is an API server that is never asked.
func nowhere() *rest.Config { return &rest.Config{Host: "http://127.0.0.1:1"} }
