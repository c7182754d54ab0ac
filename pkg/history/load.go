package history

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash"
	"math"
	"regexp"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/plimsoll/plimsoll/pkg/planner"
)

// Source is where a history is read from.
type Source interface {
	Query(ctx context.Context, promQL string, at time.Time) ([]Series, error)
	Close() error
}

// nodesAtOnce bounds memory: 19 series of 16 nodes over 30 days at 5 minutes are 42 MB, and twice that is read at a time.
const nodesAtOnce = 16

// Selection is what of a history a report is about.
type Selection struct {
	// Nodes is a regular expression that names match whole; Pool a pool's name. Empty means all.
	Nodes, Pool string
}

// Load reads a history and adds it up.
func Load(ctx context.Context, source Source, selection Selection, o planner.ReportOptions) (planner.Report, error) {
	period := time.Duration(o.Steps*o.StepSeconds) * time.Second
	end := o.Start.Add(period)
	b := planner.NewReportBuilder(o)
	sum := sha256.New()
	g := grid{start: o.Start.UnixMilli(), step: int64(o.StepSeconds) * 1000, steps: o.Steps}

	names, pools, err := nodesOf(ctx, source, selection, period, end)
	if err != nil {
		return planner.Report{}, err
	}
	// Two parts of the nodes are read at a time and added in order, so that the sums have the same last digits.
	type part struct {
		nodes []planner.NodeHistory
		hash  [sha256.Size]byte
	}
	for pair := range slices.Chunk(names, 2*nodesAtOnce) {
		var parts [2]part
		group, ctx := errgroup.WithContext(ctx)
		for i, chunk := range slices.Collect(slices.Chunk(pair, nodesAtOnce)) {
			group.Go(func() error {
				nodes, err := g.nodes(ctx, source, chunk, pools, period, end)
				if err == nil {
					parts[i] = part{nodes: nodes, hash: hashNodes(nodes)}
				}
				return err
			})
		}
		if err := group.Wait(); err != nil {
			return planner.Report{}, err
		}
		for _, p := range parts {
			sum.Write(p.hash[:])
			for _, n := range p.nodes {
				b.AddNode(n)
			}
		}
	}
	if selection == (Selection{}) {
		if err := g.workloads(ctx, source, b, sum, period, end); err != nil {
			return planner.Report{}, err
		}
	} else {
		b.Remark("workloads are of the whole cluster, and are left out of a report on some nodes")
	}
	r := b.Report()
	r.InputsHash = hex.EncodeToString(sum.Sum(nil))
	return r, nil
}

// nodesOf is the nodes that were there in the period, sorted, and their pools.
func nodesOf(ctx context.Context, source Source, s Selection, period time.Duration, end time.Time) ([]string, map[string]string, error) {
	matchers := `resource="cpu"`
	if s.Nodes != "" {
		if _, err := regexp.Compile(s.Nodes); err != nil {
			return nil, nil, fmt.Errorf("--nodes: %w", err)
		}
		matchers += fmt.Sprintf(",node=~%q", s.Nodes)
	}
	if s.Pool != "" {
		matchers += fmt.Sprintf(",pool=%q", s.Pool)
	}
	found, err := source.Query(ctx, fmt.Sprintf("last_over_time(%s{%s}[%ds])", NodeCapacity, matchers, int(period.Seconds())), end)
	if err != nil {
		return nil, nil, err
	}
	pools := map[string]string{}
	var names []string
	for _, f := range found {
		name := f.Labels["node"]
		if _, twice := pools[name]; !twice {
			names = append(names, name)
		}
		pools[name] = f.Labels["pool"]
	}
	slices.Sort(names)
	return names, pools, nil
}

// grid is the steps that samples are laid on.
type grid struct {
	start, step int64
	steps       int
}

// lay puts samples on the steps: the last of each counts, and a step without one is NaN.
func (g grid) lay(s Series, onto []float64) []float64 {
	if onto == nil {
		onto = make([]float64, g.steps)
		for i := range onto {
			onto[i] = math.NaN()
		}
	}
	for i, t := range s.Times {
		if step := (t - g.start) / g.step; t >= g.start && step < int64(g.steps) {
			onto[step] = s.Values[i]
		}
	}
	return onto
}

// nodes reads all series of some nodes.
func (g grid) nodes(ctx context.Context, source Source, names []string, pools map[string]string, period time.Duration, end time.Time) ([]planner.NodeHistory, error) {
	quoted := make([]string, len(names))
	nodes := make([]planner.NodeHistory, len(names))
	index := map[string]*planner.NodeHistory{}
	for i, n := range names {
		quoted[i] = regexp.QuoteMeta(n)
		nodes[i] = planner.NodeHistory{Name: n, Pool: pools[n]}
		index[n] = &nodes[i]
	}
	metrics := strings.Join([]string{NodeCapacity, NodeRequested, NodeUsed, NodeLendable, NodePressure, NodeThrottled, NodeEvictions}, "|")
	// The end of the period belongs to the next step.
	query := fmt.Sprintf("{__name__=~%q,node=~%q}[%ds]", metrics, strings.Join(quoted, "|"), int(period.Seconds()))
	found, err := source.Query(ctx, query, end.Add(-time.Millisecond))
	if err != nil {
		return nil, err
	}
	for _, s := range found {
		n := index[s.Labels["node"]]
		if n == nil {
			continue
		}
		if into := seriesOf(n, s.Labels); into != nil {
			*into = g.lay(s, *into)
		}
	}
	return nodes, nil
}

