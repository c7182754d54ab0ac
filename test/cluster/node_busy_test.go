package cluster

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/plimsoll/plimsoll/pkg/cgroup"
	"github.com/plimsoll/plimsoll/pkg/qos"
)

// startBusy runs a service that wants all of the node's CPU, with more threads than there are CPUs.
func (n *node) startBusy(t *testing.T, cpuRequest string) *corev1.Pod {
	t.Helper()
	pods := n.client.CoreV1().Pods(metav1.NamespaceDefault)
	made, err := pods.Create(t.Context(), &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "busy"},
		Spec: corev1.PodSpec{
			HostNetwork: true, TerminationGracePeriodSeconds: ptr.To[int64](1),
			Containers: []corev1.Container{{
				Name: "work", Image: batchImage, ImagePullPolicy: corev1.PullNever,
				Args:      []string{fmt.Sprintf("--threads=%d", 3*runtime.NumCPU()), "--listen="},
				Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpuRequest)}},
			}},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := pods.Delete(context.WithoutCancel(t.Context()), "busy", metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})
	return made
}

// TestTheAgentLooksInTimeOnANodeThatAServiceFills has a service with six busy threads (on two CPUs) and a request of a
// CPU beside the agent, and compares how late the agent's looks for harm come as it is installed with the weight of a
// request of 30m, in turns.
func TestTheAgentLooksInTimeOnANodeThatAServiceFills(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("a real node needs root: run the tests as root to cover it")
	}
	if os.Getenv("PLIMSOLL_MEASURE") == "" {
		t.Skip("measures how late an agent is that others starve, which scatters: set PLIMSOLL_MEASURE=1 to run it")
	}
	n := startNode(t)
	n.installAgent(t)
	p, err := n.agentPod(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	group, err := n.groupOf(string(p.UID))
	if err != nil {
		t.Fatal(err)
	}
	a := busyAgent{n, group, map[string]int64{}}
	for _, g := range []string{group, group + "/" + idOf(statusOf(p, "agent"))} {
		file, err := n.host.KnobFile(g, qos.CPUWeight)
		if err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if a.weights[file], err = strconv.ParseInt(string(bytes.TrimSpace(text)), 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	busy := n.startBusy(t, "1")
	eventually(t, "the service to fill the node", func(context.Context) (bool, error) {
		g, err := n.groupOf(string(busy.UID))
		return err == nil && n.cpuMicros(t, g) > 2_000_000, nil
	})
	const rounds, window = 5, 4 * time.Second
	var before, after lateness
	for range rounds {
		a.set(t, 3)
		then := a.looks(t, window)
		before.add(then)
		a.set(t, 10)
		now := a.looks(t, window)
		after.add(now)
		t.Logf("late of a thousand: %d before, %d as it is installed", then.late(), now.late())
	}
	t.Logf("with a weight of 30m %v", before)
	t.Logf("as it is installed %v", after)
	if after.late() > 50 && after.late() >= before.late() { // other programs of the machine may hold both up
		t.Errorf("%d looks of a thousand are late as it is installed, and %d before; want fewer, or at most 50", after.late(), before.late())
	}
}

// busyAgent is the agent's pod's group, and the weights of its groups as they were installed, by file.
type busyAgent struct {
	*node
	pod     string
	weights map[string]int64
}

// set gives the agent's groups so many tenths of the weights that they were installed with.
func (a busyAgent) set(t *testing.T, tenths int64) {
	t.Helper()
	for file, weight := range a.weights {
		if err := os.WriteFile(file, []byte(strconv.FormatInt(weight*tenths/10, 10)), 0); err != nil {
			t.Fatal(err)
		}
	}
}

// looks is how late those of some seconds came.
func (a busyAgent) looks(t *testing.T, window time.Duration) lateness {
	t.Helper()
	begin, before := time.Now(), a.lateSeconds(t)
	cpu := a.cpuMicros(t, a.pod)
	eventually(t, "some seconds to measure", func(context.Context) (bool, error) { return time.Since(begin) >= window, nil })
	after := a.lateSeconds(t)
	l := lateness{elapsed: time.Since(begin), cpu: time.Duration(a.cpuMicros(t, a.pod)-cpu) * time.Microsecond}
	l.looks = after.GetSampleCount() - before.GetSampleCount()
	for i, b := range after.GetBucket() {
		l.buckets = append(l.buckets, bucket{b.GetUpperBound(), b.GetCumulativeCount() - before.GetBucket()[i].GetCumulativeCount()})
	}
	return l
}

func (a busyAgent) lateSeconds(t *testing.T) *dto.Histogram {
	t.Helper()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(get(t, "http://127.0.0.1:8470/metrics")))
	if err != nil {
		t.Fatal(err)
	}
	f := families["plimsoll_agent_late_seconds"]
	if f == nil {
		t.Fatal("the agent does not tell how late it is")
	}
	return f.GetMetric()[0].GetHistogram()
}

type bucket struct {
	seconds float64
	looks   uint64
}

// lateness is a histogram of how late looks came.
type lateness struct {
	elapsed, cpu time.Duration
	looks        uint64
	buckets      []bucket
}

func (l *lateness) add(m lateness) {
	l.elapsed, l.cpu, l.looks = l.elapsed+m.elapsed, l.cpu+m.cpu, l.looks+m.looks
	if l.buckets == nil {
		l.buckets = make([]bucket, len(m.buckets))
	}
	for i, b := range m.buckets {
		l.buckets[i] = bucket{b.seconds, l.buckets[i].looks + b.looks}
	}
}

// late is how many looks of a thousand came more than 64 ms late.
func (l lateness) late() uint64 {
	const bound = 0.065
	intime := uint64(0)
	for _, b := range l.buckets {
		if b.seconds < bound {
			intime = b.looks
		}
	}
	return (l.looks - intime) * 1000 / max(l.looks, 1)
}

// String gives percentiles as the bound of the histogram that they are below.
func (l lateness) String() string {
	text := fmt.Sprintf("%d looks in %v, %d of a thousand more than 64 ms late", l.looks, l.elapsed.Round(time.Second), l.late())
	for _, permille := range []uint64{500, 900, 990, 1000} {
		bound := "more"
		for _, b := range l.buckets {
			if b.looks*1000 >= l.looks*permille {
				bound = fmt.Sprintf("%.0f ms", b.seconds*1000)
				break
			}
		}
		text += fmt.Sprintf("; p%.0f at most %s", float64(permille)/10, bound)
	}
	return text + fmt.Sprintf("; the agent's pod used %.1f thousandths of a core", float64(l.cpu.Milliseconds())*1000/float64(l.elapsed.Milliseconds()))
}

// cpuMicros is the CPU time of a group.
func (n *node) cpuMicros(t *testing.T, group string) int64 {
	t.Helper()
	r := cgroup.NewReader(n.host)
	defer r.Close()
	s, err := r.Read(group)
	if err != nil {
		t.Fatal(err)
	}
	return s.CPUMicros.Value
}
