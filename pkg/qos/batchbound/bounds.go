package batchbound

// QuotaPeriodMicros is the period of a CPU quota: the kernel's and every runtime's default.
const QuotaPeriodMicros = 100_000

// The least and the most that the kernel takes.
const (
	minQuotaMicros       = 1000
	minShares, maxShares = 2, 262_144
)

// Amounts is what a container of a batch pod was given when it was admitted.
type Amounts struct {
	// MilliCPU is what it is scheduled with, in thousandths of a core; MemoryBytes and LimitMilliCPU are the
	// most that it may use.
	MilliCPU, MemoryBytes, LimitMilliCPU int64
}

// Bounds is what the kernel holds a group to. The runtime hook sets it when a container is created; where
// there is no hook, the strategy does.
type Bounds struct {
	// Shares is the CPU weight beside other batch containers, on the scale of cpu.shares.
	Shares int64
	// QuotaMicros is the CPU time in each 100 ms; -1 for no quota.
	QuotaMicros int64
	MemoryBytes int64
	PIDs        int64
}

// Of is what a container is held to.
//
//	shares = milliCPU x 1024 / 1000
//	quota  = limitMilliCPU x period / 1000
func Of(a Amounts, pids int64) Bounds {
	return Bounds{
		Shares:      min(max(a.MilliCPU*1024/1000, minShares), maxShares),
		QuotaMicros: max(a.LimitMilliCPU*QuotaPeriodMicros/1000, minQuotaMicros),
		MemoryBytes: a.MemoryBytes,
		PIDs:        pids,
	}
}

// OfPod is what a pod may use at most: sidecars and either all other containers or one of those that run,
// one after the other, before them.
//
//	amount = sidecars + max(sum of the others, largest of the initial ones)
func OfPod(initial, sidecars, others []Amounts) Amounts {
	most := Largest(append([]Amounts{sum(others)}, initial...))
	return sum(append([]Amounts{most}, sidecars...))
}

// Largest is the largest of each amount: no container of a pod is to have more, whichever it is.
func Largest(all []Amounts) (most Amounts) {
	for _, a := range all {
		most.MilliCPU = max(most.MilliCPU, a.MilliCPU)
		most.MemoryBytes = max(most.MemoryBytes, a.MemoryBytes)
		most.LimitMilliCPU = max(most.LimitMilliCPU, a.LimitMilliCPU)
	}
	return most
}

func sum(all []Amounts) (total Amounts) {
	for _, a := range all {
		total.MilliCPU += a.MilliCPU
		total.MemoryBytes += a.MemoryBytes
		total.LimitMilliCPU += a.LimitMilliCPU
	}
	return total
}