// seriesOf is where a series belongs; nil for one that reports do not use.
func seriesOf(n *planner.NodeHistory, l map[string]string) *[]float64 {
	switch l["__name__"] + " " + l["class"] {
	case NodePressure + " ":
		return &n.Pressure
	case NodeThrottled + " LatencySensitive":
		return &n.ThrottledSeconds
	case NodeThrottled + " Batch":
		return &n.BatchThrottledSeconds
	case NodeEvictions + " ":
		return &n.Evictions
	}
	a := &n.CPU
	switch l["resource"] {
	case "cpu":
	case "memory":
		a = &n.Memory
	default:
		return nil
	}
	switch l["__name__"] + " " + l["class"] + l["kind"] {
	case NodeCapacity + " ":
		return &a.Capacity
	case NodeRequested + " ":
		return &a.Requested
	case NodeUsed + " All":
		return &a.Used
	case NodeUsed + " LatencySensitive":
		return &a.Online
	case NodeUsed + " Batch":
		return &a.Batch
	case NodeLendable + " computed":
		return &a.Computed
	case NodeLendable + " published":
		return &a.Lendable
	case NodeLendable + " lent":
		return &a.Lent
	default:
		return nil
	}
}

// workloads reads and adds every workload.
func (g grid) workloads(ctx context.Context, source Source, b *planner.ReportBuilder, sum hash.Hash, period time.Duration, end time.Time) error {
	found, err := source.Query(ctx, fmt.Sprintf("{__name__=~%q}[%ds]", WorkloadRequested+"|"+WorkloadUsed, int(period.Seconds())), end.Add(-time.Millisecond))
	if err != nil {
		return err
	}
	all := map[string]*planner.WorkloadHistory{}
	var keys []string
	for _, s := range found {
		l := s.Labels
		key := l["namespace"] + "/" + l["workload"] + " " + l["class"]
		w := all[key]
		if w == nil {
			w = &planner.WorkloadHistory{Namespace: l["namespace"], Workload: l["workload"], Class: l["class"]}
			all[key] = w
			keys = append(keys, key)
		}
		into := map[string]*[]float64{
			WorkloadRequested + " cpu": &w.Requested, WorkloadUsed + " cpu": &w.Used,
			WorkloadRequested + " memory": &w.MemoryRequested, WorkloadUsed + " memory": &w.MemoryUsed,
		}[l["__name__"]+" "+l["resource"]]
		if into != nil {
			*into = g.lay(s, *into)
		}
	}
	if len(keys) == 0 {
		b.Remark("the history has no workloads: what services ask for beyond their use is not known")
	}
	slices.Sort(keys)
	for _, key := range keys {
		w := all[key]
		fmt.Fprintln(sum, key)
		for _, s := range [][]float64{w.Requested, w.Used, w.MemoryRequested, w.MemoryUsed} {
			hashSeries(sum, s)
		}
		b.AddWorkload(*w)
	}
	return nil
}

// hashNodes is the SHA-256 of all that was read of some nodes.
func hashNodes(nodes []planner.NodeHistory) (out [sha256.Size]byte) {
	sum := sha256.New()
	for i := range nodes {
		n := &nodes[i]
		fmt.Fprintln(sum, n.Name, n.Pool)
		for _, a := range []*planner.Amounts{&n.CPU, &n.Memory} {
			for _, s := range [][]float64{a.Capacity, a.Requested, a.Used, a.Online, a.Batch, a.Lent, a.Lendable, a.Computed} {
				hashSeries(sum, s)
			}
		}
		for _, s := range [][]float64{n.Pressure, n.ThrottledSeconds, n.BatchThrottledSeconds, n.Evictions} {
			hashSeries(sum, s)
		}
	}
	copy(out[:], sum.Sum(nil))
	return out
}

func hashSeries(sum hash.Hash, values []float64) {
	buffer := make([]byte, 0, 8*len(values)+8)
	buffer = binary.LittleEndian.AppendUint64(buffer, uint64(len(values)))
	for _, v := range values {
		if math.IsNaN(v) {
			v = math.NaN() // one NaN of the many
		}
		buffer = binary.LittleEndian.AppendUint64(buffer, math.Float64bits(v))
	}
	sum.Write(buffer)
}
