package loadaware

import (
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/plimsoll/plimsoll/pkg/api/v1alpha1"
)

// The table must say what the outlook says, or nothing.
func TestTheQuickWayJudgesAsTheLongOneOnRandomNodes(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	admitted, scored, scoredBatch := 0, 0, 0
	for range 5000 {
		u, node := randomNode(r)
		node.allocatable.memory = r.Int64N(4 << 30)
		options := []podOption{func(p *corev1.Pod) {
			p.Spec.Containers[0].Resources.Requests = corev1.ResourceList{
				corev1.ResourceCPU:    *resource.NewMilliQuantity(r.Int64N(4000), resource.DecimalSI),
				corev1.ResourceMemory: *resource.NewQuantity(r.Int64N(4<<30), resource.BinarySI),
			}
		}}
		if r.IntN(3) == 0 {
			options = append(options, batchLabel, func(p *corev1.Pod) {
				p.Annotations = map[string]string{v1alpha1.DurationAnnotation: time.Duration(1 + r.Int64N(int64(36*time.Hour))).String()}
			})
		}
		b := newTestbed(t, func(a *v1alpha1.LoadAwareArgs) {
			if r.IntN(4) == 0 {
				a.MaxCPUPercent, a.MaxMemoryPercent = 0, 0
			}
		})
		b.publish(u)
		b.clock = b.clock.Add(time.Duration(r.Int64N(int64(2 * time.Minute))))
		c := b.newCycle(newPod("incoming", options...))
		o := b.outlookOf(c, node.node, node) // which fills the table
		if b.shortcut.admits(node.generation, c, b.Plugin) {
			admitted++
			if why := b.refuse(o, &c.need, c.since); why != reasonNone {
				t.Fatalf("the table admits what is refused for %s: %+v", why, u.Status)
			}
		}
		if l, ok := b.shortcut.load(node.generation, c); ok && !c.need.batch {
			scored++
			got, want := b.underLoad(&l, l.few[:l.fewCount], &c.need, c), b.foreseen(o, &c.need, node, c)
			if got != want {
				t.Fatalf("by the table %+v, by the outlook %+v", got, want)
			}
		}
		if l, ok := b.shortcut.batchLoad(node.generation, c); ok && c.need.batch {
			scoredBatch++
			if got, want := b.batchUnderLoad(&l, &c.need, c), b.foreseen(o, &c.need, node, c); got != want {
				t.Fatalf("for a batch pod of %v by the table %+v, by the outlook %+v", c.need.duration, got, want)
			}
		}
	}
	if admitted < 1000 || scored < 1000 || scoredBatch < 1000 {
		t.Errorf("the table was used to admit %d times and to score %d times and %d for batch: it hardly serves", admitted, scored, scoredBatch)
	}
}

func TestTheQuickWayIsOfTheCyclesOwnMoment(t *testing.T) {
	b := newTestbed(t, nil)
	node := fakeNode("n1", 4000)
	b.publish(utilization("n1", at(0), 600))
	before := b.newCycle(newPod("p"))
	b.outlookOf(before, node.node, node)
	safe := func(c *cycle) bool { return b.shortcut.admits(node.generation, c, b.Plugin) }
	if !safe(before) {
		t.Error("an idle node is not in the table")
	}
	b.publish(utilization("n1", at(1), 3900))
	after := b.newCycle(newPod("p"))
	if !safe(before) {
		t.Error("a cycle that began before the measurement is judged by it")
	}
	if safe(after) {
		t.Error("a cycle that began after the measurement is judged by the one before")
	}
	if b.outlookOf(after, node.node, node); safe(after) || safe(before) {
		t.Error("a hot node is admitted without a look")
	}
	b.clock = at(3600)
	b.publish(utilization("n1", at(3600), 600))
	c := b.newCycle(newPod("p"))
	if b.outlookOf(c, node.node, node); !safe(c) {
		t.Error("a node that cooled is not in the table")
	}
	b.clock = at(7200)
	if safe(b.newCycle(newPod("p"))) {
		t.Error("an entry is used in another hour than it is of")
	}
}

// A writer changes one entry all the time between two nodes that share it; a reader must never see a mixture.
func TestTheQuickWayNeverMixesTwoNodes(t *testing.T) {
	s := &shortcut{}
	one := &outlook{generation: 1, validUntil: 1 << 62, known: true, safeLine: 1, cpuRoom: 1, logTail: 1, riskCount: 1}
	other := &outlook{generation: 1, validUntil: 1 << 62, known: true, safeLine: 2, cpuRoom: 2, logTail: 2, riskCount: 1}
	other.generation += 1 << quickBits
	third := &outlook{generation: other.generation - 1, validUntil: 1 << 62, safeLine: 3} // its neighbour, so that there is one place
	one.risks[0], other.risks[0] = hour{1, 1}, hour{2, 2}
	s.add(third, nil)
	s.add(one, nil)
	done := make(chan struct{})
	var writer sync.WaitGroup
	writer.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
				s.add(other, nil)
				s.add(one, nil)
			}
		}
	})
	c := &cycle{snapshot: newSnapshot()}
	seen := 0
	for range 200_000 {
		l, ok := s.load(one.generation, c)
		if !ok {
			continue
		}
		seen++
		if l.safeLine != 1 || l.logTail != 1 || l.few[0] != (hour{1, 1}) {
			t.Fatalf("read of one node, partly another's: %+v", l)
		}
	}
	close(done)
	writer.Wait()
	if seen == 0 {
		t.Error("the entry was never read whole")
	}
}

func TestTwoNodesOfOnePlaceAreBothInTheTable(t *testing.T) {
	s, c := &shortcut{}, &cycle{snapshot: newSnapshot()}
	node := func(generation, line int64) *outlook {
		return &outlook{generation: generation, validUntil: 1 << 62, known: true, safeLine: line, logTail: 1, riskCount: 1}
	}
	found := func(generation int64) int64 {
		l, ok := s.load(generation, c)
		if !ok {
			return 0
		}
		return l.safeLine
	}
	const apart = 1 << quickBits
	first, second, third := node(7, 1), node(7+apart, 2), node(7+2*apart, 3)
	s.add(first, nil)
	s.add(second, nil)
	if found(7) != 1 || found(7+apart) != 2 {
		t.Errorf("found %d and %d, want 1 and 2", found(7), found(7+apart))
	}
	s.add(third, first) // a pod came to the first node: what it was before gives up its place
	if found(7) != 0 || found(7+apart) != 2 || found(7+2*apart) != 3 {
		t.Errorf("found %d, %d and %d, want 0, 2 and 3", found(7), found(7+apart), found(7+2*apart))
	}
	s.replaced(second, 5) // and so does one that was measured anew
	s.add(node(7+3*apart, 4), nil)
	if found(7+apart) != 0 || found(7+2*apart) != 3 || found(7+3*apart) != 4 {
		t.Errorf("found %d, %d and %d, want 0, 3 and 4", found(7+apart), found(7+2*apart), found(7+3*apart))
	}
}
