package cgroup

import (
	"fmt"
	"maps"
	"math/bits"
	"slices"
	"strconv"
	"strings"
)

// resctrlGroup is the resctrl group of our own that the batch branch's tasks are put into.
const resctrlGroup = "plimsoll-batch"

// schemata are the shares of cache and memory bandwidth: of each resource, the share of each domain. A
// share is a mask of cache ways where the resource is a cache, else a percentage or MB/s.
type schemata map[string]map[int64]uint64

func isCache(resource string) bool { return strings.HasPrefix(resource, "L") }

// schemataCodec's neutral value is the lines of the file, sorted, without padding, joined by " ":
// "L3:0=ff;1=ff MB:0=50;1=100". A resource or a domain that is not named stays as it is.
func schemataCodec() codec {
	return codec{
		canonical: func(_ Mode, value string) (string, error) {
			s, err := parseSchemata(strings.ReplaceAll(value, " ", "\n"))
			return s.format(" "), err
		},
		encode: func(_ Mode, value string, _ Raw) ([]FileText, error) {
			s, err := parseSchemata(strings.ReplaceAll(value, " ", "\n"))
			return []FileText{{File: "schemata", Text: s.format("\n") + "\n"}}, err
		},
		decode: func(_ Mode, raw Raw) (string, error) {
			s, err := parseSchemata(raw[0])
			return s.format(" "), err
		},
		shift: shiftSchemata, lossless: true,
	}
}

func parseSchemata(text string) (schemata, error) {
	wrong := fmt.Errorf("must be resources like L3:0=ff;1=f (a mask of cache ways in hexadecimal) or MB:0=50 (a share of bandwidth)")
	s := schemata{}
	for line := range strings.Lines(text) {
		resource, domains, ok := strings.Cut(strings.TrimSpace(line), ":")
		if resource == "" || !ok || s[resource] != nil || len(resource) > 16 || strings.ContainsAny(resource, "=; \t") {
			return nil, wrong
		}
		s[resource] = map[int64]uint64{}
		base := 10
		if isCache(resource) {
			base = 16
		}
		for part := range strings.SplitSeq(domains, ";") {
			name, share, _ := strings.Cut(part, "=")
			domain, err := parseNumber(strings.TrimSpace(name))
			v, errShare := strconv.ParseUint(strings.TrimSpace(share), base, 32)
			if _, twice := s[resource][domain]; err != nil || errShare != nil || twice || v == 0 && !isCache(resource) {
				return nil, wrong
			}
			s[resource][domain] = v
		}
	}
	if len(s) == 0 {
		return nil, wrong
	}
	return s, nil
}

func (s schemata) format(separator string) string {
	var lines []string
	for _, resource := range slices.Sorted(maps.Keys(s)) {
		base := 10
		if isCache(resource) {
			base = 16
		}
		var domains []string
		for _, d := range slices.Sorted(maps.Keys(s[resource])) {
			domains = append(domains, strconv.FormatInt(d, 10)+"="+strconv.FormatUint(s[resource][d], base))
		}
		lines = append(lines, resource+":"+strings.Join(domains, ";"))
	}
	return strings.Join(lines, separator)
}

// shiftSchemata compares what both values name; what only the new one names counts as a gain, because
// what it was is not known.
func shiftSchemata(from, to string) Shift {
	f, errFrom := parseSchemata(strings.ReplaceAll(from, " ", "\n"))
	t, errTo := parseSchemata(strings.ReplaceAll(to, " ", "\n"))
	if errFrom != nil || errTo != nil {
		return Wider
	}
	var gains, loses bool
	for resource, domains := range t {
		for d, now := range domains {
			was, known := f[resource][d]
			switch {
			case !known:
				gains = true
			case isCache(resource):
				gains, loses = gains || bits.OnesCount64(now&^was) > 0, loses || was&^now != 0
			default:
				gains, loses = gains || now > was, loses || now < was
			}
		}
	}
	return shiftOf(gains, loses)
}
