package cgroup

import (
	"bytes"

	"github.com/plimsoll/plimsoll/pkg/usage"
)

// parseSchedstat sums the run delay of /proc/schedstat over CPUs, in microseconds. The line of a CPU has nine
// numbers; the eighth is nanoseconds that tasks waited for it. Nothing else has been so for all versions
// of the file since 15 (Documentation/scheduler/sched-stats.rst).
func parseSchedstat(b []byte) (runDelayMicros usage.Reading) {
	version, ok := parseField(b, "version")
	if !ok || version < 15 {
		return usage.Reading{}
	}
	var nanos usage.Reading
	for len(b) > 0 {
		var line []byte
		line, b = nextLine(b)
		if !bytes.HasPrefix(line, []byte("cpu")) {
			continue
		}
		for range 8 {
			_, line, _ = bytes.Cut(line, []byte(" "))
		}
		if nanos == (usage.Reading{}) {
			nanos.OK = true
		}
		add(&nanos, line)
		if !nanos.OK {
			return usage.Reading{}
		}
	}
	return usage.Reading{Value: nanos.Value / 1000, OK: nanos.OK}
}

// userHZ is the unit of /proc/stat: hundredths of a second on every Linux that Kubernetes runs on
// (proc_stat(5), sysconf(_SC_CLK_TCK)).
const userHZ = 100

const microsPerTick = 1_000_000 / userHZ

// maxTicks is what one column may say so that the sum of eight stays a number of microseconds: 36,000
// years of one CPU's time, or 36 years of a thousand CPUs'.
const maxTicks = (1<<63 - 1) / (8 * microsPerTick)

// parseStat reads the busy time of all CPUs, in microseconds, from /proc/stat, and appends each CPU that is
// online to cpus, which it returns. Busy is user, nice, system, irq, softirq and steal; guest time is in
// user already, idle and iowait are not work.
func parseStat(b []byte, cpus []usage.CPUSample) (busyMicros int64, _ []usage.CPUSample, ok bool) {
	for len(b) > 0 && bytes.HasPrefix(b, []byte("cpu")) {
		var line []byte
		line, b = nextLine(b)
		line = line[len("cpu"):]
		number, isCPU := parseUint(line)
		if isCPU {
			line = line[min(len(line), digits(line)):]
		}
		busy, idle, isLine := parseCPULine(line)
		switch {
		case isCPU && number < maxCPUs:
			cpus = append(cpus, usage.CPUSample{CPU: int(number), IdleMicros: usage.Reading{Value: idle, OK: isLine}})
		case isCPU || !isLine:
			return 0, cpus, false
		default:
			busyMicros, ok = busy, true
		}
	}
	return busyMicros, cpus, ok && len(cpus) > 0
}

// maxCPUs is above what any kernel is built for.
const maxCPUs = 1 << 16

// digits is how many digits b begins with.
func digits(b []byte) int {
	n := 0
	for n < len(b) && b[n] >= '0' && b[n] <= '9' {
		n++
	}
	return n
}

// parseCPULine adds up the eight columns of a line of /proc/stat, behind its name.
func parseCPULine(line []byte) (busyMicros, idleMicros int64, ok bool) {
	for column := range 8 {
		line = bytes.TrimLeft(line, " ")
		v, isNumber := parseUint(line)
		if !isNumber || v > maxTicks {
			return 0, 0, false
		}
		if column == 3 || column == 4 {
			idleMicros += v * microsPerTick
		} else {
			busyMicros += v * microsPerTick
		}
		line = line[digits(line):]
	}
	return busyMicros, idleMicros, true
}
