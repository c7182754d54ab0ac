package cgroup

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// The neutral value of a knob with settings for each disk is its v2 lines, sorted by disk and joined by
// "; ", or one word where no disk has a setting: "max" for limits, "none" for latency targets.
const noTarget = "none"

// device is a disk's major and minor number.
type device struct {
	major, minor int64
}

func (d device) String() string { return fmt.Sprintf("%d:%d", d.major, d.minor) }

func compareDevices(a, b device) int {
	if a.major != b.major {
		return int(a.major - b.major)
	}
	return int(a.minor - b.minor)
}

// limits are the settings of each disk, in the order of deviceCodec.keys; absentLimit is none.
type limits map[device][]int64

const absentLimit = -1

// mostLimit is more bytes or operations a second, or microseconds, than anything does.
const mostLimit = 1 << 50

// deviceCodec is the codec of io.max and io.latency.
type deviceCodec struct {
	v2File string
	keys   []string
	// v1Files are in the order of keys.
	v1Files []string
	// empty is the value that sets nothing, reset what v2 is written to take a setting away.
	empty, reset string
	lessIsWider  bool
	// v2Least is the least number that v2 takes.
	v2Least int64
}

func (c deviceCodec) codec() codec {
	return codec{canonical: c.canonical, encode: c.encode, decode: c.decode, shift: c.shift, lossless: true}
}

func (c deviceCodec) canonical(mode Mode, value string) (string, error) {
	l, err := c.parse(value, ";")
	if err == nil && mode == V2 {
		err = c.enough(l)
	}
	if err != nil {
		return "", err
	}
	return c.format(l), nil
}

// enough refuses what v2 has no room for.
func (c deviceCodec) enough(l limits) error {
	for d, values := range l {
		for i, v := range values {
			if v != absentLimit && v < c.v2Least {
				return fmt.Errorf("%s of disk %s must be %d or more", c.keys[i], d, c.v2Least)
			}
		}
	}
	return nil
}

// parse reads the lines of a v2 file or the parts of a neutral value.
func (c deviceCodec) parse(text, separator string) (limits, error) {
	all := limits{}
	if text == c.empty || strings.TrimSpace(text) == "" && separator == "\n" {
		return all, nil
	}
	wrong := fmt.Errorf("must be %q, or for each disk MAJOR:MINOR with %s=NUMBER of 1 to %d or %q, separated by %q",
		c.empty, strings.Join(c.keys, "=, "), int64(mostLimit), c.reset, ";")
	for line := range strings.SplitSeq(text, separator) {
		fields := strings.Fields(line)
		if len(fields) < 2 {
			return nil, wrong
		}
		d, ok := parseDevice(fields[0])
		if _, twice := all[d]; !ok || twice {
			return nil, wrong
		}
		values := slices.Repeat([]int64{absentLimit}, len(c.keys))
		for _, f := range fields[1:] {
			key, number, _ := strings.Cut(f, "=")
			i := slices.Index(c.keys, key)
			if i < 0 {
				return nil, wrong
			}
			if number == c.reset {
				continue
			}
			v, err := parseNumber(number)
			if err != nil || v < 1 || v > mostLimit {
				return nil, wrong
			}
			values[i] = v
		}
		all[d] = values
	}
	maps.DeleteFunc(all, func(_ device, v []int64) bool { return isAbsent(v) })
	return all, nil
}

func isAbsent(values []int64) bool {
	return !slices.ContainsFunc(values, func(v int64) bool { return v != absentLimit })
}

func parseDevice(text string) (device, bool) {
	major, minor, _ := strings.Cut(text, ":")
	a, errA := parseNumber(major)
	b, errB := parseNumber(minor)
	// The kernel keeps 12 bits of the one and 20 of the other.
	return device{a, b}, errA == nil && errB == nil && a < 1<<12 && b < 1<<20
}

func (c deviceCodec) format(l limits) string {
	if len(l) == 0 {
		return c.empty
	}
	var parts []string
	for _, d := range slices.SortedFunc(maps.Keys(l), compareDevices) {
		parts = append(parts, c.line(d, l[d]))
	}
	return strings.Join(parts, "; ")
}

