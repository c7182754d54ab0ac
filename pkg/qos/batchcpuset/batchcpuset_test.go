package batchcpuset

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/quick"

	"github.com/plimsoll/plimsoll/pkg/qos"
)

const branch = "/kubepods/plimsoll-batch"

// random is some machine with some exclusive CPUs and some services that ask, half of them to be heard.
func random(r *rand.Rand) (Args, qos.State) {
	sets := &qos.CPUSets{CPUs: machine(1+r.IntN(3), 1+r.IntN(5), 1+r.IntN(2)), ExclusiveOK: r.IntN(20) > 0, Inherits: r.IntN(2) == 0}
	for _, c := range sets.CPUs {
		if r.IntN(4) == 0 {
			sets.Exclusive = append(sets.Exclusive, c.ID)
		}
	}
	s := qos.State{CPUSets: sets, Blind: r.IntN(20) == 0, Groups: []qos.Group{{Path: branch, Kind: qos.KindBatchBranch, Settings: map[qos.Knob]qos.Setting{}}}}
	for i := range r.IntN(4) {
		s.Groups = append(s.Groups, qos.Group{Path: fmt.Sprintf("/p%d", i), Kind: qos.KindPod, Namespace: []string{"pay", "other"}[r.IntN(2)], WholeCores: r.Int64N(5)})
	}
	return Args{Namespaces: []string{"pay"}, LeastCPUs: 1 + r.Int64N(4)}, s
}

func chosenOf(args Args, s qos.State) chosen {
	asks, _ := heard(args, s)
	return choose(args, *s.CPUSets, asks)
}

func check(t *testing.T, holds func(r *rand.Rand) bool) {
	t.Helper()
	if err := quick.Check(func(seed uint64) bool { return holds(rand.New(rand.NewPCG(seed, 1))) }, &quick.Config{MaxCount: 2000}); err != nil {
		t.Error(err)
	}
}

func TestNoSetIsEmptyNorHasAnExclusiveCPU(t *testing.T) {
	check(t, func(r *rand.Rand) bool {
		args, s := random(r)
		s.CPUSets.Inherits = true
		for _, c := range New(args).Step(s).Changes {
			cpus, err := qos.ParseCPUs(c.Value)
			if err != nil || len(cpus) == 0 || len(qos.CPUsWithin(cpus, s.CPUSets.Exclusive)) > 0 || len(qos.CPUsWithin(cpus, ids(s.CPUSets.CPUs))) < len(cpus) {
				return false
			}
		}
		return true
	})
}

func TestNothingIsWantedWhileSomethingIsNotKnown(t *testing.T) {
	check(t, func(r *rand.Rand) bool {
		args, s := random(r)
		s.CPUSets.Inherits = true // and the branch's set was written before
		plan := New(args).Step(s)
		allExclusive := len(slices.Compact(slices.Sorted(slices.Values(s.CPUSets.Exclusive)))) == len(s.CPUSets.CPUs)
		return (len(plan.Changes) == 0) == (s.Blind || !s.CPUSets.ExclusiveOK || allExclusive)
	})
}

// Services get all threads of a core or none, as long as batch keeps what it shall have.
func TestServicesGetWholeCores(t *testing.T) {
	check(t, func(r *rand.Rand) bool {
		args, s := random(r)
		cpus := chosenOf(args, s).cpus
		threads, batch, exclusive := map[int]int{}, map[int]int{}, map[int]int{}
		for _, c := range s.CPUSets.CPUs {
			threads[c.Core]++
			batch[c.Core] += len(qos.CPUsWithin([]int{c.ID}, cpus))
			exclusive[c.Core] += len(qos.CPUsWithin([]int{c.ID}, s.CPUSets.Exclusive))
		}
		for core, n := range threads {
			if exclusive[core] == 0 && batch[core] != 0 && batch[core] != n {
				return false
			}
		}
		return true
	})
}

func TestBatchKeepsItsLeastCPUsUnlessTheyAreExclusive(t *testing.T) {
	check(t, func(r *rand.Rand) bool {
		args, s := random(r)
		free := len(s.CPUSets.CPUs) - len(s.CPUSets.Exclusive)
		return len(chosenOf(args, s).cpus) >= min(int(args.LeastCPUs), free)
	})
}

// Who asks for more, or is given an exclusive CPU more, never gives batch more CPUs than before.
func TestMoreIsTakenNeverLess(t *testing.T) {
	check(t, func(r *rand.Rand) bool {
		args, s := random(r)
		before := len(chosenOf(args, s).cpus)
		if r.IntN(2) == 0 && len(s.Groups) > 1 {
			s.Groups[1+r.IntN(len(s.Groups)-1)].WholeCores++
		} else {
			more := r.IntN(len(s.CPUSets.CPUs))
			s.CPUSets.Exclusive = slices.Compact(slices.Sorted(slices.Values(append(s.CPUSets.Exclusive, more))))
		}
		return len(chosenOf(args, s).cpus) <= before
	})
}

func TestTheSameNodeGivesTheSamePlanInWhateverOrderItIsTold(t *testing.T) {
	check(t, func(r *rand.Rand) bool {
		args, s := random(r)
		before := chosenOf(args, s)
		r.Shuffle(len(s.Groups), func(i, j int) { s.Groups[i], s.Groups[j] = s.Groups[j], s.Groups[i] })
		r.Shuffle(len(s.CPUSets.Exclusive), func(i, j int) {
			e := s.CPUSets.Exclusive
			e[i], e[j] = e[j], e[i]
		})
		after := chosenOf(args, s)
		return slices.Equal(before.cpus, after.cpus) && before.reason == after.reason
	})
}

// kernelV1 is what cgroup v1 takes: a set within the parent's and around the children's.
type kernelV1 struct{ sets map[string][]int }

