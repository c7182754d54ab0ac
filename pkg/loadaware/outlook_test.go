package loadaware

import (
	"fmt"
	"math"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	fwk "k8s.io/kube-scheduler/framework"

	"github.com/plimsoll/plimsoll/pkg/api/v1alpha1"
)

// steps is a forecast whose steps' median and peak are given by their beginning.
func steps(start time.Time, step time.Duration, n int, at func(time.Time) (median, peak int64)) *v1alpha1.Forecast {
	f := &v1alpha1.Forecast{Start: metav1.NewTime(start), StepSeconds: int32(step.Seconds()), QuantilePermille: 990}
	for i := range n {
		median, peak := at(start.Add(time.Duration(i) * step))
		f.MedianMilliCPU, f.PeakMilliCPU = append(f.MedianMilliCPU, median), append(f.PeakMilliCPU, peak)
	}
	return f
}

// measured has the pods measured for so long, each using so much.
func measured(u *v1alpha1.NodeUtilization, ms, milliCPU int64, uids ...string) *v1alpha1.NodeUtilization {
	for _, uid := range uids {
		u.Status.Pods = append(u.Status.Pods, v1alpha1.PodUtilization{UID: uid, MeasuredMilliseconds: ms, Resources: v1alpha1.Resources{MilliCPU: milliCPU}})
	}
	return u
}

func withBatch(u *v1alpha1.NodeUtilization, milliCPU int64) *v1alpha1.NodeUtilization {
	u.Status.Classes = append(u.Status.Classes, v1alpha1.ClassUtilization{Class: v1alpha1.ClassBatch, Resources: v1alpha1.Resources{MilliCPU: milliCPU}})
	return u
}

func TestLoadIsMeasuredUsePlusWhatIsNotMeasuredYet(t *testing.T) {
	online := newPod("incoming", withCPU("500m"))
	one, two := placed(newPod("one", withCPU("1"))), placed(newPod("two", withCPU("2")))
	spinner := placed(newPod("spinner", batchLabel, withBatchCPU("4000")))
	static := placed(newPod("mirror", withCPU("1"), func(p *corev1.Pod) { p.Annotations = map[string]string{staticPodAnnotation: "by-kubelet"} }))
	use := func(milliCPU int64) *v1alpha1.NodeUtilization { return utilization("n1", at(0), milliCPU) }

	tests := map[string]struct {
		view *v1alpha1.NodeUtilization
		pods []fwk.PodInfo
		want int64
	}{
		"an empty node carries the pod alone": {use(0), nil, 500},
		"measured pods count by the node's use only": {
			measured(use(700), 60_000, 0, "one", "two"), []fwk.PodInfo{one, two}, 1200, // 700 + 500
		},
		"a pod placed since the measurement counts in full": {
			measured(use(700), 60_000, 0, "one"), []fwk.PodInfo{one, two}, 3200, // 700 + 2000 + 500
		},
		// Weight 1/4; all of the pod's 400 is in the node's use: 700 + 3/4 x 1000 + 1/4 x 400 - 400 + 500
		"a pod measured for a quarter of the maturity time counts three quarters": {
			measured(use(700), 15_000, 400, "one"), []fwk.PodInfo{one}, 1650,
		},
		// Half of a window of 10 s, weight 1/12: 700 + 11/12 x 1000 + 1/12 x 400 - 1/2 x 400 + 500
		"of a pod measured for half a window half is in the node's use": {
			measured(use(700), 5000, 400, "one"), []fwk.PodInfo{one}, 1950,
		},
		"batch's use gives way": {
			measured(withBatch(use(3900), 3000), 60_000, 3000, "spinner"), []fwk.PodInfo{spinner}, 1400, // 3900 - 3000 + 500
		},
		"a batch pod not yet measured does not count": {use(900), []fwk.PodInfo{spinner}, 1400},
		"batch that reports more than its node leaves no negative use": {
			withBatch(use(900), 1000), nil, 500, // max(0, 900 - 1000) + 500
		},
		"a static pod is measured under the kubelet's UID": {
			measured(use(700), 60_000, 300, "by-kubelet"), []fwk.PodInfo{static}, 1200,
		},
		"without a measurement the load is the sum of requests": {nil, []fwk.PodInfo{one, two}, 3500}, // 1000 + 2000 + 500
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			b := newTestbed(t, nil)
			if tt.view != nil {
				tt.view.Status.WindowMilliseconds = 10_000
				b.publish(tt.view)
			}
			f, _ := b.judge(online, fakeNode("n1", 8000, tt.pods...))
			if f.Peak != tt.want || f.Median != tt.want {
				t.Errorf("load = %d to %d, want %d", f.Median, f.Peak, tt.want)
			}
		})
	}
}

