package kernel

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/plimsoll/plimsoll/pkg/cgroup"
	"github.com/plimsoll/plimsoll/pkg/qos"
)

// planner makes up plans for some groups, of the knobs that the kernel gives them.
type planner struct {
	host   cgroup.Host
	groups []string
	random *rand.Rand
	disk   string
	cpus   int
}

func newPlanner(host cgroup.Host, groups []string, seed uint64) (*planner, error) {
	disks, err := filepath.Glob("/sys/block/*/dev")
	if err != nil {
		return nil, err
	}
	p := &planner{host: host, groups: groups, random: rand.New(rand.NewPCG(seed, 1))}
	if len(disks) > 0 {
		b, err := os.ReadFile(disks[len(disks)-1])
		if err != nil {
			return nil, err
		}
		p.disk = strings.TrimSpace(string(b))
	}
	online, err := os.ReadFile("/sys/devices/system/cpu/online")
	if err != nil {
		return nil, err
	}
	_, last, _ := strings.Cut(strings.TrimSpace(string(online)), "-")
	if _, err := fmt.Sscan(last, &p.cpus); err != nil {
		p.cpus = 0
	}
	p.cpus++
	return p, nil
}

// plan is some changes, a few of which the kernel will refuse.
func (p *planner) plan() []qos.Change {
	var changes []qos.Change
	for range 1 + p.random.IntN(8) {
		group := p.groups[p.random.IntN(len(p.groups))]
		knobs := cgroup.Knobs()
		knob := knobs[p.random.IntN(len(knobs))]
		if value := p.value(knob.Knob); value != "" && !knob.Action {
			changes = append(changes, qos.Change{Group: group, Knob: knob.Knob, Value: value, Reason: "random"})
		}
	}
	return changes
}

// value is a value of a knob; empty where there is none on this machine.
func (p *planner) value(knob qos.Knob) string {
	number := func(low, high int64) string { return fmt.Sprint(low + p.random.Int64N(high-low+1)) }
	orMax := func(value string) string {
		if p.random.IntN(4) == 0 {
			return "max"
		}
		return value
	}
	switch knob {
	case qos.CPUWeight:
		return number(1, 10000)
	case qos.CPUIdle:
		return number(0, 1)
	case qos.CPUQuota:
		return orMax(number(1000, 400_000))
	case qos.CPUBurst:
		return number(0, 100_000)
	case qos.CPUSetCPUs:
		if p.host.Mode == cgroup.V2 && p.random.IntN(3) == 0 {
			return "inherit"
		}
		first := p.random.IntN(p.cpus)
		return fmt.Sprintf("%d-%d", first, first+p.random.IntN(p.cpus-first))
	case qos.CPUSetMems:
		return "0"
	case qos.MemoryMin, qos.MemoryLow:
		return number(0, 1<<30)
	case qos.MemoryHigh, qos.MemoryMax:
		return orMax(number(64<<20, 4<<30))
	case qos.IOWeight:
		return number(1, 1000)
	case qos.IOMax:
		if p.disk == "" || p.random.IntN(4) == 0 {
			return "max"
		}
		return fmt.Sprintf("%s rbps=%s wiops=%s", p.disk, number(1<<20, 1<<30), number(1, 10000))
	case qos.IOLatency:
		if p.disk == "" || p.random.IntN(4) == 0 {
			return "none"
		}
		return fmt.Sprintf("%s target=%s", p.disk, number(100, 100_000))
	case qos.PIDsMax:
		return orMax(number(1, 100_000))
	default:
		return ""
	}
}

// snapshot is the text of every file of every knob of some groups.
func snapshot(t testing.TB, host cgroup.Host, groups []string) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, g := range groups {
		for _, k := range cgroup.Knobs() {
			raw, err := host.ReadRaw(g, k.Knob)
			if errors.Is(err, cgroup.ErrUnsupported) || k.Action {
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			for i, f := range k.In(host.Mode).Files {
				all[g+" "+f] = raw[i]
			}
		}
	}
	return all
}

// foreign gives a group values that no table of ours would write: what was there before us need not be round.
func foreign(tr *tree, group string) {
	write := func(controller, file, text string) {
		if name := filepath.Join(tr.Dir(controller, group), file); exists(name) {
			put(tr.t, name, text)
		}
	}
	if tr.Mode == cgroup.V2 {
		write("", "cpu.weight", "73")
		write("", "cpu.max", "43210 50000")
		write("", "cpu.max.burst", "777")
		write("", "memory.high", "987654144")
		write("", "memory.low", "12288")
		write("", "pids.max", "4321")
		return
	}
	write("cpu", "cpu.shares", "777")
	write("cpu", "cpu.cfs_period_us", "50000")
	write("cpu", "cpu.cfs_quota_us", "43210")
	write("cpu", "cpu.cfs_burst_us", "777")
	write("memory", "memory.limit_in_bytes", "987654144")
	write("pids", "pids.max", "4321")
}

// batchTree is a tree with a batch branch and two containers in it.
func batchTree(t testing.TB) (tr *tree, groups []string) {
	t.Helper()
	tr = newTree(t)
	tr.make(tr.BatchBranch())
	groups = []string{tr.BatchBranch(), tr.BatchBranch() + "/" + containerID, tr.BatchBranch() + "/77aa"}
	for _, g := range groups[1:] {
		tr.make(g)
	}
	return tr, groups
}

// counts is how often each knob was what.
type counts map[qos.Knob]int

func (c counts) String() string {
	var parts []string
	for _, k := range slices.Sorted(maps.Keys(c)) {
		parts = append(parts, fmt.Sprintf("%s %d", k, c[k]))
	}
	return strings.Join(parts, ", ")
}