func (k kernelV1) write(group string, cpus []int) error {
	for other, set := range k.sets {
		if group != branch && other == branch && len(qos.CPUsWithin(cpus, set)) < len(cpus) {
			return fmt.Errorf("%v of %s is not within %v", cpus, group, set)
		}
		if group == branch && other != branch && len(qos.CPUsWithin(set, cpus)) < len(set) {
			return fmt.Errorf("%v of the branch is not around %v of %s", cpus, set, other)
		}
	}
	k.sets[group] = cpus
	return nil
}

// apply writes changes in the order of package actuate: what tightens from the bottom up, then the rest from the top down.
func (k kernelV1) apply(changes []qos.Change) error {
	type write struct {
		group  string
		cpus   []int
		widens bool
	}
	var writes []write
	for _, c := range changes {
		cpus, err := qos.ParseCPUs(c.Value)
		if err != nil {
			return err
		}
		writes = append(writes, write{c.Group, cpus, len(qos.CPUsWithin(cpus, k.sets[c.Group])) < len(cpus)})
	}
	slices.SortStableFunc(writes, func(a, b write) int {
		if a.widens != b.widens {
			return map[bool]int{true: 1, false: -1}[a.widens]
		}
		depth := cmp.Compare(strings.Count(a.group, "/"), strings.Count(b.group, "/"))
		if !a.widens {
			depth = -depth
		}
		return depth
	})
	for _, w := range writes {
		if err := k.write(w.group, w.cpus); err != nil {
			return err
		}
	}
	return nil
}

// Whatever the sets are now, no write is refused, no container is without a CPU, and after three ticks batch is only where
// it shall be and nothing is wanted any more.
func TestOnCgroupV1EveryMoveIsTakenAndEndsWithinThreeTicks(t *testing.T) {
	check(t, func(r *rand.Rand) bool {
		args, s := random(r)
		s.Blind, s.CPUSets.Inherits, s.CPUSets.ExclusiveOK = false, false, true
		all := ids(s.CPUSets.CPUs)
		some := func(of []int) []int {
			set := slices.DeleteFunc(slices.Clone(of), func(int) bool { return r.IntN(2) == 0 })
			if len(set) == 0 {
				return of[:1]
			}
			return set
		}
		k := kernelV1{map[string][]int{branch: some(all)}}
		for i := range r.IntN(4) {
			path := fmt.Sprintf("%s/c%d", branch, i)
			k.sets[path] = [][]int{k.sets[branch], some(k.sets[branch])}[r.IntN(2)]
			s.Groups = append(s.Groups, qos.Group{Path: path, Kind: qos.KindBatchContainer, Settings: map[qos.Knob]qos.Setting{}})
		}
		want := chosenOf(args, s).cpus
		for range 4 {
			for _, g := range s.Groups {
				if g.Kind != qos.KindPod {
					g.Settings[qos.CPUSetCPUs] = qos.Setting{Value: qos.FormatCPUs(k.sets[g.Path]), OK: true}
				}
			}
			changes := qos.Diff(s, New(args).Step(s))
			if len(changes) == 0 {
				break
			}
			if err := k.apply(changes); err != nil {
				t.Logf("%v: want %v", err, want)
				return false
			}
		}
		if len(qos.Diff(s, New(args).Step(s))) > 0 {
			return false
		}
		for _, set := range k.sets {
			if len(set) == 0 || len(want) > 0 && len(qos.CPUsWithin(set, want)) < len(set) {
				return false
			}
		}
		return len(want) == 0 || slices.Equal(k.sets[branch], want)
	})
}

func TestAnEmptyBranchOfCgroupV1IsFilledOnlyWithLessThanAll(t *testing.T) {
	s := qos.State{
		CPUSets: &qos.CPUSets{CPUs: machine(1, 2, 1), ExclusiveOK: true},
		Groups:  []qos.Group{{Path: branch, Kind: qos.KindBatchBranch, Settings: map[qos.Knob]qos.Setting{qos.CPUSetCPUs: {Value: none, OK: true}}}},
	}
	if got := New(Args{LeastCPUs: 1}).Step(s).Changes; len(got) != 0 {
		t.Errorf("nothing to keep off: %v, want the branch left to the runtime", got)
	}
	s.CPUSets.Exclusive = []int{0}
	if got := New(Args{LeastCPUs: 1}).Step(s).Changes; len(got) != 1 || got[0].Value != "1" {
		t.Errorf("CPU 0 is exclusive: %v, want the branch on 1", got)
	}
}

func TestWithoutABranchOrCPUsNothingIsWanted(t *testing.T) {
	strategy := New(Args{LeastCPUs: 1})
	if got := strategy.Step(qos.State{}); len(got.Changes)+len(got.Notes) != 0 {
		t.Errorf("no batch branch: %+v", got)
	}
	s := qos.State{Groups: []qos.Group{{Path: branch, Kind: qos.KindBatchBranch}}}
	if got := strategy.Step(s); len(got.Changes) != 0 || len(got.Notes) != 1 {
		t.Errorf("nothing known of CPUs: %+v, want a note", got)
	}
}

func TestBadArgumentsAreNamedWithTheirRange(t *testing.T) {
	_, err := Factory().New([]byte(`{"namespaces":["pay",""],"leastCPUs":0}`))
	for _, want := range []string{`namespaces: "" is no namespace`, "leastCPUs 0: must be 1 to 1024"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want it to say %q", err, want)
		}
	}
	if _, err := Factory().New([]byte(`{"cores":2}`)); err == nil {
		t.Error("an unknown argument: no error")
	}
	if _, err := Factory().New(nil); err != nil {
		t.Error(err)
	}
}
