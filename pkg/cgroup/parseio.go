package cgroup

import (
	"bytes"

	"github.com/plimsoll/plimsoll/pkg/usage"
)

// add adds to a sum that a number which cannot be made sense of makes void.
func add(sum *usage.Reading, b []byte) {
	v, ok := parseUint(b)
	sum.OK = sum.OK && ok && sum.Value <= 1<<63-1-v
	sum.Value += v
	if !sum.OK {
		sum.Value = 0
	}
}

// parseIOStat sums io.stat over disks: "8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6". A group that
// has asked nothing of any disk has no line, and has asked for zero. Text that is not of that kind gives none.
func parseIOStat(b []byte) (readBytes, writeBytes, reads, writes usage.Reading) {
	readBytes, writeBytes, reads, writes = usage.Of(0), usage.Of(0), usage.Of(0), usage.Of(0)
	for len(b) > 0 {
		var line []byte
		line, b = nextLine(b)
		if !startsWithDevice(line) {
			return usage.Reading{}, usage.Reading{}, usage.Reading{}, usage.Reading{}
		}
		for len(line) > 0 {
			word := line
			if i := bytes.IndexByte(line, ' '); i >= 0 {
				word, line = line[:i], line[i+1:]
			} else {
				line = nil
			}
			switch key, value, _ := bytes.Cut(word, []byte("=")); string(key) {
			case "rbytes":
				add(&readBytes, value)
			case "wbytes":
				add(&writeBytes, value)
			case "rios":
				add(&reads, value)
			case "wios":
				add(&writes, value)
			}
		}
	}
	return readBytes, writeBytes, reads, writes
}

// parseBlkio sums a file of v1's blkio hierarchy over disks: lines "8:0 Read 1", "8:0 Write 2" and others,
// with "Total 3" at the end.
func parseBlkio(b []byte) (read, write usage.Reading) {
	read, write = usage.Of(0), usage.Of(0)
	ended := false
	for len(b) > 0 {
		var line []byte
		line, b = nextLine(b)
		if bytes.HasPrefix(line, []byte("Total ")) {
			ended = true
			continue
		}
		if !startsWithDevice(line) {
			return usage.Reading{}, usage.Reading{}
		}
		_, rest, _ := bytes.Cut(line, []byte(" "))
		kind, value, _ := bytes.Cut(rest, []byte(" "))
		switch string(kind) {
		case "Read":
			add(&read, value)
		case "Write":
			add(&write, value)
		}
	}
	if !ended {
		return usage.Reading{}, usage.Reading{}
	}
	return read, write
}

// startsWithDevice says whether a line begins like "8:16 ".
func startsWithDevice(line []byte) bool {
	i := bytes.IndexByte(line, ' ')
	if i < 0 {
		i = len(line)
	}
	major, minor, ok := bytes.Cut(line[:i], []byte(":"))
	return ok && isDigits(major) && isDigits(minor)
}

func isDigits(b []byte) bool {
	for _, c := range b {
		if c < '0' || c > '9' {
			return false
		}
	}
	return len(b) > 0
}
