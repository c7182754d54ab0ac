package planner

import "time"

// ReportOptions are what a report goes by.
type ReportOptions struct {
	// Start is when the first step begins; there are Steps of StepSeconds each.
	Start       time.Time `json:"start"`
	Steps       int       `json:"steps"`
	StepSeconds int       `json:"stepSeconds"`
	// SafeLine is the share of its capacity that a node is loaded to; Risk the share of steps in which the nodes
	// that are left may need more than that.
	SafeLine float64 `json:"safeLine"`
	Risk     float64 `json:"risk"`
	// PressureRatio is the share of time waiting for CPU from which on a step counts as one under pressure.
	PressureRatio float64 `json:"pressureRatio"`
	// Headroom is what a request may be above the 99.9th percentile of use before it counts as too much.
	Headroom float64 `json:"headroom"`
	Prices   *Prices `json:"prices,omitempty"`
}

// Prices are what capacity costs an hour.
type Prices struct {
	Currency    string  `json:"currency"`
	PerCoreHour float64 `json:"perCoreHour"`
	PerGiBHour  float64 `json:"perGiBHour"`
}

// hours is how long a step lasts.
func (o ReportOptions) hours() float64 { return float64(o.StepSeconds) / 3600 }

// timeOf is when a step begins.
func (o ReportOptions) timeOf(step int) time.Time {
	return o.Start.Add(time.Duration(step) * time.Duration(o.StepSeconds) * time.Second).UTC()
}

// Amounts is one resource of a node or a workload at each step: cores or bytes. A step without a measurement
// is NaN; a series that is not there at all is nil.
type Amounts struct {
	Capacity, Requested, Used, Online, Batch, Lent, Lendable, Computed []float64
}

// NodeHistory is what is known of one node.
type NodeHistory struct {
	Name, Pool  string
	CPU, Memory Amounts
	// Pressure is the share of time in which some latency-sensitive task waited for a CPU.
	Pressure []float64
	// ThrottledSeconds, BatchThrottledSeconds and Evictions are counters, which begin at 0 again when the agent of the
	// node starts anew: how long their own limits stopped services, summed over pods; how long the quota of all
	// batch work stopped it; batch pods that were evicted.
	ThrottledSeconds, BatchThrottledSeconds, Evictions []float64
}

// WorkloadHistory is what is known of one workload over all nodes.
type WorkloadHistory struct {
	Namespace, Workload, Class                   string
	Requested, Used, MemoryRequested, MemoryUsed []float64
}

// Balance is one resource over the period, in core-hours or GiB-hours. Every sum is over the steps in which
// capacity, requests and use are all known. Namespaces and workloads have no capacity, and nothing is lent by them.
type Balance struct {
	Capacity  float64 `json:"capacity,omitzero"`
	Requested float64 `json:"requested"`
	Used      float64 `json:"used"`
	// Batch is the part of Used that batch made up.
	Batch float64 `json:"batch"`
	// Lent is what batch had asked for; CouldBeLent what could have been lent, by the agent's own arithmetic.
	Lent        float64 `json:"lent,omitzero"`
	CouldBeLent float64 `json:"couldBeLent,omitzero"`
}

func (b *Balance) add(o Balance) {
	b.Capacity += o.Capacity
	b.Requested += o.Requested
	b.Used += o.Used
	b.Batch += o.Batch
	b.Lent += o.Lent
	b.CouldBeLent += o.CouldBeLent
}

// Line is a node, a pool, a namespace or a workload.
type Line struct {
	Name string `json:"name"`
	Pool string `json:"pool,omitempty"`
	// Coverage is the share of the steps that the sums are over.
	Coverage float64 `json:"coverage"`
	CPUHours Balance `json:"cpuCoreHours"`
	GiBHours Balance `json:"memoryGiBHours"`
	// UsedP50 to UsedMax are of use as a share of capacity; of workloads in cores.
	UsedP50 float64 `json:"usedP50"`
	UsedP95 float64 `json:"usedP95"`
	UsedP99 float64 `json:"usedP99"`
	UsedMax float64 `json:"usedMax"`
	Harm
	Cost float64 `json:"cost,omitempty"`
}

