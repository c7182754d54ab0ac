package qos

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// CPU is one CPU of the node.
type CPU struct {
	ID int
	// Core is the lowest number of a CPU of the same core: CPUs with the same are threads of one core. Node is
	// the NUMA node.
	Core, Node int
}

// CPUSets is what a strategy may know of the node's CPUs one by one.
type CPUSets struct {
	// CPUs are those that pods may use, in the order of their numbers; empty where that is not known.
	CPUs []CPU
	// Exclusive are those that the kubelet has given to containers for them alone. They mean something only
	// where ExclusiveOK.
	Exclusive   []int
	ExclusiveOK bool
	// Inherits is true where a group without a set of its own has that of the group above it (cgroup v2). Where it
	// is false a group's set must be within that of the group above, at every moment.
	Inherits bool
	// Missing says what could not be read; empty where everything was.
	Missing string
}

// mostCPUs is above the CPUs of any machine that Linux is built for.
const mostCPUs = 8192

// ParseCPUs reads a list like 0-3,8. It returns each CPU once, in the order of their numbers.
func ParseCPUs(list string) ([]int, error) {
	var cpus []int
	for part := range strings.SplitSeq(list, ",") {
		low, high, isRange := strings.Cut(part, "-")
		first, err := strconv.Atoi(low)
		last := first
		if err == nil && isRange {
			last, err = strconv.Atoi(high)
		}
		if err != nil || first < 0 || last < first || last >= mostCPUs {
			return nil, fmt.Errorf("CPUs %q: must be a list like 0-3,8 of numbers below %d", list, mostCPUs)
		}
		for c := first; c <= last; c++ {
			cpus = append(cpus, c)
		}
	}
	slices.Sort(cpus)
	return slices.Compact(cpus), nil
}

// FormatCPUs writes CPUs, in the order of their numbers and each once, as the kernel does: 0-3,8.
func FormatCPUs(cpus []int) string {
	var b strings.Builder
	for i := 0; i < len(cpus); {
		j := i
		for j+1 < len(cpus) && cpus[j+1] == cpus[j]+1 {
			j++
		}
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(strconv.Itoa(cpus[i]))
		if j > i {
			b.WriteString("-" + strconv.Itoa(cpus[j]))
		}
		i = j + 1
	}
	return b.String()
}

// CPUsWithin is those of cpus that are also of others, in the order of cpus.
func CPUsWithin(cpus, others []int) []int {
	return slices.DeleteFunc(slices.Clone(cpus), func(c int) bool { return !slices.Contains(others, c) })
}
