package agent

import (
	"errors"
	"slices"

	"github.com/plimsoll/plimsoll/pkg/cgroup"
	"github.com/plimsoll/plimsoll/pkg/qos"
)

// cpuSets is what strategy batchcpuset needs to know beside the settings of the branch; without a topology nobody asks.
type cpuSets struct {
	topology  *cgroup.Topology
	exclusive func() (cpus []int, err error)
	// told says whether all pods are known: before that, one that asks would seem not to.
	told func() bool
}

// readCPUSets adds which CPUs pods may use and which of them are exclusive, and on cgroup v1 the sets of the
// containers in the branch, since the kernel takes no set of the branch that is not around theirs. What cannot be
// read is missing, and the strategy then leaves all as it is.
func (s *sensor) readCPUSets(r *reading, groups cgroup.Groups) {
	if s.cpuSets.topology == nil || !slices.Contains(s.knobs[qos.KindBatchBranch], qos.CPUSetCPUs) {
		return
	}
	sets := &qos.CPUSets{Inherits: s.host.Mode == cgroup.V2}
	r.CPUSets = sets
	all, err := s.cpuSets.topology.CPUs()
	if err == nil {
		var allowed []int
		if allowed, err = s.host.AllowedCPUs(); err == nil {
			sets.CPUs = slices.DeleteFunc(slices.Clone(all), func(c qos.CPU) bool { return !slices.Contains(allowed, c.ID) })
		}
	}
	if err == nil && !s.cpuSets.told() {
		err = errors.New("the API server has not told of this node's pods yet")
	}
	if err == nil {
		if sets.Exclusive, err = s.cpuSets.exclusive(); err == nil {
			sets.ExclusiveOK = true
		}
	}
	if err != nil {
		sets.Missing = err.Error()
	}
	if sets.Inherits {
		return
	}
	for _, c := range groups.BatchContainers {
		r.settingsOf(c.Path)[qos.CPUSetCPUs], _ = s.host.ReadSetting(c.Path, qos.CPUSetCPUs) // one that cannot be read is not OK, and left alone
	}
}

// branchCPUs is the CPUs that the batch branch may use, where a container's own must be among them; none where it
// may have any, also because the branch has no set yet and gets that of the group above it.
func branchCPUs(host cgroup.Host) []int {
	if host.Mode == cgroup.V2 {
		return nil
	}
	s, err := host.ReadSetting(host.BatchBranch(), qos.CPUSetCPUs)
	if err != nil {
		return nil // the runtime says what is wrong with the group
	}
	cpus, err := qos.ParseCPUs(s.Value)
	if err != nil {
		return nil
	}
	return cpus
}
