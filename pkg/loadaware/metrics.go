package loadaware

import (
	"time"

	k8smetrics "k8s.io/component-base/metrics"
	"k8s.io/component-base/metrics/legacyregistry"
	"k8s.io/klog/v2"

	"github.com/plimsoll/plimsoll/pkg/api/v1alpha1"
)

// metrics is what the scheduler's /metrics tells of the plugin, all profiles of one scheduler together.
type metrics struct {
	refusals      *k8smetrics.CounterVec
	placements    *k8smetrics.CounterVec
	age           *k8smetrics.HistogramVec
	estimateError *k8smetrics.HistogramVec
	views         *k8smetrics.CounterVec
	skewed        *k8smetrics.Gauge
}

const metricsNamespace, metricsSubsystem = "plimsoll", "loadaware"

func newMetrics() *metrics {
	counter := func(name, help string, labels ...string) *k8smetrics.CounterVec {
		return k8smetrics.NewCounterVec(&k8smetrics.CounterOpts{
			Namespace: metricsNamespace, Subsystem: metricsSubsystem, Name: name, Help: help, StabilityLevel: k8smetrics.ALPHA,
		}, labels)
	}
	histogram := func(name, help string, buckets []float64, labels ...string) *k8smetrics.HistogramVec {
		return k8smetrics.NewHistogramVec(&k8smetrics.HistogramOpts{
			Namespace: metricsNamespace, Subsystem: metricsSubsystem, Name: name, Help: help, Buckets: buckets, StabilityLevel: k8smetrics.ALPHA,
		}, labels)
	}
	return &metrics{
		refusals: counter("node_refusals_total", "Nodes that were refused for a pod, by reason; in mode Observe those that would have been.", "profile", "reason"),
		placements: counter("placements_total",
			"Pods that were bound, by what their node was judged by: Measured, Aging (measurement and requests), Stale or Missing (requests).", "profile", "class", "basis"),
		age: histogram("placement_view_age_seconds", "Age of the measurement of the node that a pod was bound to.",
			[]float64{1, 2, 5, 10, 20, 30, 45, 60, 90, 180, 600}, "profile"),
		estimateError: histogram("estimate_error_ratio",
			"What a placed pod was expected to use less what it was then measured to use, as a share of the larger of the two.",
			[]float64{-0.9, -0.5, -0.25, -0.1, -0.05, 0, 0.05, 0.1, 0.25, 0.5, 0.9}, "class"),
		views: counter("views_total", "NodeUtilizations that arrived, by what became of them: Taken or Refused.", "outcome"),
		skewed: k8smetrics.NewGauge(&k8smetrics.GaugeOpts{
			Namespace: metricsNamespace, Subsystem: metricsSubsystem, Name: "skewed_nodes", StabilityLevel: k8smetrics.ALPHA,
			Help: "Nodes whose clock differs from the API server's by more than 5 seconds.",
		}),
	}
}

// register makes the metrics readable on the scheduler's port.
func (m *metrics) register(logger klog.Logger) {
	for _, c := range []k8smetrics.Registerable{m.refusals, m.placements, m.age, m.estimateError, m.views, m.skewed} {
		if err := legacyregistry.Register(c); err != nil {
			// Two schedulers in one process, as in tests: the first one's are served.
			logger.Info("A metric is not served", "metric", c.FQName(), "err", err)
		}
	}
}

func (m *metrics) refused(profile string, why reason) {
	m.refusals.WithLabelValues(profile, string(why)).Inc()
}

// placed counts a pod that was bound.
func (m *metrics) placed(p *Plugin, c *cycle, node string) {
	class := v1alpha1.ClassLatencySensitive
	if c.need.batch {
		class = v1alpha1.ClassBatch
	}
	basis := "Missing"
	if v := c.snapshot.View(node); v != nil {
		age := v.age(c.now)
		m.age.WithLabelValues(p.profile).Observe(age.Seconds())
		switch {
		case age <= p.fresh:
			basis = "Measured"
		case age < p.stale:
			basis = "Aging"
		default:
			basis = "Stale"
		}
	}
	m.placements.WithLabelValues(p.profile, string(class), basis).Inc()
}

// errorWindow is how long after maturity a pod's measurement may still be compared with its estimate.
const errorWindow = 10 * time.Minute

// compare observes how far off the estimates were of the pods that have become mature in the View.
func (m *metrics) compare(records *records, v *View, maturityMilliseconds int64) {
	for uid, use := range v.pods {
		late := use.measuredMilliseconds - maturityMilliseconds
		if late < 0 || late > errorWindow.Milliseconds() {
			continue
		}
		e := records.of(uid)
		if e == nil {
			continue
		}
		e.mu.Lock()
		estimate, class := e.estimate, e.decision.Pod.Class
		compared := e.compared
		e.compared = true
		e.mu.Unlock()
		if compared {
			continue
		}
		ratio := 0.0
		if larger := max(estimate, use.milliCPU); larger > 0 {
			ratio = float64(estimate-use.milliCPU) / float64(larger)
		}
		m.estimateError.WithLabelValues(string(class)).Observe(ratio)
	}
}
