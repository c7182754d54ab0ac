package cgroup

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// The words for an empty cpuset: on v2 it has what the group above it has, on v1 it takes no task.
const (
	setInherit = "inherit"
	setNone    = "none"
)

// mostSetMember is above the CPUs and memory nodes of any machine that Linux is built for.
const mostSetMember = 8191

// span is the numbers from first to last.
type span struct {
	first, last int64
}

// setCodec is the codec of cpuset.cpus and cpuset.mems.
func setCodec(file string) codec {
	return codec{
		canonical: canonicalSet,
		encode: func(_ Mode, value string, _ Raw) ([]FileText, error) {
			if value == setInherit || value == setNone {
				value = "\n"
			}
			return []FileText{{File: file, Text: value}}, nil
		},
		decode: func(mode Mode, raw Raw) (string, error) {
			switch {
			case raw[0] != "":
				return canonicalSet(mode, raw[0])
			case mode == V2:
				return setInherit, nil
			default:
				return setNone, nil
			}
		},
		shift:    shiftSets,
		lossless: true,
	}
}

func canonicalSet(mode Mode, value string) (string, error) {
	switch {
	case value == setInherit && mode == V2, value == setNone && mode != V2:
		return value, nil
	case value == setInherit:
		return "", errors.New("cgroup v1 has no such value: name the members")
	}
	spans, err := parseSpans(value)
	if err != nil {
		return "", err
	}
	return formatSpans(spans), nil
}

// shiftSets is asked for canonical values of either mode.
func shiftSets(from, to string) Shift {
	covers := func(a, b string) bool { // a has all of b
		if a == setInherit || b == setNone || a == b {
			return true
		}
		if b == setInherit || a == setNone {
			return false
		}
		as, errA := parseSpans(a)
		bs, errB := parseSpans(b)
		return errA == nil && errB == nil && coversSpans(as, bs)
	}
	return shiftOf(!covers(from, to), !covers(to, from))
}

// parseSpans reads the kernel's list format, "0-3,8", and returns it sorted with neighbours merged.
func parseSpans(text string) ([]span, error) {
	wrong := fmt.Errorf("must be a list like 0-3,8 of numbers up to %d", mostSetMember)
	var spans []span
	for part := range strings.SplitSeq(text, ",") {
		low, high, isRange := strings.Cut(part, "-")
		first, err := parseNumber(low)
		last := first
		if err == nil && isRange {
			last, err = parseNumber(high)
		}
		if err != nil || last < first || last > mostSetMember {
			return nil, wrong
		}
		spans = append(spans, span{first, last})
	}
	slices.SortFunc(spans, func(a, b span) int { return cmp.Compare(a.first, b.first) })
	merged := spans[:1]
	for _, s := range spans[1:] {
		if last := &merged[len(merged)-1]; s.first <= last.last+1 {
			last.last = max(last.last, s.last)
		} else {
			merged = append(merged, s)
		}
	}
	return merged, nil
}

func formatSpans(spans []span) string {
	parts := make([]string, 0, len(spans))
	for _, s := range spans {
		text := strconv.FormatInt(s.first, 10)
		if s.last > s.first {
			text += "-" + strconv.FormatInt(s.last, 10)
		}
		parts = append(parts, text)
	}
	return strings.Join(parts, ",")
}

// coversSpans says whether each of b's merged spans is within one of a's.
func coversSpans(a, b []span) bool {
	for _, s := range b {
		if !slices.ContainsFunc(a, func(o span) bool { return o.first <= s.first && s.last <= o.last }) {
			return false
		}
	}
	return true
}
