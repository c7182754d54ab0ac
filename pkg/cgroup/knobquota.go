package cgroup

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// A quota's neutral value is the microseconds of CPU time in each 100 ms, "50000", or "max". Where a group
// has another period, which the kubelet's cpuCFSQuotaPeriod makes, it follows: "5000/10000", "max/10000".
const (
	defaultPeriodMicros = 100_000
	leastPeriodMicros   = 1_000
	mostPeriodMicros    = 1_000_000
	leastQuotaMicros    = 1_000
	// mostQuotaMicros is ten thousand CPUs' worth of the default period, and well within the kernel's own bound.
	mostQuotaMicros = 1_000_000_000
)

// quota is a parsed value; quotaMicros is -1 for no limit.
type quota struct {
	quotaMicros, periodMicros int64
}

func (q quota) String() string {
	text := unlimited
	if q.quotaMicros >= 0 {
		text = strconv.FormatInt(q.quotaMicros, 10)
	}
	if q.periodMicros != defaultPeriodMicros {
		text += "/" + strconv.FormatInt(q.periodMicros, 10)
	}
	return text
}

func quotaCodec() codec {
	return codec{
		canonical: func(_ Mode, value string) (string, error) {
			q, err := parseQuota(value)
			return q.String(), err
		},
		encode: encodeQuota, decode: decodeQuota, lossless: true,
		shift: func(from, to string) Shift {
			f, errFrom := parseQuota(from)
			t, errTo := parseQuota(to)
			if errFrom != nil || errTo != nil {
				return Wider
			}
			return compareNumbers(f.share(t.periodMicros), t.share(f.periodMicros), false)
		},
	}
}

// share is the quota on a scale that two quotas share: quota/period compared by cross multiplication.
func (q quota) share(otherPeriodMicros int64) int64 {
	if q.quotaMicros < 0 {
		return 1<<63 - 1
	}
	return q.quotaMicros * otherPeriodMicros // at most 10^9 x 10^6
}

func parseQuota(value string) (quota, error) {
	first, second, hasPeriod := strings.Cut(value, "/")
	q := quota{quotaMicros: -1, periodMicros: defaultPeriodMicros}
	var err error
	if first != unlimited {
		if q.quotaMicros, err = parseNumber(first); err != nil {
			q.quotaMicros = 0
		}
	}
	if hasPeriod {
		q.periodMicros, err = parseNumber(second)
	}
	if first != unlimited && (q.quotaMicros < leastQuotaMicros || q.quotaMicros > mostQuotaMicros) ||
		err != nil || q.periodMicros < leastPeriodMicros || q.periodMicros > mostPeriodMicros {
		return quota{}, fmt.Errorf(`must be %d to %d or "max", and behind a slash a period of %d to %d where it is not %d`,
			leastQuotaMicros, mostQuotaMicros, leastPeriodMicros, mostPeriodMicros, defaultPeriodMicros)
	}
	return q, nil
}

func encodeQuota(mode Mode, value string, now Raw) ([]FileText, error) {
	q, err := parseQuota(value)
	if err != nil {
		return nil, err
	}
	period := strconv.FormatInt(q.periodMicros, 10)
	micros := strconv.FormatInt(q.quotaMicros, 10)
	if mode == V2 {
		if q.quotaMicros < 0 {
			micros = unlimited
		}
		return []FileText{{File: "cpu.max", Text: micros + " " + period}}, nil
	}
	writes := []FileText{{File: "cpu.cfs_quota_us", Text: micros}}
	was, err := decodeV1Quota(now)
	if err != nil {
		return nil, err
	}
	// Between two writes the group must not have more than before and after both. A longer period, written
	// first, only takes away; a shorter one only gives, so it comes last, when the new quota is in place.
	switch p := (FileText{File: "cpu.cfs_period_us", Text: period}); {
	case q.periodMicros > was.periodMicros:
		writes = append([]FileText{p}, writes...)
	case q.periodMicros < was.periodMicros:
		writes = append(writes, p)
	}
	return writes, nil
}

func decodeQuota(mode Mode, raw Raw) (string, error) {
	if mode != V2 {
		q, err := decodeV1Quota(raw)
		return q.String(), err
	}
	micros, period, _ := strings.Cut(raw[0], " ")
	q, err := parseQuota(micros + "/" + period)
	return q.String(), err
}

func decodeV1Quota(raw Raw) (quota, error) {
	if len(raw) != 2 {
		return quota{}, errors.New("needs what the quota and the period are now")
	}
	micros := raw[0]
	if micros == "-1" {
		micros = unlimited
	}
	return parseQuota(micros + "/" + raw[1])
}
