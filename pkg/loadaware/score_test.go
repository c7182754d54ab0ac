package loadaware

import (
	"math"
	"math/rand/v2"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"
	fwk "k8s.io/kube-scheduler/framework"
)

func TestScoreFollowsTheFormula(t *testing.T) {
	tests := map[string]struct {
		load, capacity, safePercent int64
		want                        int64
	}{
		"an idle node has full marks":           {0, 4000, 80, 100},    // 100 x (1 - 0/3200)
		"half of the safe line is half marks":   {1600, 4000, 80, 50},  // 100 x (1 - 1600/3200)
		"fractions are cut off":                 {1601, 4000, 80, 49},  // 100 x (1 - 1601/3200) = 49.97
		"the safe line itself is zero":          {3200, 4000, 80, 0},   // 100 x (1 - 3200/3200)
		"above the safe line is zero, not less": {3999, 4000, 80, 0},   // 100 x (1 - 3999/3200) = -25
		"a higher safe line leaves more":        {1600, 4000, 100, 60}, // 100 x (1 - 1600/4000)
		"a safe line that is no whole number":   {1, 3, 50, 33},        // 100 x (1 - 1/1.5) = 33.3
		"a node without CPU is zero":            {0, 0, 80, 0},
		"a negative capacity is zero":           {0, -5, 80, 0},
		"a negative load counts as none":        {-5, 4000, 80, 100},
		"an absurd load does not overflow":      {math.MaxInt64, 4000, 80, 0},
		"an absurd capacity does not overflow":  {4000, math.MaxInt64, 100, 99}, // 100 x (1 - 4e3/1e12) = 99.9999996
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := score(tt.load, tt.capacity, tt.safePercent); got != tt.want {
				t.Errorf("score(%d, %d, %d) = %d, want %d", tt.load, tt.capacity, tt.safePercent, got, tt.want)
			}
		})
	}
}

func TestNeedOfEstimatesAPodByItsRequest(t *testing.T) {
	always := corev1.ContainerRestartPolicyAlways
	tests := map[string]struct {
		pod  *corev1.Pod
		want podNeed
	}{
		"a request counts as it is":                             {newPod("a", withCPU("1500m")), podNeed{milliCPU: 1500}},
		"a container without a request counts as 100":           {newPod("a"), podNeed{milliCPU: 100}},
		"an explicit zero stays zero":                           {newPod("a", withCPU("0")), podNeed{milliCPU: 0}},
		"batch counts by its batch-cpu, whole milli-cores":      {newPod("a", batchLabel, withBatchCPU("2000")), podNeed{batch: true, milliCPU: 2000}},
		"batch with an ordinary request counts by that":         {newPod("a", batchLabel, withCPU("3")), podNeed{batch: true, milliCPU: 3000}},
		"batch-cpu of a pod that is not batch is not looked at": {newPod("a", withBatchCPU("2000")), podNeed{milliCPU: 100}},
		"a sidecar adds to the containers": {
			newPod("a", withCPU("1"), func(p *corev1.Pod) { // 1000 + 250
				p.Spec.InitContainers = []corev1.Container{{
					RestartPolicy: &always,
					Resources:     corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("250m")}},
				}}
			}), podNeed{milliCPU: 1250},
		},
		"an absurd request is bounded": {newPod("a", withCPU("1P")), podNeed{milliCPU: maxMilliCPU}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := needOf(tt.pod); got != tt.want {
				t.Errorf("needOf = %+v, want %+v", got, tt.want)
			}
		})
	}
}

