package loadaware

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	fwk "k8s.io/kube-scheduler/framework"

	"github.com/plimsoll/plimsoll/pkg/api/v1alpha1"
)

func TestExpectedExcessIsTheIntegralOfTheTail(t *testing.T) {
	ln50 := math.Log(50) // for the 99th percentile
	// Summed up numerically: P(x) = 1/2 exp(-(x-m)/scale) from the line to far beyond.
	integral := func(median, peak, line float64) float64 {
		scale, sum := (peak-median)/ln50, 0.0
		for x := line; x < line+40*scale; x += scale / 1000 {
			sum += 0.5 * math.Exp(-(x+scale/2000-median)/scale) * scale / 1000
		}
		return sum
	}
	for _, tt := range []struct{ median, peak, line float64 }{{1000, 3000, 3200}, {1000, 3000, 1000}, {2000, 2100, 3200}, {100, 4000, 2000}} {
		if got, want := expectedExcess(tt.peak, tt.peak-tt.median, tt.line, ln50), integral(tt.median, tt.peak, tt.line); math.Abs(got-want) > 1e-3*max(want, 1e-6) {
			t.Errorf("excess of %+v = %v, want %v", tt, got, want)
		}
	}
	for name, tt := range map[string]struct{ median, peak, line, want float64 }{
		"a sure load below the line exceeds by nothing": {1000, 1000, 3200, 0},
		"a sure load above the line exceeds by what is": {4000, 4000, 3200, 800},
		"a median above the line":                       {3300, 3300 + 3.912, 3200, 100.5}, // 3300 - 3200 + scale/2, scale = 1
	} {
		if got := expectedExcess(tt.peak, tt.peak-tt.median, tt.line, ln50); math.Abs(got-tt.want) > 1e-3 {
			t.Errorf("%s: %v, want %v", name, got, tt.want)
		}
	}
}

func TestRawScoresFollowTheFormula(t *testing.T) {
	tests := map[string]struct {
		f                    Prospect
		wantSpread, wantPack int64
	}{
		// 1/2 x (1/(1+0) + 1 - 0/3200)
		"an idle node":          {Prospect{SafeLine: 3200}, 1_000_000, 500_000},
		"half of the safe line": {Prospect{SafeLine: 3200, Median: 1600, Peak: 1600}, 750_000, 750_000},
		"the safe line itself":  {Prospect{SafeLine: 3200, Median: 3200, Peak: 3200}, 500_000, 1_000_000},
		// An excess of 160 is the tolerance of 5 % of 3200: 1/2 x 1/(1+1)
		"above the safe line":                {Prospect{SafeLine: 3200, Median: 3360, Peak: 3360, ExpectedOver: 160}, 250_000, 250_000},
		"pressure is in the peak already":    {Prospect{SafeLine: 3200, Median: 1600, Peak: 1600, Pressure: 800}, 750_000, 750_000},
		"a node without CPU scores nothing":  {Prospect{}, 0, 0},
		"an absurd load does not overflow":   {Prospect{SafeLine: 3200, Median: maxMilliCPU, Peak: maxMilliCPU, ExpectedOver: maxMilliCPU}, 0, 0},
		"a negative capacity scores nothing": {Prospect{SafeLine: -5}, 0, 0},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := rawOnline(&tt.f, v1alpha1.LeastRisk); got != tt.wantSpread && got != tt.wantSpread+80 {
				t.Errorf("LeastRisk = %d, want %d", got, tt.wantSpread)
			}
			if got := rawOnline(&tt.f, v1alpha1.MostUsed); got != tt.wantPack && got != tt.wantPack+80 {
				t.Errorf("MostUsed = %d, want %d", got, tt.wantPack)
			}
		})
	}
}

