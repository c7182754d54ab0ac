package fleet

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/plimsoll/plimsoll/pkg/api/v1alpha1"
)

// The ages of a measurement: from StaleAfter on it counts for nothing, as with the scheduler's default; a clock
// that is further ahead than ClockTolerance is told of.
const (
	StaleAfter     = 240 * time.Second
	ClockTolerance = 30 * time.Second
)

// Row is one node as a person looks at it. Amounts that were not measured are nil.
type Row struct {
	Node string `json:"node"`
	// AgeSeconds is the time since the node was measured, by the clock of who asks: below 0 where the node's
	// clock is ahead.
	AgeSeconds float64 `json:"ageSeconds"`
	// Stale is true where the measurement is too old to count. The amounts are those of then.
	Stale    bool               `json:"stale"`
	Capacity v1alpha1.Resources `json:"capacity"`
	Used     v1alpha1.Resources `json:"used"`

	LatencySensitive *v1alpha1.Resources `json:"latencySensitive,omitempty"`
	Batch            *v1alpha1.Resources `json:"batch,omitempty"`
	System           *v1alpha1.Resources `json:"system,omitempty"`
	// Lent is what batch pods on the node asked for, Lendable what it offers to them in all.
	Lent     *v1alpha1.Resources `json:"lent,omitempty"`
	Lendable *v1alpha1.Resources `json:"lendable,omitempty"`
	// ForecastPeakMilliCPU is the peak of latency-sensitive use over the time that lending looks ahead.
	ForecastPeakMilliCPU *int64 `json:"forecastPeakMilliCPU,omitempty"`
	// PressurePermille is the share of time in which some latency-sensitive task waited for a CPU.
	PressurePermille *int32 `json:"pressurePermille,omitempty"`
	// HeldBack is what the agent holds back, and why; empty for nothing.
	HeldBack []string `json:"heldBack,omitempty"`

	CgroupMode    string   `json:"cgroupMode,omitempty"`
	KernelVersion string   `json:"kernelVersion,omitempty"`
	Strategies    []string `json:"strategies,omitempty"`
}

// Totals are the sums over the nodes whose measurement counts.
type Totals struct {
	Nodes int `json:"nodes"`
	// Stale are those that are in no sum.
	Stale    int                `json:"stale"`
	Capacity v1alpha1.Resources `json:"capacity"`
	Used     v1alpha1.Resources `json:"used"`
	// Batch, Lent and Lendable are over the nodes that tell them; Untold is how many do not tell the last two.
	Batch    v1alpha1.Resources `json:"batch"`
	Lent     v1alpha1.Resources `json:"lent"`
	Lendable v1alpha1.Resources `json:"lendable"`
	Untold   int                `json:"untold"`
}

// Fleet is all nodes at one time.
type Fleet struct {
	At     time.Time `json:"at"`
	Nodes  []Row     `json:"nodes"`
	Totals Totals    `json:"totals"`
	// Remarks are what keeps the numbers from being whole.
	Remarks []string `json:"remarks,omitempty"`
}

// New makes the rows and the sums.
func New(at time.Time, nodes []v1alpha1.NodeUtilization) Fleet {
	f := Fleet{At: at, Nodes: make([]Row, 0, len(nodes))}
	var ahead []string
	for i := range nodes {
		row := rowOf(at, &nodes[i])
		f.Nodes = append(f.Nodes, row)
		f.Totals.add(row)
		if row.AgeSeconds < -ClockTolerance.Seconds() {
			ahead = append(ahead, row.Node)
		}
	}
	slices.Sort(ahead)
	if f.Totals.Stale > 0 {
		f.Remarks = append(f.Remarks, fmt.Sprintf("%d of %d nodes are in no total: they were not measured in the last %s", f.Totals.Stale, f.Totals.Nodes, StaleAfter))
	}
	if f.Totals.Untold > 0 {
		f.Remarks = append(f.Remarks, fmt.Sprintf("%d nodes do not tell what they lend: the totals of it are without them", f.Totals.Untold))
	}
	if len(ahead) > 0 {
		f.Remarks = append(f.Remarks, fmt.Sprintf("clocks are more than %s ahead of this machine's: %s", ClockTolerance, someOf(ahead)))
	}
	return f
}

// someOf names the first few of a list.
func someOf(names []string) string {
	const shown = 5
	if len(names) <= shown {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:shown], ", "), len(names)-shown)
}