func TestLoadIsMeasuredUsePlusWhatIsNotMeasuredYet(t *testing.T) {
	const maturity = 10_000
	online := podNeed{milliCPU: 500}
	batch := podNeed{milliCPU: 500, batch: true}
	one, two := placed(newPod("one", withCPU("1"))), placed(newPod("two", withCPU("2")))
	spinner := placed(newPod("spinner", batchLabel, withBatchCPU("4000")))
	plainBatch := placed(newPod("plain", batchLabel, withCPU("3")))

	tests := map[string]struct {
		view *View
		pods []fwk.PodInfo
		pod  podNeed
		want int64
	}{
		"an empty node carries the pod alone": {nil, nil, online, 500},
		"measured pods count by the node's use only": {
			viewOf(700, 0, map[types.UID]int64{"one": 10_000, "two": 99_999}), []fwk.PodInfo{one, two}, online,
			1200, // 700 + 0 + 0 + 500
		},
		"a pod placed since the measurement counts in full": {
			viewOf(700, 0, map[types.UID]int64{"one": 10_000}), []fwk.PodInfo{one, two}, online,
			3200, // 700 + 0 + 2000 + 500
		},
		"a pod measured for a quarter of the maturity time counts three quarters": {
			viewOf(700, 0, map[types.UID]int64{"one": 2500, "two": 10_000}), []fwk.PodInfo{one, two}, online,
			1950, // 700 + 1000 x 0.75 + 500
		},
		"without a measurement the load is the sum of requests": {
			nil, []fwk.PodInfo{one, two}, online,
			3500, // 1000 + 2000 + 500
		},
		"batch's use gives way to an online pod": {
			viewOf(3900, 3000, map[types.UID]int64{"spinner": 10_000}), []fwk.PodInfo{spinner}, online,
			1400, // 3900 - 3000 + 500
		},
		"batch's use counts for a batch pod": {
			viewOf(3900, 3000, map[types.UID]int64{"spinner": 10_000}), []fwk.PodInfo{spinner}, batch,
			4400, // 3900 + 500
		},
		"a batch pod not yet measured does not count for an online pod": {
			viewOf(900, 0, nil), []fwk.PodInfo{spinner, plainBatch}, online,
			1400, // 900 + 500
		},
		"batch pods not yet measured count for a batch pod": {
			viewOf(900, 0, nil), []fwk.PodInfo{spinner, plainBatch}, batch,
			8400, // 900 + 4000 + 3000 + 500
		},
		"batch that reports more than its node leaves no negative use": {
			viewOf(900, 1000, nil), nil, online,
			500, // max(0, 900 - 1000) + 500
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := loadMilliCPU(tt.view, tt.pods, tt.pod, maturity); got != tt.want {
				t.Errorf("load = %d, want %d", got, tt.want)
			}
		})
	}
}

func TestMaturityOfZeroTrustsTheFirstMeasurement(t *testing.T) {
	view := viewOf(700, 0, map[types.UID]int64{"one": 0})
	got := loadMilliCPU(view, []fwk.PodInfo{placed(newPod("one", withCPU("1")))}, podNeed{}, 0)
	if want := int64(700); got != want {
		t.Errorf("load = %d, want %d", got, want)
	}
}

// randomNode is a node with up to 8 pods, some of them batch, some measured.
func randomNode(r *rand.Rand) (*View, []fwk.PodInfo) {
	view := viewOf(r.Int64N(6000), r.Int64N(3000), nil)
	var pods []fwk.PodInfo
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
		pods = append(pods, placed(pod))
		if r.IntN(2) == 0 {
			view.pods[pod.UID] = podUse{measuredMilliseconds: r.Int64N(20_000)}
		}
	}
	return view, pods
}

// rate is the score of a node of 4 cores at a safe line of 80 %.
func rate(view *View, pods []fwk.PodInfo, pod podNeed) int64 {
	return score(loadMilliCPU(view, pods, pod, 10_000), 4000, 80)
}

func TestScoreKeepsItsPromisesOnRandomNodes(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 20_000 {
		view, pods := randomNode(r)
		pod := podNeed{milliCPU: r.Int64N(2000), batch: r.IntN(2) == 0}
		base := rate(view, pods, pod)

		if base < fwk.MinScore || base > fwk.MaxScore {
			t.Fatalf("score %d is outside 0 to 100", base)
		}
		busier := *view
		busier.node.MilliCPU += r.Int64N(2000)
		if got := rate(&busier, pods, pod); got > base {
			t.Fatalf("a busier node scores %d, above %d: %+v", got, base, view)
		}
		if got := rate(view, append(pods, placed(newPod("new", withCPU("1")))), pod); got > base {
			t.Fatalf("a node with one more pod scores %d, above %d: %+v", got, base, view)
		}
		larger := pod
		larger.milliCPU += r.Int64N(1000)
		if got := rate(view, pods, larger); got > base {
			t.Fatalf("a larger pod scores %d, above %d: %+v", got, base, view)
		}
		longer := *view
		longer.pods = map[types.UID]podUse{}
		for uid, use := range view.pods {
			longer.pods[uid] = podUse{measuredMilliseconds: use.measuredMilliseconds + r.Int64N(5000)}
		}
		if got := rate(&longer, pods, pod); got < base {
			t.Fatalf("pods measured for longer score %d, below %d: %+v", got, base, view)
		}
		if !pod.batch {
			more := *view
			extra := r.Int64N(2000)
			more.node.MilliCPU += extra
			more.batch.MilliCPU += extra
			if view.node.MilliCPU >= view.batch.MilliCPU && rate(&more, pods, pod) != base {
				t.Fatalf("%d more of batch changes the score of an online pod from %d: %+v", extra, base, view)
			}
		}
	}
}

func TestAMissingMeasurementScoresByRequestsAlone(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 5000 {
		_, pods := randomNode(r)
		pod := podNeed{milliCPU: r.Int64N(2000)}
		requests := pod.milliCPU
		for _, p := range pods {
			if !isBatch(p.GetPod()) {
				requests += p.CalculateResource().Non0CPU
			}
		}
		if got, want := rate(nil, pods, pod), score(requests, 4000, 80); got != want {
			t.Fatalf("score = %d, want that of requests of %d, %d", got, requests, want)
		}
	}
}