// The pod uses 19 of the 20 cores that it asks for from the first second. The agent measures each second with a
// window of 10 s and publishes by its default rule: a change of 1 % of the node, or 30 s. What the plugin
// takes the node to carry is compared with the truth at every second, for an image that starts at once
// and for one that is pulled for 40 s, during which nothing is used.
func TestAPlacedPodIsEstimatedWithin10PercentFromTheFirstSecond(t *testing.T) {
	const idle, use, request, capacity = 1000, 19_000, 20_000, 32_000
	for name, history := range map[string]bool{"by request": false, "by history": true} {
		t.Run(name, func(t *testing.T) {
			b := newTestbed(t, nil)
			pod := newPod("busy", withCPU("20"))
			node := fakeNode("n1", capacity)
			publish := func(second int64, milliCPU, podMilliCPU, measuredFor int64) {
				u := utilization("n1", at(float64(second)), milliCPU)
				u.Status.WindowMilliseconds = 10_000
				if measuredFor >= 1 {
					measured(u, measuredFor*1000, podMilliCPU, "busy")
				}
				if history {
					u.Status.Workloads = []v1alpha1.WorkloadProfile{{Name: "default/Pod/busy", Class: v1alpha1.ClassLatencySensitive, HistorySeconds: 3600, MilliCPU: v1alpha1.Distribution{P50: 18_900, P95: 19_100}}}
				}
				b.publish(u)
			}
			publish(0, idle, 0, 0)
			node.put(placed(pod)) // bound at second 0
			nothing := newPod("probe", withCPU("0"))
			last, lastAt, worst := int64(idle), int64(0), 0.0
			for second := int64(1); second <= 600; second++ {
				b.clock = at(float64(second))
				// The container starts with the binding; the first rate exists one second later.
				window := idle + use*min(second, 10)/10
				if d := window - last; d*1000 >= capacity*10 || second-lastAt >= 30 || second == 1 {
					publish(second, window, use, second)
					last, lastAt = window, second
				}
				got := b.peak(nothing, node) - idle
				worst = max(worst, math.Abs(float64(got-use))/use)
				if math.Abs(float64(got-use)) > use/10 {
					t.Fatalf("at %d s the pod is taken to use %d, and uses %d", second, got, use)
				}
			}
			t.Logf("the estimate is at most %.1f %% off", worst*100)
		})
	}
}

func TestAPodThatIsNeverMeasuredFadesAfterAWhile(t *testing.T) {
	bound := func(p *corev1.Pod) {
		p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(at(0))}}
	}
	pending := func(p *corev1.Pod) { // assumed just now, after it was refused long ago
		p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, LastTransitionTime: metav1.NewTime(at(-9000))}}
	}
	probe := newPod("probe", withCPU("0"))
	for _, tt := range []struct {
		option podOption
		second float64
		want   int64
	}{{bound, 1, 1000}, {bound, 600, 1000}, {bound, 900, 500}, {bound, 1200, 0}, {bound, 90_000, 0}, {pending, 90_000, 1000}} {
		b := newTestbed(t, nil)
		b.clock = at(tt.second)
		b.publish(utilization("n1", b.clock, 0))
		if got := b.peak(probe, fakeNode("n1", 4000, placed(newPod("a", withCPU("1"), tt.option)))); got != tt.want {
			t.Errorf("after %v s the pod counts %d, want %d", tt.second, got, tt.want)
		}
	}
}

