package cgroup

import (
	"bytes"

	"github.com/plimsoll/plimsoll/pkg/usage"
)

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

// nextLine cuts the first line off b.
func nextLine(b []byte) (line, rest []byte) {
	if i := bytes.IndexByte(b, '\n'); i >= 0 { //nolint:modernize // this is every line of every file; bytes.Cut looks for a slice
		return b[:i], b[i+1:]
	}
	return b, nil
}

// field is one number of a file of keys and numbers, and where it goes.
type field struct {
	key  string
	into *usage.Reading
}

// parseFields reads the numbers behind keys at the start of lines, as in cpu.stat, memory.stat, memory.events
// and /proc/meminfo: "usage_usec 1234" or "MemTotal:  1234 kB". A key includes its colon. What is not
// there, or is no number, is left as it is.
func parseFields(b []byte, fields ...field) {
	left := len(fields)
	for len(b) > 0 && left > 0 {
		var line []byte
		line, b = nextLine(b)
		for i := range fields {
			key := fields[i].key
			if len(line) <= len(key) || line[len(key)] != ' ' || string(line[:len(key)]) != key {
				continue
			}
			v, ok := parseUint(bytes.TrimLeft(line[len(key):], " "))
			*fields[i].into = usage.Reading{Value: v, OK: ok}
			left--
			break
		}
	}
}

// parseField is parseFields for one number.
func parseField(b []byte, key string) (int64, bool) {
	var r usage.Reading
	parseFields(b, field{key, &r})
	return r.Value, r.OK
}

// parsePSI reads the totals of the lines of a pressure file, in microseconds:
// some avg10=0.00 avg60=0.00 avg300=0.00 total=1234
// full avg10=0.00 avg60=0.00 avg300=0.00 total=567
// Before Linux 5.13 there is no line "full" for CPUs.
func parsePSI(b []byte) (some, full usage.Reading) {
	for len(b) > 0 {
		var line []byte
		line, b = nextLine(b)
		into := &some
		if bytes.HasPrefix(line, []byte("full ")) {
			into = &full
		} else if !bytes.HasPrefix(line, []byte("some ")) {
			continue
		}
		if i := bytes.Index(line, []byte(" total=")); i >= 0 {
			v, ok := parseUint(line[i+len(" total="):])
			*into = usage.Reading{Value: v, OK: ok}
		}
	}
	return some, full
}
