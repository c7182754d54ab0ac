package cgroup

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/opencontainers/cgroups"
)

// unlimited is the neutral value, and v2's own word, for "no limit".
const unlimited = "max"

// numberCodec is the codec of a knob that is one number in one file, or "max".
type numberCodec struct {
	v2File, v1File string
	// min and max are the range on v2; v1Max is less where v1 can say less.
	min, max, v1Max int64
	// canBeMax is true where "max" is a value too.
	canBeMax bool
	// round is what the kernel makes of a number.
	round func(int64) string
	// toV1 and fromV1 convert; nil where the text is the same. toV2 spells a number on v2.
	toV2, toV1     func(string) string
	fromV2, fromV1 func(string) (string, error)
	// lessIsWider is true where the smaller number gives the group more.
	lessIsWider bool
	// lossless is true where the number is all that we ever change of the file.
	lossless bool
}

func (n numberCodec) codec() codec {
	return codec{canonical: n.canonical, encode: n.encode, decode: n.decode, shift: n.shift, lossless: n.lossless}
}

func (n numberCodec) canonical(mode Mode, value string) (string, error) {
	if n.canBeMax && value == unlimited {
		return value, nil
	}
	most := n.max
	if mode != V2 && n.v1Max != 0 {
		most = n.v1Max
	}
	v, err := parseNumber(value)
	if err != nil || v < n.min || v > most {
		or := ""
		if n.canBeMax {
			or = ` or "max"`
		}
		return "", fmt.Errorf("must be %d to %d%s", n.min, most, or)
	}
	if n.round != nil {
		return n.round(v), nil
	}
	return strconv.FormatInt(v, 10), nil
}

func (n numberCodec) encode(mode Mode, value string, _ Raw) ([]FileText, error) {
	file, spell := n.v2File, n.toV2
	if mode != V2 {
		file, spell = n.v1File, n.toV1
	}
	if spell != nil {
		value = spell(value)
	}
	return []FileText{{File: file, Text: value}}, nil
}

func (n numberCodec) decode(mode Mode, raw Raw) (string, error) {
	text, from := raw[0], n.fromV2
	if mode != V2 {
		from = n.fromV1
	}
	if from != nil {
		var err error
		if text, err = from(text); err != nil {
			return "", err
		}
	}
	return n.canonical(V2, text)
}

func (n numberCodec) shift(from, to string) Shift {
	return compareNumbers(numberOf(from), numberOf(to), n.lessIsWider)
}

func compareNumbers(from, to int64, lessIsWider bool) Shift {
	switch {
	case from == to:
		return Unchanged
	case from < to != lessIsWider:
		return Wider
	default:
		return Tighter
	}
}

// numberOf is a canonical number for comparing; "max" is the largest.
func numberOf(canonical string) int64 {
	v, err := strconv.ParseInt(canonical, 10, 64)
	if err != nil {
		return 1<<63 - 1
	}
	return v
}

var errNotANumber = errors.New("not a number")

// parseNumber reads a whole text of decimal digits: no sign, no space, no unit.
func parseNumber(text string) (int64, error) {
	if text == "" || strings.Trim(text, "0123456789") != "" {
		return 0, errNotANumber
	}
	v, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0, errNotANumber
	}
	return v, nil
}

// mostShares and mostWeight are the ends of the two scales of CPU weight.
const (
	leastShares = 2
	mostShares  = 262144
	mostWeight  = 10000
)

// weightOfShares is the v2 weight that container runtimes give a container of so many v1 shares (runc
// 1.5 does; older ones used a straight line, in which 1024 was 39). It keeps the default, 1024 is 100, and the ends.
// The kubelet and the runtime set the groups beside ours by it, so ours must be on the same scale.
func weightOfShares(shares int64) int64 {
	return int64(cgroups.ConvertCPUSharesToCgroupV2Value(uint64(min(max(shares, leastShares), mostShares))))
}

// WeightOfShares is the neutral weight of so many v1 shares.
func WeightOfShares(shares int64) int64 { return weightOfShares(shares) }

// sharesOfWeight is the most shares that give that weight, so that the default weight gives the default
// shares. Each weight has some.
func sharesOfWeight(weight int64) int64 {
	low, high := int64(leastShares), int64(mostShares)
	for low < high {
		if mid := (low + high + 1) / 2; weightOfShares(mid) > weight {
			high = mid - 1
		} else {
			low = mid
		}
	}
	return low
}

// roundToPage is what the kernel makes of a number of bytes: whole pages, rounded down, and no limit
// from its largest count of pages on.
func roundToPage(bytes int64) string {
	page := int64(os.Getpagesize())
	if bytes >= (1<<63-1)/page*page {
		return unlimited
	}
	return strconv.FormatInt(bytes/page*page, 10)
}

// fromV1Memory reads v1's limit, which says "no limit" as the largest number of pages.
func fromV1Memory(text string) (string, error) {
	v, err := strconv.ParseInt(text, 10, 64)
	if err != nil || v < 0 {
		return "", errNotANumber
	}
	return roundToPage(v), nil
}

func minusOneForMax(value string) string {
	if value == unlimited {
		return "-1"
	}
	return value
}

// fromDefaultLine finds the weight in io.weight or io.bfq.weight: "default 100", and lines of single disks,
// which are left as they are. v1's blkio.bfq.weight has the number alone.
func fromDefaultLine(text string) (string, error) {
	line, _, _ := strings.Cut(text, "\n")
	return strings.TrimPrefix(line, "default "), nil
}