// 500 equal pods go to 50 idle nodes, while nothing new is measured.
func TestABurstSpreadsEvenlyWhileMeasurementsAreFrozen(t *testing.T) {
	const nodes, pods = 50, 500
	b := newTestbed(t, nil)
	var infos []*fakeNodeInfo
	for i := range nodes {
		name := fmt.Sprint("n", i)
		b.publish(utilization(name, at(0), 40+int64(i)%5)) // idle, as idle nodes are
		infos = append(infos, fakeNode(name, 16_000))
	}
	for i := range pods {
		b.clock = at(float64(i) / 100)
		pod := newPod(fmt.Sprint("burst-", i), withCPU("250m"))
		state := newFakeState()
		scores := b.run(state, pod, infos)
		best := 0
		for n := range scores {
			if scores[n].Score > scores[best].Score {
				best = n
			}
		}
		infos[best].put(placed(pod))
	}
	for _, n := range infos {
		if got, want := len(n.pods), pods/nodes; math.Abs(float64(got-want)) > float64(want)/10 {
			t.Errorf("%s has %d pods, want %d within 10 %%", n.node.Name, got, want)
		}
	}
}

// run is the extension points of one cycle as the framework calls them; nodes that are refused are left out.
func (b *testbed) run(state fwk.CycleState, pod *corev1.Pod, nodes []*fakeNodeInfo) fwk.NodeScoreList {
	b.t.Helper()
	if _, status := b.PreFilter(b.t.Context(), state, pod, nil); !status.IsSuccess() {
		b.t.Fatal(status.AsError())
	}
	var feasible []fwk.NodeInfo
	for _, n := range nodes {
		if b.Filter(b.t.Context(), state, pod, n).IsSuccess() {
			feasible = append(feasible, n)
		}
	}
	if status := b.PreScore(b.t.Context(), state, pod, feasible); !status.IsSuccess() {
		b.t.Fatal(status.AsError())
	}
	var scores fwk.NodeScoreList
	for _, n := range feasible {
		s, status := b.Score(b.t.Context(), state, pod, n)
		if !status.IsSuccess() {
			b.t.Fatal(status.AsError())
		}
		scores = append(scores, fwk.NodeScore{Name: n.Node().Name, Score: s})
	}
	if status := b.NormalizeScore(b.t.Context(), state, pod, scores); !status.IsSuccess() {
		b.t.Fatal(status.AsError())
	}
	return scores
}

// daily is a load that is high from one hour of the day to another.
func daily(from, to int, low, high int64) func(time.Time) (int64, int64) {
	return func(at time.Time) (int64, int64) {
		if h := at.UTC().Hour(); h >= from && h < to {
			return high * 9 / 10, high
		}
		return low * 9 / 10, low
	}
}

// service is the profile of a workload whose one pod uses high from one hour to another.
func service(name string, pods int32, from, to int, low, high int64) v1alpha1.WorkloadProfile {
	w := v1alpha1.WorkloadProfile{
		Name: name, Class: v1alpha1.ClassLatencySensitive, Pods: pods, HistorySeconds: 7 * 86_400,
		MilliCPU: v1alpha1.Distribution{P50: low, P95: high},
	}
	for h := range hoursPerDay {
		v := low
		if h >= from && h < to {
			v = high
		}
		w.HourlyPeakMilliCPU = append(w.HourlyPeakMilliCPU, v)
	}
	return w
}

func TestPeaksAreAddedUpByTimeOfDay(t *testing.T) {
	// One node carries a service of the day, the other one of the night. It is 03:04; a pod of a service of
	// the night goes with the day.
	night := newPod("night", withCPU("1"))
	for name, publish := range map[string]func(u *v1alpha1.NodeUtilization, from, to int){
		"as forecast": func(u *v1alpha1.NodeUtilization, from, to int) {
			u.Status.Forecast = steps(at(0).Truncate(15*time.Minute), 15*time.Minute, 96, daily(from, to, 200, 2000))
		},
		"by the profiles of the workloads": func(u *v1alpha1.NodeUtilization, from, to int) {
			u.Status.Workloads = append(u.Status.Workloads, service("default/Deployment/resident", 2, from, to, 100, 1000))
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := newTestbed(t, nil)
			for node, hours := range map[string][2]int{"day": {8, 20}, "night": {0, 8}} {
				u := utilization(node, at(0), 200)
				publish(u, hours[0], hours[1])
				u.Status.Workloads = append(u.Status.Workloads, service("default/Pod/night", 0, 0, 8, 50, 1000))
				b.publish(u)
			}
			byDay, byNight := b.peak(night, fakeNode("day", 4000)), b.peak(night, fakeNode("night", 4000))
			// Day: max(2000 + 50, 200 + 1000); night: 2000 + 1000.
			if byDay != 2050 || byNight != 3000 {
				t.Errorf("peaks with the pod = %d by day and %d by night, want 2050 and 3000", byDay, byNight)
			}
		})
	}
}

