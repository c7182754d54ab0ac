package agent

import (
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	dto "github.com/prometheus/client_model/go"

	"github.com/plimsoll/plimsoll/pkg/api/v1alpha1"
)

// metrics is what the agent tells Prometheus.
type metrics struct {
	registry *prometheus.Registry
	// showing keeps a scrape from seeing the gauges of half a status.
	showing sync.RWMutex

	ticks          *prometheus.CounterVec
	tickSeconds    prometheus.Histogram
	lateSeconds    prometheus.Histogram
	skippedGroups  prometheus.Counter
	changes        *prometheus.CounterVec
	undone         *prometheus.CounterVec
	placements     *prometheus.CounterVec
	publishes      *prometheus.CounterVec
	publishSeconds prometheus.Histogram
	hookConnected  prometheus.Gauge
	nodeWrites     *prometheus.CounterVec
	lendable       *prometheus.GaugeVec

	cores    *prometheus.GaugeVec
	memory   *prometheus.GaugeVec
	pods     *prometheus.GaugeVec
	pressure *prometheus.GaugeVec
	capacity *prometheus.GaugeVec
	harm     *harmCounters
}

func newMetrics() *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		ticks: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "plimsoll_agent_ticks_total",
			Help: "Readings of the node, by result: ok, error (the last settings hold) or blind (too many errors: the protecting plan)."}, []string{"result"}),
		tickSeconds: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "plimsoll_agent_tick_seconds",
			Help: "Time from the start of a reading to the last kernel write.", Buckets: prometheus.ExponentialBuckets(0.00025, 2, 14)}),
		lateSeconds: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "plimsoll_agent_late_seconds",
			Help: "How much later than due the agent looked for harm, each tenth of a second. A look that was left out because the one before was late counts too.", Buckets: prometheus.ExponentialBuckets(0.001, 2, 14)}),
		skippedGroups: prometheus.NewCounter(prometheus.CounterOpts{Name: "plimsoll_agent_skipped_groups_total",
			Help: "Cgroups left out of a reading because they vanished or could not be read while it ran."}),
		changes: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "plimsoll_agent_changes_total",
			Help: "Kernel settings that a strategy wanted otherwise, by outcome."}, []string{"strategy", "knob", "outcome"}),
		undone: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "plimsoll_agent_undone_total",
			Help: "Kernel settings that were not any more as the agent had written them: somebody else writes them too."}, []string{"strategy", "knob"}),
		placements: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "plimsoll_agent_batch_placements_total",
			Help: "Batch containers seen at creation, by what was done: placed in the batch branch, or observed only."}, []string{"outcome"}),
		publishes: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "plimsoll_agent_publishes_total",
			Help: "Writes of NodeUtilization, by result."}, []string{"result"}),
		publishSeconds: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "plimsoll_agent_publish_seconds",
			Help: "Time of a successful write of NodeUtilization.", Buckets: prometheus.ExponentialBuckets(0.001, 2, 14)}),
		hookConnected: prometheus.NewGauge(prometheus.GaugeOpts{Name: "plimsoll_agent_runtime_hook_connected",
			Help: "1 while the container runtime asks the agent about new containers."}),
		nodeWrites: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "plimsoll_agent_node_writes_total",
			Help: "Writes of what the Node offers to batch work, by result."}, []string{"result"}),
		lendable: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "plimsoll_lendable",
			Help: "What batch work may use: cpu in cores, memory in bytes; kind is computed, published, lent, lent_unused or used_beyond_lent."}, []string{"resource", "kind"}),
		cores: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "plimsoll_cpu_cores",
			Help: "CPU in use, averaged over the agent's window; class All is the whole node."}, []string{"class"}),
		memory: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "plimsoll_memory_working_set_bytes",
			Help: "Memory in use; class All is the whole node."}, []string{"class"}),
		pods: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "plimsoll_pods",
			Help: "Pods measured."}, []string{"class"}),
		pressure: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "plimsoll_pressure_ratio",
			Help: "Share of wall time in which some task of the worst group of the class waited for the resource (PSI)."}, []string{"class", "resource"}),
		capacity: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "plimsoll_capacity",
			Help: "What the node has: cpu in cores, memory in bytes."}, []string{"resource"}),
		harm: newHarmCounters(),
	}
	m.registry.MustRegister(m.ticks, m.tickSeconds, m.lateSeconds, m.skippedGroups, m.changes, m.undone, m.placements, m.publishes, m.publishSeconds,
		m.hookConnected, m.nodeWrites, m.lendable, m.cores, m.memory, m.pods, m.pressure, m.capacity, m.harm,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), collectors.NewBuildInfoCollector())
	return m
}

// watchAudit shows how many records the audit log has lost.
func (m *metrics) watchAudit(lost func() (int64, error)) {
	m.registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "plimsoll_agent_audit_lost_total",
		Help: "Audit records that could not be written; the kernel was written all the same."},
		func() float64 { n, _ := lost(); return float64(n) }))
}

// Gather is what a scrape gets: the gauges of one status.
func (m *metrics) Gather() ([]*dto.MetricFamily, error) {
	m.showing.RLock()
	defer m.showing.RUnlock()
	return m.registry.Gather()
}

// allClasses labels what is of the whole node.
const allClasses = "All"

// show sets the gauges to a measured status. A class that was not measured is not shown.
func (m *metrics) show(s *v1alpha1.NodeUtilizationStatus) {
	m.showing.Lock()
	defer m.showing.Unlock()
	for _, v := range []*prometheus.GaugeVec{m.cores, m.memory, m.pods, m.pressure, m.lendable} {
		v.Reset()
	}
	set := func(class string, r v1alpha1.Resources) {
		m.cores.WithLabelValues(class).Set(float64(r.MilliCPU) / 1000)
		m.memory.WithLabelValues(class).Set(float64(r.MemoryBytes))
	}
	set(allClasses, s.Node)
	m.harm.totals = s.Harm
	m.showLendable(s.Lendable)
	m.capacity.WithLabelValues("cpu").Set(float64(s.Capacity.MilliCPU) / 1000)
	m.capacity.WithLabelValues("memory").Set(float64(s.Capacity.MemoryBytes))
	for _, c := range s.Classes {
		set(string(c.Class), c.Resources)
		m.pods.WithLabelValues(string(c.Class)).Set(float64(c.Pods))
		if c.Pressure == nil {
			continue
		}
		for resource, p := range map[string]*int32{"cpu": c.Pressure.CPUSomePermille, "memory": c.Pressure.MemorySomePermille, "io": c.Pressure.IOSomePermille} {
			if p != nil {
				m.pressure.WithLabelValues(string(c.Class), resource).Set(float64(*p) / 1000)
			}
		}
	}
}

func (m *metrics) showLendable(l *v1alpha1.Lendable) {
	if l == nil {
		return
	}
	for resource, of := range map[string]struct {
		sum  v1alpha1.LendableSum
		unit float64
	}{"cpu": {l.MilliCPU, 1000}, "memory": {l.MemoryBytes, 1}} {
		for kind, v := range map[string]int64{
			"computed": of.sum.Computed, "published": of.sum.Published, "lent": of.sum.Lent,
			"lent_unused": of.sum.LentUnused, "used_beyond_lent": of.sum.UsedBeyondLent,
		} {
			m.lendable.WithLabelValues(resource, kind).Set(float64(v) / of.unit)
		}
	}
}