func (c deviceCodec) line(d device, values []int64) string {
	var line strings.Builder
	line.WriteString(d.String())
	for i, key := range c.keys {
		text := c.reset
		if values[i] != absentLimit {
			text = strconv.FormatInt(values[i], 10)
		}
		line.WriteString(" " + key + "=" + text)
	}
	return line.String()
}

// encode writes one line at a time: the kernel takes one disk in each write(2). Disks that have a setting
// now and are not in the value lose it.
func (c deviceCodec) encode(mode Mode, value string, now Raw) ([]FileText, error) {
	want, err := c.parse(value, ";")
	if err != nil {
		return nil, err
	}
	was, err := c.limitsNow(mode, now)
	if err != nil {
		return nil, err
	}
	none := slices.Repeat([]int64{absentLimit}, len(c.keys))
	for d := range was {
		if want[d] == nil {
			want[d] = none
		}
	}
	var writes []FileText
	for _, d := range slices.SortedFunc(maps.Keys(want), compareDevices) {
		if mode == V2 {
			writes = append(writes, FileText{File: c.v2File, Text: c.line(d, want[d])})
			continue
		}
		for i, file := range c.v1Files {
			limit := max(want[d][i], 0) // 0 takes a limit of v1 away
			if had := was[d]; limit == 0 && (had == nil || had[i] == absentLimit) {
				continue
			}
			writes = append(writes, FileText{File: file, Text: d.String() + " " + strconv.FormatInt(limit, 10)})
		}
	}
	return writes, nil
}

func (c deviceCodec) decode(mode Mode, raw Raw) (string, error) {
	l, err := c.limitsNow(mode, raw)
	if err == nil && mode == V2 {
		err = c.enough(l)
	}
	if err != nil {
		return "", err
	}
	return c.format(l), nil
}

func (c deviceCodec) limitsNow(mode Mode, raw Raw) (limits, error) {
	if mode == V2 {
		if len(raw) == 0 {
			return limits{}, nil
		}
		return c.parse(raw[0], "\n")
	}
	all := limits{}
	for i, text := range raw {
		for line := range strings.Lines(text) {
			fields := strings.Fields(line)
			if len(fields) == 0 {
				continue
			}
			var d device
			ok := len(fields) == 2
			if ok {
				d, ok = parseDevice(fields[0])
			}
			v, err := parseNumber(fields[len(fields)-1])
			if !ok || err != nil || v > mostLimit {
				return nil, fmt.Errorf("must be lines of MAJOR:MINOR and a number of at most %d", int64(mostLimit))
			}
			if v == 0 { // no limit, which the kernel would leave out
				continue
			}
			if all[d] == nil {
				all[d] = slices.Repeat([]int64{absentLimit}, len(c.keys))
			}
			all[d][i] = v
		}
	}
	return all, nil
}

func (c deviceCodec) shift(from, to string) Shift {
	f, errFrom := c.parse(from, ";")
	t, errTo := c.parse(to, ";")
	if errFrom != nil || errTo != nil {
		return Wider
	}
	var gains, loses bool
	compare := func(d device) {
		for i := range c.keys {
			// A limit that is not there is no limit; a target that is not there protects nothing.
			a, b := int64(1<<63-1), int64(1<<63-1)
			if v := f[d]; v != nil && v[i] != absentLimit {
				a = v[i]
			}
			if v := t[d]; v != nil && v[i] != absentLimit {
				b = v[i]
			}
			s := compareNumbers(a, b, c.lessIsWider)
			gains, loses = gains || s == Wider, loses || s == Tighter
		}
	}
	for d := range f {
		compare(d)
	}
	for d := range t {
		compare(d)
	}
	return shiftOf(gains, loses)
}

func shiftOf(gains, loses bool) Shift {
	switch {
	case gains && loses:
		return Mixed
	case gains:
		return Wider
	case loses:
		return Tighter
	default:
		return Unchanged
	}
}