func TestTheHorizonBoundsWhatIsForeseen(t *testing.T) {
	for horizon, want := range map[int64]int64{0: 300, 3600: 300, 4 * 3600: 300, 9 * 3600: 2100, 86_400: 2100} { // 200 + 100; 2000 + 100
		b := newTestbed(t, func(a *v1alpha1.LoadAwareArgs) { a.HorizonSeconds = horizon })
		u := utilization("n1", at(0), 200)
		u.Status.Forecast = steps(at(0).Truncate(time.Hour), time.Hour, 24, daily(10, 12, 200, 2000))
		b.publish(u)
		if got := b.peak(newPod("p"), fakeNode("n1", 4000)); got != want {
			t.Errorf("at 03:04 with a horizon of %d s the peak is %d, want %d", horizon, got, want)
		}
	}
}

func TestLeastRiskShunsTheNodeThatMayExceed(t *testing.T) {
	b := newTestbed(t, nil)
	// The mean of the first is lower, its peaks are above the safe line of 3200.
	for node, f := range map[string][2]int64{"wild": {1000, 3600}, "calm": {1600, 1800}} {
		u := utilization(node, at(0), 900)
		u.Status.Forecast = steps(at(0), time.Hour, 24, func(time.Time) (int64, int64) { return f[0], f[1] })
		b.publish(u)
	}
	wild, _ := b.judge(newPod("p"), fakeNode("wild", 4000))
	calm, _ := b.judge(newPod("p"), fakeNode("calm", 4000))
	if wild.Raw >= calm.Raw {
		t.Errorf("wild scores %d, calm %d", wild.Raw, calm.Raw)
	}
	if wild.ExpectedOver <= calm.ExpectedOver || wild.Median >= calm.Median {
		t.Errorf("wild %+v, calm %+v", wild, calm)
	}
}

func TestMostUsedPacksUpToTheSafeLine(t *testing.T) {
	b := newTestbed(t, func(a *v1alpha1.LoadAwareArgs) { a.ScoringStrategy = v1alpha1.MostUsed })
	var last int64
	for _, use := range []int64{0, 1000, 2000, 3100} { // with the pod's 100 up to 3200
		b.publish(utilization(fmt.Sprint("n", use), at(0), use))
		f, _ := b.judge(newPod("p"), fakeNode(fmt.Sprint("n", use), 4000))
		if f.Raw <= last {
			t.Errorf("a node that uses %d scores %d, not above %d", use, f.Raw, last)
		}
		last = f.Raw
	}
	b.publish(utilization("over", at(0), 3300))
	idle, _ := b.judge(newPod("p"), fakeNode("n0", 4000))
	if over, _ := b.judge(newPod("p"), fakeNode("over", 4000)); over.Raw >= idle.Raw {
		t.Errorf("a node above the line scores %d, an idle one %d", over.Raw, idle.Raw)
	}
}

func TestBatchGoesWhereRoomLasts(t *testing.T) {
	b := newTestbed(t, nil)
	// It is 03:04. One node is idle until 06:00 and then busy, the other one is half busy for good.
	soon, later := utilization("soon", at(0), 100), utilization("steady", at(0), 1500)
	soon.Status.Forecast = steps(at(0).Truncate(time.Hour), time.Hour, 24, daily(6, 22, 100, 3000))
	later.Status.Forecast = steps(at(0).Truncate(time.Hour), time.Hour, 24, daily(0, 0, 1500, 1500))
	report := v1alpha1.Distribution{P95: 6 * 3600}
	later.Status.Workloads = []v1alpha1.WorkloadProfile{{Name: "default/Job/long", Class: v1alpha1.ClassBatch, RunSeconds: &report}}
	b.publish(soon)
	b.publish(later)
	annotated := func(d string) podOption {
		return func(p *corev1.Pod) { p.Annotations = map[string]string{v1alpha1.DurationAnnotation: d} }
	}
	job := func(p *corev1.Pod) { p.Labels["batch.kubernetes.io/job-name"] = "long" }
	for name, tt := range map[string]struct {
		options []podOption
		want    string
	}{
		"a short job":                               {[]podOption{annotated("30m")}, "soon"},
		"one of unknown length":                     {nil, "soon"}, // the default of an hour
		"a long job":                                {[]podOption{annotated("6h")}, "steady"},
		"one whose workload took long":              {[]podOption{job}, "steady"},
		"an annotation outweighs history":           {[]podOption{job, annotated("30m")}, "soon"},
		"an annotation that is no duration is void": {[]podOption{annotated("soon")}, "soon"},
		"a job of days":                             {[]podOption{annotated("720h")}, "steady"},
	} {
		pod := newPod("job", append([]podOption{batchLabel, withBatchCPU("500")}, tt.options...)...)
		onSoon, _ := b.judge(pod, fakeNode("soon", 4000))
		onSteady, _ := b.judge(pod, fakeNode("steady", 4000))
		got := "soon"
		if onSteady.Raw > onSoon.Raw {
			got = "steady"
		}
		if got != tt.want {
			t.Errorf("%s goes to %s, want %s (%d, %d)", name, got, tt.want, onSoon.Raw, onSteady.Raw)
		}
	}
}

