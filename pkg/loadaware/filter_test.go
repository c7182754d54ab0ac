package loadaware

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"

	"github.com/plimsoll/plimsoll/pkg/api/v1alpha1"
)

func TestANodeIsRefusedThatWouldBeOverloaded(t *testing.T) {
	// Of 4000, 95 % is 3800.
	use := func(milliCPU int64) *v1alpha1.NodeUtilization { return utilization("n1", at(0), milliCPU) }
	online := newPod("p", withCPU("300m"))
	batch := newPod("p", batchLabel, withBatchCPU("300"))
	tests := map[string]struct {
		view *v1alpha1.NodeUtilization
		args func(*v1alpha1.LoadAwareArgs)
		pod  *corev1.Pod
		on   []fwk.PodInfo
		age  float64
		want reason
	}{
		"below the limit":           {use(3500), nil, online, nil, 0, reasonNone},
		"beyond the limit":          {use(3501), nil, online, nil, 0, reasonCPU},
		"full of batch":             {withBatch(use(3900), 3500), nil, online, nil, 0, reasonNone},
		"a limit of 0 refuses none": {use(9000), func(a *v1alpha1.LoadAwareArgs) { a.MaxCPUPercent = 0 }, online, nil, 0, reasonNone},
		"a peak that is forecast": {func() *v1alpha1.NodeUtilization {
			u := use(100)
			u.Status.Forecast = steps(at(0), time.Hour, 24, daily(8, 9, 100, 3700))
			return u
		}(), nil, online, nil, 0, reasonCPU},
		"pods just placed that asked for too little": {use(3300), nil, online, []fwk.PodInfo{placed(newPod("a", withCPU("250m")))}, 0, reasonCPU},
		// It uses less than its pods asked for, and the requests leave room: 3650 + 300 = 3950 of 4000.
		"beyond the limit within requests": {measured(use(3650), 60_000, 3650, "a"), nil, online, []fwk.PodInfo{placed(newPod("a", withCPU("3700m")))}, 0, reasonNone},
		"no measurement":                   {nil, nil, online, nil, 0, reasonNone},
		"an old measurement":               {use(9000), nil, online, nil, 300, reasonNone},
		"an aging measurement":             {use(9000), nil, online, nil, 299, reasonCPU},
		"memory beyond the limit": {func() *v1alpha1.NodeUtilization {
			u := use(0)
			u.Status.Node.MemoryBytes = 62 << 30 // of 64 GiB
			return u
		}(), nil, online, nil, 0, reasonMemory},
		"batch on a node that is known":   {use(100), nil, batch, nil, 239, reasonNone},
		"batch on a node without":         {nil, nil, batch, nil, 0, reasonNoMeasurement},
		"batch on a node known of old":    {use(100), nil, batch, nil, 240, reasonStale},
		"a measurement of another node":   {owned(use(9000), "someone else"), nil, online, nil, 0, reasonNone},
		"batch there":                     {owned(use(100), "someone else"), nil, batch, nil, 0, reasonNoMeasurement},
		"a measurement of this very node": {owned(use(9000), "node n1"), nil, online, nil, 0, reasonCPU},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			b := newTestbed(t, tt.args)
			if tt.view != nil {
				b.publish(tt.view)
			}
			b.clock = at(tt.age)
			if _, got := b.judge(tt.pod, fakeNode("n1", 4000, tt.on...)); got != tt.want {
				t.Errorf("refused for %q, want %q", got, tt.want)
			}
		})
	}
}

func owned(u *v1alpha1.NodeUtilization, uid types.UID) *v1alpha1.NodeUtilization {
	u.OwnerReferences = []metav1.OwnerReference{{Kind: "Node", Name: u.Name, UID: uid}}
	return u
}