// Hour is the fleet in one hour of the day (UTC): shares of the capacity that was measured.
type Hour struct {
	Hour          int     `json:"hour"`
	Steps         int     `json:"steps"`
	UsedP50       float64 `json:"usedP50"`
	UsedP95       float64 `json:"usedP95"`
	UsedP99       float64 `json:"usedP99"`
	UsedMax       float64 `json:"usedMax"`
	RequestedMean float64 `json:"requestedMean"`
	LentMean      float64 `json:"lentMean"`
}

// OverProvisioned is a workload that asks for more than it was ever seen to need, with the evidence.
type OverProvisioned struct {
	Workload string `json:"workload"`
	// RequestedCores is the mean of its requests; UsedP999Cores and UsedMaxCores are of its use.
	RequestedCores float64   `json:"requestedCores"`
	UsedP50Cores   float64   `json:"usedP50Cores"`
	UsedP999Cores  float64   `json:"usedP999Cores"`
	UsedMaxCores   float64   `json:"usedMaxCores"`
	MaxAt          time.Time `json:"maxAt"`
	// SpareCores is the request less the 99.9th percentile and its headroom.
	SpareCores    float64 `json:"spareCores"`
	MeasuredHours float64 `json:"measuredHours"`
}

// SwitchOff is how many nodes the rest could do without.
type SwitchOff struct {
	Risk     float64 `json:"risk"`
	SafeLine float64 `json:"safeLine"`
	// ByUse are nodes whose work fits on the rest by what it used; ByRequests how many when the scheduler goes by
	// requests.
	ByUse      []string `json:"byUse"`
	ByRequests int      `json:"byRequests"`
	// NeedCores and NeedGiB are what the fleet used, batch aside, at the risk's percentile, and what has to be
	// there for it.
	NeedCores float64 `json:"needCores"`
	NeedGiB   float64 `json:"needGiB"`
	Why       string  `json:"why"`
}

// WorstStep is the step in which most nodes were under pressure, and the node that was worst in it.
type WorstStep struct {
	At                 time.Time `json:"at"`
	NodesUnderPressure int       `json:"nodesUnderPressure"`
	Node               string    `json:"node"`
	PressureRatio      float64   `json:"pressureRatio"`
	UsedShare          float64   `json:"usedShare"`
}

// FleetSeries is the fleet over time, for charts: sums over the nodes that were measured in a step.
type FleetSeries struct {
	Start       time.Time  `json:"start"`
	StepSeconds int        `json:"stepSeconds"`
	Capacity    []*float64 `json:"capacity"`
	Requested   []*float64 `json:"requested"`
	Used        []*float64 `json:"used"`
	Batch       []*float64 `json:"batch"`
	Lent        []*float64 `json:"lent,omitzero"`
	Lendable    []*float64 `json:"lendable"`
	Nodes       []int      `json:"nodes"`
}

// Report is everything. The same inputs give the same report.
type Report struct {
	Version string        `json:"version"`
	Options ReportOptions `json:"options"`
	// InputsHash is the SHA-256 of the measurements, OptionsHash of Options.
	InputsHash  string   `json:"inputsHash"`
	OptionsHash string   `json:"optionsHash"`
	Remarks     []string `json:"remarks"`

	Fleet           Line              `json:"fleet"`
	Pools           []Line            `json:"pools"`
	Nodes           []Line            `json:"nodes"`
	Namespaces      []Line            `json:"namespaces"`
	Workloads       []Line            `json:"workloads"`
	Hours           []Hour            `json:"hours"`
	OverProvisioned []OverProvisioned `json:"overProvisioned"`
	SwitchOff       SwitchOff         `json:"switchOff"`
	Worst           *WorstStep        `json:"worst,omitempty"`
	Series          FleetSeries       `json:"series"`
}