func (t *Totals) add(r Row) {
	t.Nodes++
	if r.Stale {
		t.Stale++
		return
	}
	sum(&t.Capacity, &r.Capacity)
	sum(&t.Used, &r.Used)
	sum(&t.Batch, r.Batch)
	sum(&t.Lent, r.Lent)
	sum(&t.Lendable, r.Lendable)
	if r.Lendable == nil {
		t.Untold++
	}
}

func sum(into, r *v1alpha1.Resources) {
	if r != nil {
		into.MilliCPU += r.MilliCPU
		into.MemoryBytes += r.MemoryBytes
	}
}

func rowOf(at time.Time, n *v1alpha1.NodeUtilization) Row {
	s := &n.Status
	r := Row{
		Node: n.Name, AgeSeconds: at.Sub(s.ObservedTime.Time).Seconds(), Capacity: s.Capacity, Used: s.Node,
		CgroupMode: s.CgroupMode, KernelVersion: s.KernelVersion,
	}
	r.Stale = r.AgeSeconds >= StaleAfter.Seconds()
	for i := range s.Classes {
		c := &s.Classes[i]
		switch c.Class {
		case v1alpha1.ClassLatencySensitive:
			r.LatencySensitive = &c.Resources
			if c.Pressure != nil {
				r.PressurePermille = c.Pressure.CPUSomePermille
			}
		case v1alpha1.ClassBatch:
			r.Batch = &c.Resources
		case v1alpha1.ClassSystem:
			r.System = &c.Resources
		}
	}
	if l := s.Lendable; l != nil {
		r.Lent = &v1alpha1.Resources{MilliCPU: l.MilliCPU.Lent, MemoryBytes: l.MemoryBytes.Lent}
		r.Lendable = &v1alpha1.Resources{MilliCPU: l.MilliCPU.Published, MemoryBytes: l.MemoryBytes.Published}
		r.ForecastPeakMilliCPU = &l.MilliCPU.ForecastPeak
	}
	for _, strategy := range s.Strategies {
		r.Strategies = append(r.Strategies, strategy.Name+"="+string(strategy.Mode))
	}
	r.HeldBack = heldBack(s)
	return r
}

// heldBack is what keeps batch work on the node from more: what is lent less than was worked out, conditions
// that do not hold, and settings that the kernel refused.
func heldBack(s *v1alpha1.NodeUtilizationStatus) []string {
	var all []string
	if l := s.Lendable; l != nil && l.Reason != "" {
		text := l.Reason
		if cut := l.MilliCPU.Computed - l.MilliCPU.Published; cut > 0 {
			text = fmt.Sprintf("%dm of CPU: %s", cut, l.Reason)
		}
		all = append(all, text)
	}
	for _, c := range s.Conditions {
		if c.Status == "False" {
			all = append(all, fmt.Sprintf("not %s: %s", c.Type, cmp.Or(c.Message, c.Reason)))
		}
	}
	for _, c := range s.Changes {
		if c.Outcome == v1alpha1.OutcomeRefused {
			all = append(all, fmt.Sprintf("%s refused by the kernel: %s", c.Knob, c.Error))
		}
	}
	return all
}

// Orders are the columns that a fleet can be sorted by.
func Orders() []string {
	return []string{"name", "used", "online", "batch", "lent", "lendable", "forecast", "pressure", "age"}
}

// Sort orders the rows: by name upwards, by amounts downwards and then by name. What was not measured is last.
func (f *Fleet) Sort(by string) error {
	if !slices.Contains(Orders(), by) {
		return fmt.Errorf("%q: must be one of %s", by, strings.Join(Orders(), ", "))
	}
	milliCPU := func(r *v1alpha1.Resources) float64 {
		if r == nil {
			return -1
		}
		return float64(r.MilliCPU)
	}
	amount := func(r *Row) float64 {
		switch by {
		case "used":
			return float64(r.Used.MilliCPU)
		case "online":
			return milliCPU(r.LatencySensitive)
		case "batch":
			return milliCPU(r.Batch)
		case "lent":
			return milliCPU(r.Lent)
		case "lendable":
			return milliCPU(r.Lendable)
		case "forecast":
			if r.ForecastPeakMilliCPU != nil {
				return float64(*r.ForecastPeakMilliCPU)
			}
		case "pressure":
			if r.PressurePermille != nil {
				return float64(*r.PressurePermille)
			}
		case "age":
			return r.AgeSeconds
		default:
			return 0
		}
		return -1
	}
	slices.SortFunc(f.Nodes, func(a, b Row) int {
		return cmp.Or(cmp.Compare(amount(&b), amount(&a)), strings.Compare(a.Node, b.Node))
	})
	return nil
}