func TestWhatMakesNoSenseInAViewIsLeftOut(t *testing.T) {
	probe := newPod("probe", withCPU("100m"))
	tests := map[string]struct {
		spoil func(*v1alpha1.NodeUtilizationStatus)
		want  int64 // the load: 1000 as measured + 100, or by requests 500 + 100
	}{
		"nothing":                        {func(*v1alpha1.NodeUtilizationStatus) {}, 1100},
		"a pod of 10^18":                 {func(s *v1alpha1.NodeUtilizationStatus) { s.Pods[0].MilliCPU = 1e18 }, 1600}, // it counts as not measured
		"a pod of -1":                    {func(s *v1alpha1.NodeUtilizationStatus) { s.Pods[0].MilliCPU = -1 }, 1600},
		"a pod measured for ever":        {func(s *v1alpha1.NodeUtilizationStatus) { s.Pods[0].MeasuredMilliseconds = 1 << 62 }, 1100},
		"a window of nothing":            {func(s *v1alpha1.NodeUtilizationStatus) { s.WindowMilliseconds = -5 }, 1100},
		"a forecast of 10^18":            {func(s *v1alpha1.NodeUtilizationStatus) { s.Forecast.PeakMilliCPU[3] = 1e18 }, 1100},
		"a forecast of -1":               {func(s *v1alpha1.NodeUtilizationStatus) { s.Forecast.MedianMilliCPU[3] = -1 }, 1100},
		"half a forecast":                {func(s *v1alpha1.NodeUtilizationStatus) { s.Forecast.MedianMilliCPU = nil }, 1100},
		"a forecast in steps of nothing": {func(s *v1alpha1.NodeUtilizationStatus) { s.Forecast.StepSeconds = 0 }, 1100},
		"a forecast of long ago":         {func(s *v1alpha1.NodeUtilizationStatus) { s.Forecast.Start = metav1.NewTime(at(-1e7)) }, 1100},
		"a quantile of 10^9":             {func(s *v1alpha1.NodeUtilizationStatus) { s.Forecast.QuantilePermille = 1e9 }, 1100},
		"pressure beyond all": {func(s *v1alpha1.NodeUtilizationStatus) {
			p := int32(1 << 30)
			s.Classes[0].Pressure = &v1alpha1.Pressure{CPUSomePermille: &p}
		}, 5100}, // as much as all of 4000
		"a profile of 10^18":  {func(s *v1alpha1.NodeUtilizationStatus) { s.Workloads[0].HourlyPeakMilliCPU[0] = 1e18 }, 1100}, // at another hour: see below
		"a capacity of 10^18": {func(s *v1alpha1.NodeUtilizationStatus) { s.Capacity.MilliCPU = 1e18 }, 600},
		"a node of 10^18":     {func(s *v1alpha1.NodeUtilizationStatus) { s.Node.MilliCPU = 1e18 }, 600},
		"a class of -1":       {func(s *v1alpha1.NodeUtilizationStatus) { s.Classes[0].MilliCPU = -1 }, 600},
		"memory of -1":        {func(s *v1alpha1.NodeUtilizationStatus) { s.Node.MemoryBytes = -1 }, 600},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			b := newTestbed(t, func(a *v1alpha1.LoadAwareArgs) { a.HorizonSeconds = 3600 })
			u := measured(utilization("n1", at(0), 1000), 60_000, 400, "a")
			u.Status.Classes = []v1alpha1.ClassUtilization{{Class: v1alpha1.ClassLatencySensitive, Resources: v1alpha1.Resources{MilliCPU: 1000}}}
			u.Status.Forecast = steps(at(0).Truncate(time.Hour), time.Hour, 24, func(time.Time) (int64, int64) { return 800, 1000 })
			u.Status.Workloads = []v1alpha1.WorkloadProfile{service("default/Deployment/x", 1, 0, 0, 10, 10)}
			tt.spoil(&u.Status)
			b.publish(u)
			got := b.peak(probe, fakeNode("n1", 4000, placed(newPod("a", withCPU("500m")))))
			if got != tt.want {
				t.Errorf("load = %d, want %d", got, tt.want)
			}
		})
	}
}

// A scheduler that has just started finds nodes whose pods have run for days, and no memory of them.
func TestAfterARestartRunningPodsAreNotTakenForNew(t *testing.T) {
	b := newTestbed(t, nil)
	longAgo := func(p *corev1.Pod) {
		p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(at(-86_400))}}
	}
	var list []any
	var nodes []*fakeNodeInfo
	for n := range 100 {
		name := fmt.Sprint("n", n)
		u := utilization(name, at(-1), 1000)
		node := fakeNode(name, 64_000)
		for i := range 50 {
			pod := newPod(string(uidOf(n, i)), withCPU("1"), longAgo)
			node.put(placed(pod))
			if i%10 > 0 { // some are not in the list: they have ended their work and use nothing
				measured(u, 3_600_000, 20, string(pod.UID))
			}
		}
		list, nodes = append(list, u), append(nodes, node)
	}
	if err := b.store.Replace(list, "1"); err != nil {
		t.Fatal(err)
	}
	for _, n := range nodes {
		if got := b.peak(newPod("p"), n); got != 1100 { // 1000 + 100
			t.Fatalf("%s carries %d, want 1100", n.node.Name, got)
		}
	}
}