func TestBatchShunsPressureAndWhatIsPromised(t *testing.T) {
	b := newTestbed(t, nil)
	pressure := int32(200)
	for _, node := range []string{"calm", "pressed", "lent"} {
		u := utilization(node, at(0), 1000)
		if node == "pressed" {
			u.Status.Classes = []v1alpha1.ClassUtilization{{Class: v1alpha1.ClassLatencySensitive, Resources: v1alpha1.Resources{MilliCPU: 1000}, Pressure: &v1alpha1.Pressure{CPUSomePermille: &pressure}}}
		}
		b.publish(u)
	}
	pod := newPod("job", batchLabel, withBatchCPU("200"))
	calm, _ := b.judge(pod, fakeNode("calm", 4000))
	pressed, _ := b.judge(pod, fakeNode("pressed", 4000))
	lent, _ := b.judge(pod, fakeNode("lent", 4000, placed(newPod("other", batchLabel, withBatchCPU("1500")))))
	// (3200 - 1000 - 200)/3200, times 1 - 800/3200, and less 1500/3200
	if calm.Raw != 625_000 || pressed.Raw != 468_750 || lent.Raw != 156_250 {
		t.Errorf("calm %d, pressed %d, lent %d; want 625000, 468750, 156250", calm.Raw, pressed.Raw, lent.Raw)
	}
	online := newPod("p", withCPU("200m"))
	calm, _ = b.judge(online, fakeNode("calm", 4000))
	pressed, _ = b.judge(online, fakeNode("pressed", 4000))
	lent, _ = b.judge(online, fakeNode("lent", 4000, placed(newPod("other", batchLabel, withBatchCPU("1500")))))
	if pressed.Raw >= calm.Raw || lent.Raw != calm.Raw {
		t.Errorf("for an online pod calm %d, pressed %d, lent %d; want the second lower and the third as the first", calm.Raw, pressed.Raw, lent.Raw)
	}
}

// From the age of 45 s on a measurement gives way to requests, until at 90 s nothing of it is left.
func TestAnOldMeasurementGivesWayToRequestsGradually(t *testing.T) {
	b := newTestbed(t, func(a *v1alpha1.LoadAwareArgs) { a.FreshSeconds, a.StaleAfterSeconds = 45, 90 })
	b.publish(measured(utilization("n1", at(0), 600), 60_000, 0, "a"))
	node := fakeNode("n1", 8000, placed(newPod("a", withCPU("4"))))
	pod := newPod("p", withCPU("400m"))
	last := int64(0)
	for second := 0.0; second <= 100; second++ {
		b.clock = at(second)
		f, _ := b.judge(pod, node)
		if f.Peak < last {
			t.Fatalf("at %v s the load shrinks from %d to %d", second, last, f.Peak)
		}
		if second > 0 && f.Peak-last > 4000/30 { // 45 s for a difference of 3400
			t.Fatalf("at %v s the load leaps from %d to %d", second, last, f.Peak)
		}
		if last = f.Peak; second == 0 {
			last = 1000 // 600 + 400
		}
	}
	if last != 4400 { // 4000 + 400: by requests
		t.Errorf("in the end the load is %d, want 4400", last)
	}
	// The doubt about a spread grows meanwhile: halfway the peak is further from the median.
	u := utilization("n2", at(0), 600)
	u.Status.Forecast = steps(at(0), time.Hour, 24, func(time.Time) (int64, int64) { return 600, 1600 })
	b.clock = at(0)
	b.publish(u)
	same := placed(newPod("b", withCPU("600m"))) // so that requests move nothing
	measuredAt := func(second float64) Prospect {
		b.clock = at(second)
		f, _ := b.judge(newPod("p", withCPU("0")), fakeNode("n2", 8000, same))
		return f
	}
	b.clock = at(0)
	b.publish(measured(u, 60_000, 0, "b"))
	fresh, half := measuredAt(0), measuredAt(54)
	// s = 0.2: peak = 0.8 x (1600 + 0.2 x 1000) + 0.2 x 600
	if fresh.Peak != 1600 || half.Peak != 1560 || half.Median != 600 {
		t.Errorf("fresh %+v, aging %+v", fresh, half)
	}
}

