package agent

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/plimsoll/plimsoll/pkg/api/v1alpha1"
)

// harmCounters shows the totals of one status. What is not known in it is not shown, which a counter of the library
// cannot do without beginning anew.
type harmCounters struct {
	throttled, evictions *prometheus.Desc
	// totals is guarded by metrics.showing.
	totals *v1alpha1.HarmTotals
}

func newHarmCounters() *harmCounters {
	return &harmCounters{
		throttled: prometheus.NewDesc("plimsoll_throttled_seconds_total",
			"Time in which CPU limits stopped latency-sensitive pods (their own limits; summed over pods), and in which the quota of all batch work stopped it.", []string{"class"}, nil),
		evictions: prometheus.NewDesc("plimsoll_evictions_total", "Batch pods that the API server evicted for the agent.", nil, nil),
	}
}

// Describe is prometheus.Collector's.
func (h *harmCounters) Describe(to chan<- *prometheus.Desc) {
	to <- h.throttled
	to <- h.evictions
}

// Collect is prometheus.Collector's.
func (h *harmCounters) Collect(to chan<- prometheus.Metric) {
	if h.totals == nil {
		return
	}
	show := func(class v1alpha1.Class, millis *int64) {
		if millis != nil {
			to <- prometheus.MustNewConstMetric(h.throttled, prometheus.CounterValue, float64(*millis)/1000, string(class))
		}
	}
	show(v1alpha1.ClassLatencySensitive, h.totals.ThrottledMilliseconds)
	show(v1alpha1.ClassBatch, h.totals.BatchThrottledMilliseconds)
	to <- prometheus.MustNewConstMetric(h.evictions, prometheus.CounterValue, float64(h.totals.Evictions))
}