type activations struct{ pods []string }

func (a *activations) Activate(_ klog.Logger, pods map[string]*corev1.Pod) {
	for name := range pods {
		a.pods = append(a.pods, name)
	}
}

func TestARefusedPodIsRetriedWhenANodeCoolsAndNotBefore(t *testing.T) {
	b := newTestbed(t, nil)
	retried := &activations{}
	b.waiting.activator = retried
	publish := func(second float64, milliCPU int64) {
		b.clock = at(second)
		u := utilization("n1", b.clock, milliCPU)
		u.Status.Capacity = v1alpha1.Resources{MilliCPU: 4000, MemoryBytes: 64 << 30}
		b.publish(u)
	}
	publish(0, 3900)
	pod := newPod("p", withCPU("500m"))
	state := newFakeState()
	if scores := b.run(state, pod, []*fakeNodeInfo{fakeNode("n1", 4000)}); len(scores) > 0 {
		t.Fatal("the node is not refused")
	}
	if status := b.Filter(t.Context(), state, pod, fakeNode("n1", 4000)); status.Code() != fwk.UnschedulableAndUnresolvable || !strings.Contains(status.Message(), "CPU") {
		t.Errorf("status = %v", status)
	}
	want := func(when string, n int) {
		t.Helper()
		if len(retried.pods) != n {
			t.Errorf("%s the pod was retried %d times, want %d", when, len(retried.pods), n)
		}
	}
	publish(10, 3800) // 3800 + 500 > 3800
	want("while the node stays hot", 0)
	publish(20, 3300) // 3300 + 500 = 3800
	want("when the node cools", 1)
	publish(30, 3200)
	want("when it goes on cooling", 1)
	publish(31, 3900)
	publish(31.5, 3000)
	want("when it is hot and cool again", 2)
	publish(32, 3900)
	publish(32.5, 3000)
	want("within two seconds of that", 2)
	b.PostBind(t.Context(), state, pod, "n1")
	publish(50, 3900)
	publish(60, 3000)
	want("after it was placed", 2)
	if n := b.waiting.count.Load(); n != 0 {
		t.Errorf("%d pods are waited for, want none", n)
	}
}

func TestABatchPodIsRetriedWhenANodeIsMeasuredAgain(t *testing.T) {
	b := newTestbed(t, nil)
	retried := &activations{}
	b.waiting.activator = retried
	pod := newPod("p", batchLabel, withBatchCPU("500"))
	b.run(newFakeState(), pod, []*fakeNodeInfo{fakeNode("n1", 4000)})
	b.publish(utilization("n1", at(0), 100))
	if len(retried.pods) != 1 {
		t.Errorf("retried %v, want the pod", retried.pods)
	}
}

func TestPodsThatAreGoneAreNotWaitedForForEver(t *testing.T) {
	b := newTestbed(t, nil)
	b.waiting.activator = &activations{}
	hot := utilization("n1", at(0), 4000)
	b.publish(hot)
	for i := range maxWaiting + 10 {
		b.run(newFakeState(), newPod(fmt.Sprint("p", i), withCPU("500m")), []*fakeNodeInfo{fakeNode("n1", 4000)})
	}
	if n := b.waiting.count.Load(); n != maxWaiting {
		t.Errorf("%d pods are waited for, want %d", n, maxWaiting)
	}
	b.clock = at(601)
	b.publish(utilization("n2", b.clock, 0))
	if n := b.waiting.count.Load(); n != 0 {
		t.Errorf("%d pods are waited for, want none", n)
	}
}