func TestAnOutlookIsComputedOnceForEachStateOfANode(t *testing.T) {
	b := newTestbed(t, nil)
	b.publish(utilization("n1", at(0), 600))
	node := fakeNode("n1", 4000, placed(newPod("a", withCPU("1"))))
	get := func() *outlook { return b.outlookOf(b.newCycle(newPod("p")), node.node, node) }
	first := get()
	if get() != first {
		t.Error("it is computed again though nothing changed")
	}
	node.put(placed(newPod("b", withCPU("1"))))
	second := get()
	if second == first || second.worstPeak != first.worstPeak+1000 {
		t.Errorf("after another pod: %d, before: %d", second.worstPeak, first.worstPeak)
	}
	b.clock = at(3600)
	if get() == second {
		t.Error("it is kept into another hour")
	}
}

func TestTwoProfilesDoNotAffectEachOther(t *testing.T) {
	b := newTestbed(t, nil)
	args := v1alpha1.DefaultLoadAwareArgs()
	args.Estimates.LatencySensitive.RequestPercent = 50
	other := newPlugin(*args, "other", b.store, b.now)
	b.publish(utilization("n1", at(0), 0))
	node := fakeNode("n1", 4000, placed(newPod("a", withCPU("1"))))
	c := b.newCycle(newPod("p"))
	for range 2 {
		if got := b.outlookOf(c, node.node, node).worstPeak; got != 1000 {
			t.Errorf("the first profile expects %d, want 1000", got)
		}
		if got := other.outlookOf(c, node.node, node).worstPeak; got != 500 {
			t.Errorf("the second profile expects %d, want 500", got)
		}
	}
}

func TestHistoryFollowsWhatNodesTell(t *testing.T) {
	b := newTestbed(t, nil)
	pod := newPod("a", withCPU("4"))
	profile := func(seconds, milliCPU int64) v1alpha1.WorkloadProfile {
		return v1alpha1.WorkloadProfile{Name: "default/Pod/a", HistorySeconds: seconds, MilliCPU: v1alpha1.Distribution{P50: milliCPU, P95: milliCPU}}
	}
	publish := func(node string, w ...v1alpha1.WorkloadProfile) {
		u := utilization(node, b.clock, 0)
		u.Status.Workloads = w
		b.publish(u)
	}
	want := func(when string, milliCPU int64) {
		t.Helper()
		if got := b.needOf(pod, b.clock).use.median; got != milliCPU {
			t.Errorf("%s the pod is expected to use %d, want %d", when, got, milliCPU)
		}
	}
	want("without a history", 4000)
	publish("n1", profile(599, 100))
	want("with too short a history", 4000)
	publish("n1", profile(1000, 100))
	want("with a history", 100)
	publish("n2", profile(2000, 200))
	want("with a longer one elsewhere", 200)
	publish("n1", profile(1001, 111))
	want("when the shorter one changes", 200)
	publish("n2", profile(700, 300))
	want("when the longer one starts anew", 300)
	if err := b.store.Delete(utilization("n2", b.clock, 0)); err != nil {
		t.Fatal(err)
	}
	publish("n1", profile(1002, 112))
	want("when only the first is left", 112)
	publish("n1")
	want("when no node tells of it", 4000)
	if n := len(b.history.byName); n != 0 {
		t.Errorf("%d workloads are left over", n)
	}
	publish("n1", v1alpha1.WorkloadProfile{Name: "default/Pod/a", HistorySeconds: 1e9, MilliCPU: v1alpha1.Distribution{P50: -1, P95: 1e18}})
	want("with a history that makes no sense", 4000)
}
