package loadaware

import (
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	fwk "k8s.io/kube-scheduler/framework"

	"github.com/plimsoll/plimsoll/pkg/api/v1alpha1"
)

// fleet is nodes of 30 pods each, as their agents tell of them; each node has 2 pods not measured yet.
func fleet(b *testbed, nodes int) []fwk.NodeInfo {
	const podsPerNode = 30
	var infos []fwk.NodeInfo
	for i := range nodes {
		name := fmt.Sprintf("node-%04d.cluster.example", i)
		u := utilization(name, b.now(), int64(i%4000))
		u.Status.Forecast = steps(b.now().Truncate(time.Hour), 15*time.Minute, 96, daily(8, 20, int64(i%1000), int64(i%3000)))
		node := fakeNode(name, 4000)
		for j := range podsPerNode {
			pod := newPod(string(uidOf(i, j)), withCPU("50m"))
			pod.Labels = map[string]string{"app": "web", "team": "payments", "pod-template-hash": "5d4f8c7b9"}
			node.put(placed(pod))
			if j >= 2 {
				u.Status.Pods = append(u.Status.Pods, v1alpha1.PodUtilization{UID: string(pod.UID), MeasuredMilliseconds: 60_000})
			}
		}
		for j := range 10 {
			u.Status.Workloads = append(u.Status.Workloads, service(fmt.Sprint("payments/Deployment/web-", j), 3, 8, 20, 10, 40))
		}
		b.publish(u)
		infos = append(infos, node)
	}
	return infos
}

// podKinds is pods that take different ways through the score.
func podKinds() map[string][]podOption {
	return map[string][]podOption{
		"online": {withCPU("400m")},
		"batch":  {batchLabel, withBatchCPU("400")},
		"hourly": {withCPU("400m"), func(p *corev1.Pod) {
			p.Labels = map[string]string{"pod-template-hash": "5d4f8c7b9"}
			p.Name = "web-1-5d4f8c7b9-abcde"
			p.Namespace = "payments"
		}},
	}
}

func TestFilterAndScoreAllocateNothing(t *testing.T) {
	b := newTestbed(t, nil)
	nodes := fleet(b, 10)
	nodes = append(nodes, fakeNode("not measured", 4000, placed(newPod("a")), placed(newPod("b", batchLabel))))
	for name, options := range podKinds() {
		incoming := newPod("incoming", options...)
		state := newFakeState()
		if _, status := b.PreFilter(t.Context(), state, incoming, nil); !status.IsSuccess() {
			t.Fatal(status.AsError())
		}
		ctx := t.Context()
		considered := nodes
		if name == "batch" {
			considered = nodes[:10] // the last is refused, which is told in words
		}
		got := testing.AllocsPerRun(100, func() {
			for _, n := range considered {
				if status := b.Filter(ctx, state, incoming, n); !status.IsSuccess() {
					t.Fatal(status.AsError())
				}
				if _, status := b.Score(ctx, state, incoming, n); !status.IsSuccess() {
					t.Fatal(status.AsError())
				}
			}
		})
		if got != 0 {
			t.Errorf("judging %d nodes for a pod of kind %s allocates %v times, want 0", len(considered), name, got)
		}
	}
}

// One iteration filters and scores one of 5,000 nodes. "steady" is a cycle in which no node has changed;
// "walk" recomputes the node's outlook each time, as happens once for each change of a node's pods.
func BenchmarkFilterAndScoreOneOf5000NodesOf30Pods(b *testing.B) {
	bed := newTestbed(b, nil)
	nodes := fleet(bed, 5000)
	for name, options := range podKinds() {
		incoming := newPod("incoming", options...)
		b.Run("steady/"+name, func(b *testing.B) {
			benchmarkJudging(b, bed, nodes, incoming, func(int) {})
		})
	}
	b.Run("walk", func(b *testing.B) {
		benchmarkJudging(b, bed, nodes, newPod("incoming", withCPU("400m")), func(i int) { nodes[i].(*fakeNodeInfo).generation = generations.Add(1) })
	})
}

func benchmarkJudging(b *testing.B, bed *testbed, nodes []fwk.NodeInfo, incoming *corev1.Pod, before func(i int)) {
	state := newFakeState()
	if _, status := bed.PreFilter(b.Context(), state, incoming, nil); !status.IsSuccess() {
		b.Fatal(status.AsError())
	}
	ctx := b.Context()
	for _, n := range nodes { // so that no outlook is computed within
		bed.Filter(ctx, state, incoming, n)
	}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		before(i)
		bed.Filter(ctx, state, incoming, nodes[i])
		bed.Score(ctx, state, incoming, nodes[i])
		if i++; i == len(nodes) {
			i = 0
		}
	}
}

// One iteration is what the plugin does once for each pod, apart from the nodes.
func BenchmarkCycleWithoutNodes(b *testing.B) {
	bed := newTestbed(b, nil)
	incoming := newPod("incoming", withCPU("400m"))
	state := newFakeState()
	b.ReportAllocs()
	for b.Loop() {
		bed.PreFilter(b.Context(), state, incoming, nil)
	}
}
