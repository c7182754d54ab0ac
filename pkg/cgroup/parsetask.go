package cgroup

import "bytes"

// parseTaskSchedstat reads /proc/TID/schedstat: how long the task has run and has waited in run queues, both in
// nanoseconds, and how often it has run (Documentation/scheduler/sched-stats.rst).
func parseTaskSchedstat(b []byte) (ranNanos, waitedNanos int64, ok bool) {
	ranNanos, ok = parseUint(b)
	_, b, more := bytes.Cut(b, []byte(" "))
	if !ok || !more {
		return 0, 0, false
	}
	if waitedNanos, ok = parseUint(b); !ok {
		return 0, 0, false
	}
	return ranNanos, waitedNanos, true
}

// parseTaskIDs appends the numbers of a list of tasks, one a line, to ids. A task that has the number 0 is
// in another PID namespace: then nothing is known.
func parseTaskIDs(b []byte, ids []int32) (_ []int32, ok bool) {
	for len(b) > 0 {
		var line []byte
		line, b = nextLine(b)
		v, isNumber := parseUint(line)
		if !isNumber || v < 1 || v > mostPIDs || len(line) != digits(line) {
			return ids, false
		}
		ids = append(ids, int32(v))
	}
	return ids, true
}