func TestModeObserveRecordsAndChangesNothing(t *testing.T) {
	b := newTestbed(t, func(a *v1alpha1.LoadAwareArgs) { a.Mode = v1alpha1.ModeObserve })
	b.publish(utilization("hot", at(0), 3900))
	b.publish(utilization("idle", at(0), 100))
	pod := newPod("p", withCPU("500m"))
	scores := b.run(newFakeState(), pod, []*fakeNodeInfo{fakeNode("hot", 4000), fakeNode("idle", 4000)})
	if len(scores) != 2 || scores[0].Score != 0 || scores[1].Score != 0 {
		t.Errorf("scores = %v, want two zeros", scores)
	}
	d := b.records.copies()[0]
	if d.Refused["CPU"] != 1 || len(d.Nodes) != 2 || d.Nodes[0].Node != "idle" || d.Nodes[0].Score != 100 || d.Mode != v1alpha1.ModeObserve {
		t.Errorf("decision = %+v", d)
	}
}

func TestTheRecordHoldsWhatScoresAreMadeOfAndIsBounded(t *testing.T) {
	b := newTestbed(t, nil)
	var nodes []*fakeNodeInfo
	for i := range 50 {
		name := fmt.Sprint("n", i)
		b.publish(utilization(name, at(0), int64(i)*50))
		nodes = append(nodes, fakeNode(name, 4000))
	}
	for i := range maxRecords + 5 {
		pod := newPod(fmt.Sprint("p", i), withCPU("100m"))
		state := newFakeState()
		b.run(state, pod, nodes)
		b.PostBind(t.Context(), state, pod, "n0")
	}
	// What was decided is told as it was, whatever is measured after.
	for i := range 50 {
		b.publish(utilization(fmt.Sprint("n", i), at(1), 3000))
	}
	b.clock = at(3600)
	raw, err := json.Marshal(&served{records: b.records})
	if err != nil {
		t.Fatal(err)
	}
	var record Record
	if err := json.Unmarshal(raw, &record); err != nil {
		t.Fatal(err)
	}
	if n := len(record.Decisions); n != maxRecords || len(b.records.byUID) != maxRecords {
		t.Fatalf("%d decisions, %d by UID; want %d", n, len(b.records.byUID), maxRecords)
	}
	d := record.Decisions[maxRecords-1]
	if d.Name != fmt.Sprint("p", maxRecords+4) || d.Node != "n0" || d.Considered != 50 || len(d.Nodes) != maxRecordedNodes {
		t.Errorf("last decision = %+v", d)
	}
	for i, n := range d.Nodes { // idle first, each carries 50 more
		if n.Node != fmt.Sprint("n", i) || n.Peak != int64(i)*50+100 || n.SafeLine != 3200 {
			t.Errorf("node %d of the decision = %+v", i, n)
		}
	}
}

func TestEventsMakeARefusedPodRetriedOnlyWhenTheyMayHelp(t *testing.T) {
	b := newTestbed(t, nil)
	events, err := b.EventsToRegister(t.Context())
	if err != nil || len(events) != 3 {
		t.Fatalf("%d events, %v", len(events), err)
	}
	node := func(cpu string) *corev1.Node {
		n := fakeNode("n1", 0).node
		n.Status.Allocatable = newPod("x", withCPU(cpu)).Spec.Containers[0].Resources.Requests
		return n
	}
	on := func(uid string, options ...podOption) *corev1.Pod {
		p := newPod(uid, options...)
		p.Spec.NodeName = "n1"
		return p
	}
	waits, batch := newPod("waits"), newPod("batch", batchLabel)
	for name, tt := range map[string]struct {
		event    int
		pod      *corev1.Pod
		old, new any
		want     fwk.QueueingHint
	}{
		"a new node":                     {0, waits, nil, node("4"), fwk.Queue},
		"a node that grew":               {0, waits, node("4"), node("8"), fwk.Queue},
		"a node that shrank":             {0, waits, node("8"), node("4"), fwk.QueueSkip},
		"an online pod that leaves":      {1, waits, on("a"), nil, fwk.Queue},
		"a batch pod that leaves":        {1, waits, on("a", batchLabel), nil, fwk.QueueSkip},
		"an online pod, for a batch pod": {1, batch, on("a"), nil, fwk.QueueSkip},
		"the pod itself asks for less":   {2, waits, waits, waits, fwk.Queue},
		"another one that waits":         {2, waits, newPod("a"), newPod("a"), fwk.QueueSkip},
		"one on a node":                  {2, waits, on("a"), on("a"), fwk.Queue},
	} {
		got, err := events[tt.event].QueueingHintFn(klog.Background(), tt.pod, tt.old, tt.new)
		if err != nil || got != tt.want {
			t.Errorf("%s: %v, %v; want %v", name, got, err, tt.want)
		}
	}
}