func TestNormalisationTellsSmallDifferencesApartAndNoMore(t *testing.T) {
	list := func(raw ...int64) fwk.NodeScoreList {
		var l fwk.NodeScoreList
		for _, r := range raw {
			l = append(l, fwk.NodeScore{Score: r})
		}
		return l
	}
	for name, tt := range map[string]struct{ raw, want fwk.NodeScoreList }{
		"no node":   {list(), list()},
		"one node":  {list(0), list(100)},
		"all alike": {list(7, 7), list(100, 100)},
		// 0.2 % of the range of full marks of 200,000 is no point; 1 % is one
		"a trifle":         {list(500_000, 499_601, 498_000), list(100, 100, 99)},
		"a big difference": {list(1_000_000, 500_000, 0), list(100, 50, 0)},
	} {
		normalise(tt.raw)
		if d := cmp.Diff(tt.want, tt.raw); d != "" {
			t.Errorf("%s (-want +got):\n%s", name, d)
		}
	}
}

func TestAPodIsEstimatedByItsRequestAndLimit(t *testing.T) {
	always := corev1.ContainerRestartPolicyAlways
	limit := func(q string) podOption {
		return func(p *corev1.Pod) {
			p.Spec.Containers[0].Resources.Limits = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(q)}
		}
	}
	scaled := func(a *v1alpha1.LoadAwareArgs) {
		a.Estimates.LatencySensitive = v1alpha1.Estimate{RequestPercent: 80, BurstPercent: 50}
		a.Estimates.Batch = v1alpha1.Estimate{RequestPercent: 50, BurstPercent: 100}
	}
	tests := map[string]struct {
		args func(*v1alpha1.LoadAwareArgs)
		pod  *corev1.Pod
		want int64
	}{
		"a request counts as it is":                             {nil, newPod("a", withCPU("1500m")), 1500},
		"a container without a request counts as 100":           {nil, newPod("a"), 100},
		"an explicit zero stays zero":                           {nil, newPod("a", withCPU("0")), 0},
		"batch counts by its batch-cpu, whole milli-cores":      {nil, newPod("a", batchLabel, withBatchCPU("2000")), 2000},
		"batch with an ordinary request counts by that":         {nil, newPod("a", batchLabel, withCPU("3")), 3000},
		"batch-cpu of a pod that is not batch is not looked at": {nil, newPod("a", withBatchCPU("2000")), 100},
		"a sidecar adds to the containers": {nil, newPod("a", withCPU("1"), func(p *corev1.Pod) { // 1000 + 250
			p.Spec.InitContainers = []corev1.Container{{
				RestartPolicy: &always,
				Resources:     corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("250m")}},
			}}
		}), 1250},
		"an absurd request is bounded":    {nil, newPod("a", withCPU("1P")), maxMilliCPU},
		"a share of the request":          {scaled, newPod("a", withCPU("1")), 800},                              // 1000 x 0.8
		"and of what is up to the limit":  {scaled, newPod("a", withCPU("1"), limit("3")), 1800},                 // 1000 x 0.8 + 2000 x 0.5
		"a limit below the request":       {scaled, newPod("a", withCPU("1"), limit("500m")), 800},               // which the API server does not allow
		"batch has a share of its own":    {scaled, newPod("a", batchLabel, withBatchCPU("2000")), 1000},         // 2000 x 0.5
		"batch has no limit of its own":   {scaled, newPod("a", batchLabel, withCPU("2"), limit("8")), 1000},     // 2000 x 0.5
		"a limit that some container has": {scaled, newPod("a", withCPU("1"), limit("3"), secondContainer), 880}, // (1000 + 100) x 0.8
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			b := newTestbed(t, tt.args)
			need := b.needOf(tt.pod, at(0))
			if need.requestMilliCPU != tt.want || need.use.median != tt.want || need.use.peak != tt.want {
				t.Errorf("need = %+v, want %d", need, tt.want)
			}
			if need.batch != isBatch(tt.pod) {
				t.Errorf("batch = %v", need.batch)
			}
		})
	}
}

