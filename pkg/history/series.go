package history

// The series of the history. Node series have labels node and resource (cpu in cores, memory in bytes).
const (
	// NodeCapacity also has the label pool, where the node's pool is known.
	NodeCapacity = "plimsoll:node_capacity"
	// NodeRequested is what the pods on the node ask for, batch aside.
	NodeRequested = "plimsoll:node_requested"
	// NodeUsed also has the label class; class All is the whole node.
	NodeUsed = "plimsoll:node_used"
	// NodeLendable also has the label kind: computed, published or lent.
	NodeLendable = "plimsoll:node_lendable"
	// NodePressure is the share of time in which some latency-sensitive task waited for a CPU.
	NodePressure = "plimsoll:node_pressure_ratio"

	// NodeThrottled counts seconds and has the label class: LatencySensitive is how long their own limits stopped
	// services, summed over pods, Batch how long the quota of all batch work stopped it. NodeEvictions counts the batch
	// pods that were evicted. Both begin at 0 again when the agent starts anew, and have no label resource.
	NodeThrottled = "plimsoll:node_throttled_seconds_total"
	NodeEvictions = "plimsoll:node_evictions_total"

	// WorkloadRequested and WorkloadUsed have labels namespace, workload, class and resource.
	WorkloadRequested = "plimsoll:workload_requested"
	WorkloadUsed      = "plimsoll:workload_used"
)

// Series is the samples of one series, oldest first.
type Series struct {
	Labels map[string]string
	Times  []int64
	Values []float64
}
