package kernel

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/plimsoll/plimsoll/pkg/api/v1alpha1"
	"github.com/plimsoll/plimsoll/pkg/cgroup"
	"github.com/plimsoll/plimsoll/pkg/qos"
	"github.com/plimsoll/plimsoll/pkg/qos/batchcpuset"
)

const sysRoot = "/sys"

// keeper carries out what strategy batchcpuset wants, with what the agent would tell it of this machine.
type keeper struct {
	enforcer
	tr         *tree
	strategy   qos.Strategy
	containers []string
	cpus       []qos.CPU
	exclusive  []int
	cores      int64
}

func newKeeper(tr *tree) *keeper {
	tr.t.Helper()
	strategy, err := batchcpuset.Factory().New([]byte(`{"namespaces":["pay"]}`))
	if err != nil {
		tr.t.Fatal(err)
	}
	cpus, err := cgroup.NewTopology(sysRoot).CPUs()
	if err != nil {
		tr.t.Fatal(err)
	}
	allowed, err := tr.AllowedCPUs()
	if err != nil {
		tr.t.Fatal(err)
	}
	cpus = slices.DeleteFunc(slices.Clone(cpus), func(c qos.CPU) bool { return !slices.Contains(allowed, c.ID) })
	if len(cpus) < 2 {
		tr.t.Skipf("needs two CPUs or more: this machine has %v", cpus)
	}
	tr.t.Logf("CPUs (number, core, NUMA node): %v", cpus)
	return &keeper{enforcer: enforce(tr), tr: tr, strategy: strategy, cpus: cpus}
}

func (k *keeper) state() qos.State {
	k.tr.t.Helper()
	s := qos.State{CPUSets: &qos.CPUSets{CPUs: k.cpus, Exclusive: k.exclusive, ExclusiveOK: true, Inherits: k.tr.Mode == cgroup.V2}}
	add := func(path string, kind qos.Kind) {
		g := qos.Group{Path: path, Kind: kind}
		if kind == qos.KindBatchBranch || !s.CPUSets.Inherits {
			setting, err := k.tr.ReadSetting(path, qos.CPUSetCPUs)
			if err != nil {
				k.tr.t.Fatal(err)
			}
			g.Settings = map[qos.Knob]qos.Setting{qos.CPUSetCPUs: setting}
		}
		s.Groups = append(s.Groups, g)
	}
	add(k.tr.BatchBranch(), qos.KindBatchBranch)
	for _, c := range k.containers {
		add(c, qos.KindBatchContainer)
	}
	s.Groups = append(s.Groups, qos.Group{Path: k.tr.burstablePod(), Kind: qos.KindPod, Namespace: "pay", WholeCores: k.cores})
	return s
}

// settle carries plans out until nothing is wanted any more. No write may be refused on the way.
func (k *keeper) settle() {
	k.tr.t.Helper()
	for range 4 {
		s := k.state()
		changes := qos.Diff(s, k.strategy.Step(s))
		if len(changes) == 0 {
			return
		}
		for _, r := range k.Apply(changes) {
			if r.Err != nil {
				k.tr.t.Fatal(r.Err)
			}
		}
	}
	k.tr.t.Fatal("after four ticks something is wanted still")
}

// runsOn looks many times where the threads of a process run, and what they may run on.
func (k *keeper) runsOn(p *process) (may []int, ran []int) {
	t := k.tr.t
	t.Helper()
	for line := range strings.Lines(get(t, fmt.Sprintf("/proc/%d/status", p.pid))) {
		if list, ok := strings.CutPrefix(line, "Cpus_allowed_list:"); ok {
			var err error
			if may, err = qos.ParseCPUs(strings.TrimSpace(list)); err != nil {
				t.Fatal(err)
			}
		}
	}
	for range 40 {
		p.tell("burn", 2000) // so that its threads have run since the last look
		stats, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", p.pid))
		if err != nil || len(stats) == 0 {
			t.Fatalf("threads of %d: %v, %v", p.pid, stats, err)
		}
		for _, file := range stats {
			b, err := os.ReadFile(file)
			if err != nil {
				continue // a thread that ended
			}
			_, rest, _ := strings.Cut(string(b), ") ") // field 3 on
			fields := strings.Fields(rest)
			cpu, err := strconv.Atoi(fields[36]) // field 39: the CPU that it ran on last
			if err != nil {
				t.Fatal(err)
			}
			if fields[0] == "R" { // a thread that sleeps keeps the number of a CPU that it had before
				ran = append(ran, cpu)
			}
		}
	}
	slices.Sort(ran)
	return may, slices.Compact(ran)
}