func secondContainer(p *corev1.Pod) {
	p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: "second"})
}

// randomNode is a node with up to 8 pods, some of them batch, some measured, and a forecast.
func randomNode(r *rand.Rand) (*v1alpha1.NodeUtilization, *fakeNodeInfo) {
	u := utilization("n1", at(0), r.Int64N(6000))
	u.Status.WindowMilliseconds = 10_000
	u.Status.Classes = []v1alpha1.ClassUtilization{{Class: v1alpha1.ClassBatch, Resources: v1alpha1.Resources{MilliCPU: min(u.Status.Node.MilliCPU, r.Int64N(3000))}}}
	if r.IntN(2) == 0 {
		u.Status.Forecast = steps(at(0).Truncate(time.Hour), time.Hour, 24, func(time.Time) (int64, int64) {
			median := r.Int64N(2000)
			return median, median + r.Int64N(2000)
		})
	}
	node := fakeNode("n1", 4000)
	for i := range r.IntN(8) {
		options := []podOption{func(p *corev1.Pod) {
			p.Spec.Containers[0].Resources.Requests = corev1.ResourceList{
				corev1.ResourceCPU: *resource.NewMilliQuantity(r.Int64N(2000), resource.DecimalSI),
			}
		}}
		if r.IntN(3) == 0 {
			options = append(options, batchLabel)
		}
		pod := newPod(string(uidOf(0, i)), options...)
		node.put(placed(pod))
		if r.IntN(2) == 0 {
			u.Status.Pods = append(u.Status.Pods, v1alpha1.PodUtilization{UID: string(pod.UID), MeasuredMilliseconds: r.Int64N(120_000), Resources: v1alpha1.Resources{MilliCPU: r.Int64N(1000)}})
		}
	}
	return u, node
}

func TestScoreKeepsItsPromisesOnRandomNodes(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	raw := func(u *v1alpha1.NodeUtilization, node *fakeNodeInfo, pod *corev1.Pod, age time.Duration) int64 {
		b := newTestbed(t, nil)
		b.publish(u)
		b.clock = b.clock.Add(age)
		f, _ := b.judge(pod, node)
		return f.Raw
	}
	for range 5000 {
		u, node := randomNode(r)
		options := []podOption{func(p *corev1.Pod) {
			p.Spec.Containers[0].Resources.Requests = corev1.ResourceList{corev1.ResourceCPU: *resource.NewMilliQuantity(r.Int64N(2000), resource.DecimalSI)}
		}}
		if r.IntN(2) == 0 {
			options = append(options, batchLabel)
		}
		pod, age := newPod("incoming", options...), time.Duration(r.Int64N(int64(2*time.Minute)))
		base := raw(u, node, pod, age)
		if base < 0 || base > maxRaw {
			t.Fatalf("score %d is outside 0 to %d", base, maxRaw)
		}
		busier := u.DeepCopy()
		busier.Status.Node.MilliCPU += r.Int64N(2000)
		if got := raw(busier, node, pod, age); got > base {
			t.Fatalf("a busier node scores %d, above %d: %+v", got, base, u.Status)
		}
		larger := newPod("incoming", options...)
		larger.Labels = pod.Labels
		request := pod.Spec.Containers[0].Resources.Requests[corev1.ResourceCPU]
		larger.Spec.Containers[0].Resources.Requests = corev1.ResourceList{corev1.ResourceCPU: *resource.NewMilliQuantity(request.MilliValue()+r.Int64N(1000), resource.DecimalSI)}
		if got := raw(u, node, larger, age); got > base {
			t.Fatalf("a larger pod scores %d, above %d: %+v", got, base, u.Status)
		}
		node.put(placed(newPod("new", withCPU("1"))))
		if got := raw(u, node, pod, age); got > base {
			t.Fatalf("a node with one more pod scores %d, above %d: %+v", got, base, u.Status)
		}
	}
}
