package cgroup

import "bytes"

// The parsers below work on the bytes of a file, allocate nothing and answer ok=false for what they do
// not understand: a number that is not there is not zero.

// parseUint reads the decimal number that b begins with.
func parseUint(b []byte) (value int64, ok bool) {
	for _, c := range b {
		if c < '0' || c > '9' {
			break
		}
		if value > (1<<63-1-9)/10 {
			return 0, false
		}
		value, ok = value*10+int64(c-'0'), true
	}
	return value, ok
}

// parseField reads the number behind a key at the start of a line, as in cpu.stat, memory.stat and
// /proc/meminfo: "usage_usec 1234" or "MemTotal:  1234 kB". The key includes its colon.
func parseField(b []byte, key string) (int64, bool) {
	for len(b) > 0 {
		line := b
		if i := bytes.IndexByte(b, '\n'); i >= 0 {
			line, b = b[:i], b[i+1:]
		} else {
			b = nil
		}
		if len(line) > len(key) && string(line[:len(key)]) == key && line[len(key)] == ' ' {
			return parseUint(bytes.TrimLeft(line[len(key):], " "))
		}
	}
	return 0, false
}

// parsePSISome reads the total of the "some" line of a pressure file, in microseconds:
// some avg10=0.00 avg60=0.00 avg300=0.00 total=1234
func parsePSISome(b []byte) (int64, bool) {
	if !bytes.HasPrefix(b, []byte("some ")) {
		return 0, false
	}
	if i := bytes.IndexByte(b, '\n'); i >= 0 {
		b = b[:i]
	}
	i := bytes.Index(b, []byte(" total="))
	if i < 0 {
		return 0, false
	}
	return parseUint(b[i+len(" total="):])
}

// userHZ is the unit of /proc/stat: hundredths of a second on every Linux that Kubernetes runs on
// (proc_stat(5), sysconf(_SC_CLK_TCK)).
const userHZ = 100

const microsPerTick = 1_000_000 / userHZ

// maxTicks is what one column may say so that the sum of eight stays a number of microseconds: 36,000
// years of one CPU's time, or 36 years of a thousand CPUs'.
const maxTicks = (1<<63 - 1) / (8 * microsPerTick)

// parseStat reads the busy time of all CPUs, in microseconds, and the number of CPUs online from
// /proc/stat. Busy is user, nice, system, irq, softirq and steal; guest time is in user already, idle
// and iowait are not work.
func parseStat(b []byte) (busyMicros int64, cpus int, ok bool) {
	for len(b) > 0 && bytes.HasPrefix(b, []byte("cpu")) {
		line := b
		if i := bytes.IndexByte(b, '\n'); i >= 0 {
			line, b = b[:i], b[i+1:]
		} else {
			b = nil
		}
		line = line[len("cpu"):]
		if len(line) > 0 && line[0] != ' ' {
			cpus++
			continue
		}
		for column := 0; column < 8; column++ {
			line = bytes.TrimLeft(line, " ")
			v, isNumber := parseUint(line)
			if !isNumber || v > maxTicks {
				return 0, 0, false
			}
			if column != 3 && column != 4 {
				busyMicros += v * microsPerTick
			}
			if i := bytes.IndexByte(line, ' '); i >= 0 {
				line = line[i:]
			} else {
				line = nil
			}
		}
		ok = true
	}
	return busyMicros, cpus, ok && cpus > 0
}