// TestBatchRunsOnlyOnTheCPUsThatItIsLeft moves a busy batch container about by exclusive CPUs and whole cores that a
// service asks for, and sees its threads run nowhere else; then all is released.
func TestBatchRunsOnlyOnTheCPUsThatItIsLeft(t *testing.T) {
	tr := newTree(t)
	k := newKeeper(tr)
	k.containers = []string{container(tr)}
	batch := tr.start(k.containers[0])
	batch.tell("spin", len(k.cpus)+2)
	service := tr.start(tr.burstablePod())
	all, _ := k.runsOn(batch)
	k.settle()
	if may, _ := k.runsOn(batch); !slices.Equal(may, all) {
		t.Errorf("nothing is exclusive: batch may use %v, want %v", may, all)
	}
	first, last := k.cpus[0], k.cpus[len(k.cpus)-1]
	if first.Core == last.Core {
		t.Skip("needs two cores or more: all CPUs of this machine are threads of one")
	}
	for _, tc := range []struct {
		what      string
		exclusive []int
		cores     int64
		off       []qos.CPU // batch is kept off these CPUs' cores
	}{
		{"the last CPU is exclusive", []int{last.ID}, 0, []qos.CPU{last}},
		{"the first is, and the last no more", []int{first.ID}, 0, []qos.CPU{first}},
		{"a service asks for a core", nil, 1, []qos.CPU{last}},
		{"it asks for more than there are", nil, 1000, nil},
		{"nobody asks, nothing is exclusive", nil, 0, nil},
	} {
		k.exclusive, k.cores = tc.exclusive, tc.cores
		k.settle()
		may, ran := k.runsOn(batch)
		t.Logf("%s: batch may use %s, its threads ran on %s", tc.what, qos.FormatCPUs(may), qos.FormatCPUs(ran))
		want := slices.DeleteFunc(slices.Clone(k.cpus), func(c qos.CPU) bool {
			return slices.ContainsFunc(tc.off, func(o qos.CPU) bool { return o.Core == c.Core })
		})
		if tc.cores > 1 { // at least the CPU that batch keeps, and whole cores of others
			if len(may) == 0 || len(may) == len(all) {
				t.Errorf("%s: batch may use %v", tc.what, may)
			}
		} else if !slices.EqualFunc(may, want, func(id int, c qos.CPU) bool { return id == c.ID }) {
			t.Errorf("%s: batch may use %v, want %v", tc.what, may, want)
		}
		for _, cpu := range ran {
			if !slices.Contains(may, cpu) {
				t.Errorf("%s: a thread ran on CPU %d, which is not among %v", tc.what, cpu, may)
			}
		}
	}
	if may, _ := k.runsOn(service); !slices.Equal(may, all) {
		t.Errorf("the service may use %v, want all, %v: batchcpuset takes nothing from it", may, all)
	}
	k.exclusive = []int{last.ID}
	k.settle()
	if _, err := k.Release(); err != nil {
		t.Fatal(err)
	}
	if may, _ := k.runsOn(batch); !slices.Equal(may, all) {
		t.Errorf("after a release batch may use %v, want %v", may, all)
	}
}

// A container that is made while batch is kept off CPUs is on the others from its first instruction, and on cgroup v1
// one with a smaller set of its own keeps that.
func TestAContainerOfANarrowBranchIsBornNarrow(t *testing.T) {
	tr := newTree(t)
	k := newKeeper(tr)
	tr.make(tr.BatchBranch())
	last := k.cpus[len(k.cpus)-1]
	k.exclusive = []int{last.ID}
	k.settle()
	group := container(tr)
	k.containers = []string{group}
	k.settle()
	p := tr.start(group)
	p.tell("spin", 2)
	if may, ran := k.runsOn(p); slices.Contains(may, last.ID) || slices.Contains(ran, last.ID) {
		t.Errorf("a new container may use %v and ran on %v: CPU %d is exclusive", may, ran, last.ID)
	}
}

// Whatever becomes of the agent, batch stays off the CPUs: the guard leaves the set as it is.
func TestTheGuardLeavesBatchOffTheCPUs(t *testing.T) {
	tr := newTree(t)
	k := newKeeper(tr)
	tr.make(tr.BatchBranch())
	k.exclusive = []int{k.cpus[0].ID}
	k.settle()
	file := filepath.Join(tr.Dir("cpuset", tr.BatchBranch()), "cpuset.cpus")
	want := get(t, file)
	if err := k.journal.Close(); err != nil {
		t.Fatal(err)
	}
	g := startGuard(t, tr, k.stateDir, v1alpha1.ModeEnforce, batchcpuset.Name)
	g.setBeating(false)
	if err := g.end(); err != nil { // it applies the blind plan before it ends
		t.Fatal(err)
	}
	if got := get(t, file); got != want || got == "" {
		t.Errorf("the branch is on %q after the guard, want %q", got, want)
	}
	released(t, tr.Host, k.stateDir)
}
