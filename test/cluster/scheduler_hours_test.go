package cluster

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/plimsoll/plimsoll/pkg/api/v1alpha1"
)

// ofDeployment makes a pod what a Deployment of that name would make.
func ofDeployment(name string) func(*corev1.Pod) {
	return func(pod *corev1.Pod) {
		const hash = "5d4f8c7b9"
		pod.GenerateName, pod.Name = name+"-"+hash+"-", ""
		pod.Labels = map[string]string{"pod-template-hash": hash}
	}
}

// service is the profile of a Deployment, one pod of which uses 2000 in the two hours from `from` on and 200 else.
func service(name string, from int) v1alpha1.WorkloadProfile {
	w := v1alpha1.WorkloadProfile{
		Name: metav1.NamespaceDefault + "/Deployment/" + name, Class: v1alpha1.ClassLatencySensitive, Pods: 1, HistorySeconds: 7 * 86_400,
		MilliCPU:           v1alpha1.Distribution{P50: 200, P95: 2000, P99: 2000, Max: 2000},
		HourlyPeakMilliCPU: make([]int64, 24),
	}
	for h := range w.HourlyPeakMilliCPU {
		w.HourlyPeakMilliCPU[h] = 200
	}
	w.HourlyPeakMilliCPU[from%24], w.HourlyPeakMilliCPU[(from+1)%24] = 2000, 2000
	return w
}

// Both nodes use 200 now and have been asked for the same. a carries a service that peaks in some hours, b one
// that peaks in others. Another pod of either would make 4000 of 4000 beside its like, and 2200 beside the other.
func testTimeOfDay(t *testing.T, cp *controlPlane) {
	cp.installCRDs(t)
	p := cp.newNodePair(t, "hours")
	hour := time.Now().UTC().Hour()
	residents := map[string]v1alpha1.WorkloadProfile{"a": service("day", hour+3), "b": service("night", hour+9)}
	for which, name := range map[string]string{"a": "day", "b": "night"} {
		pod := p.createPod(t, which, "200m", nil, ofDeployment(name))
		u := p.utilization(which, 200, 0, 0, pod)
		u.Status.Workloads = []v1alpha1.WorkloadProfile{residents[which]}
		cp.putUtilization(t, u)
	}
	p.wantPicks(t, "b", nil, ofDeployment("day"))
	p.wantPicks(t, "a", nil, ofDeployment("night"))
}

// a is idle until five hours from now and then uses 2800 of the safe 3200; b uses 1500 all day.
func testExpectedDuration(t *testing.T, cp *controlPlane) {
	cp.installCRDs(t)
	p := cp.newNodePair(t, "lasting")
	forecast := func(milliCPU func(hour int) int64) *v1alpha1.Forecast {
		f := &v1alpha1.Forecast{Start: metav1.NewTime(time.Now().Truncate(time.Hour)), StepSeconds: 3600, QuantilePermille: 990, ConfidencePermille: 900, HistorySeconds: 7 * 86_400}
		for h := range 25 {
			f.PeakMilliCPU = append(f.PeakMilliCPU, milliCPU(h))
			f.MedianMilliCPU = append(f.MedianMilliCPU, milliCPU(h))
		}
		return f
	}
	a, b := p.utilization("a", 100, 0, 0), p.utilization("b", 1500, 0, 0)
	a.Status.Forecast = forecast(func(h int) int64 {
		if h < 5 {
			return 100
		}
		return 2800
	})
	b.Status.Forecast = forecast(func(int) int64 { return 1500 })
	cp.putUtilization(t, a)
	cp.putUtilization(t, b)
	batch := map[string]string{v1alpha1.ClassLabel: v1alpha1.BatchLabelValue}
	runs := func(duration string) func(*corev1.Pod) {
		return func(pod *corev1.Pod) { pod.Annotations = map[string]string{v1alpha1.DurationAnnotation: duration} }
	}
	p.wantPicks(t, "a", batch, runs("30m"))
	p.wantPicks(t, "b", batch, runs("12h"))
	p.wantPicks(t, "a", batch, runs("soon")) // no duration: the default of an hour counts
}

// By requests a is the idler node, by use it is hot. A profile that enforces takes b; one that observes takes a, and
// tells that it would have refused it.
func testObserve(t *testing.T, cp *controlPlane, s *scheduler) {
	cp.installCRDs(t)
	p := cp.newNodePair(t, "watched")
	resident := p.createPod(t, "b", "2", nil)
	p.publish(t, "a", 3900, 0, 0)
	p.publish(t, "b", 300, 0, 0, resident)
	p.wantPicks(t, "b", nil)
	p.schedulerName = observingProfile
	p.wantPicks(t, "a", nil)
	pod := p.createPod(t, "", "100m", nil)
	p.picked(t, pod)

	page := s.get(t, cp, "/configz")
	for _, want := range []string{`"profile":"observing","mode":"Observe"`, `"refusedNodes":[{"node":"watched-a","reason":"CPU"}]`} {
		if !strings.Contains(page, want) {
			t.Errorf("the record lacks %s", want)
		}
	}
	metric := `plimsoll_loadaware_node_refusals_total{profile="observing",reason="CPU"}`
	if page := s.get(t, cp, "/metrics"); !strings.Contains(page, metric) {
		t.Errorf("the metrics lack %s", metric)
	}
}

// get reads a page of the scheduler's port as the cluster's administrator.
func (s *scheduler) get(t *testing.T, cp *controlPlane, path string) string {
	t.Helper()
	config := rest.AnonymousClientConfig(cp.config)
	config.TLSClientConfig = cp.config.TLSClientConfig // the administrator's certificate, which the scheduler trusts too
	config.Insecure, config.CAData, config.CAFile = true, nil, ""
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		t.Fatal(err)
	}
	body := ""
	eventually(t, "the scheduler's page "+path, func(ctx context.Context) (bool, error) {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url+path, nil)
		if err != nil {
			return false, err
		}
		response, err := client.Do(request)
		if err != nil {
			return false, err
		}
		defer response.Body.Close()
		content, err := io.ReadAll(response.Body)
		if err != nil {
			return false, fmt.Errorf("reading %s: %w", path, err)
		}
		body = string(content)
		if response.StatusCode != http.StatusOK {
			return false, fmt.Errorf("GET %s: %s: %s", path, response.Status, body)
		}
		return true, nil
	})
	return body
}
