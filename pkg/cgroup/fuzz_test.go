package cgroup

import (
	"testing"

	"github.com/plimsoll/plimsoll/pkg/usage"
)

// wantReadings holds for any file: what a parser answers is a number that is not negative, or absent, and
// it leaves its input alone.
func wantReadings(t *testing.T, data []byte, before string, readings ...usage.Reading) {
	t.Helper()
	for i, r := range readings {
		if r.Value < 0 || !r.OK && r.Value != 0 {
			t.Errorf("reading %d of %q is %+v", i, before, r)
		}
	}
	if string(data) != before {
		t.Errorf("the parser of %q wrote to it: %q", before, data)
	}
}

func FuzzParseFields(f *testing.F) {
	for _, seed := range []string{
		"", "usage_usec 2300000\nuser_usec 1\nnr_periods 3\nnr_throttled 2\nthrottled_usec 1\n", "usage_usec ", "usage_usec\n",
		"MemTotal:       24683620 kB\nMemAvailable: 1 kB\n", "18446744073709551615", "anon 1\nfile 2\ninactive_file 3", "\xff\xfe 1\n",
	} {
		f.Add([]byte(seed), "usage_usec")
	}
	f.Fuzz(func(t *testing.T, data []byte, key string) {
		before := string(data)
		var a, b, c usage.Reading
		parseFields(data, field{key, &a}, field{"usage_usec", &b}, field{"MemTotal:", &c})
		wantReadings(t, data, before, a, b, c)
		v, ok := parseUint(data)
		wantReadings(t, data, before, usage.Reading{Value: v, OK: ok})
	})
}

func FuzzParsePSI(f *testing.F) {
	for _, seed := range []string{
		"", "some avg10=0.72 avg60=0.13 avg300=0.02 total=94855\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=1\n",
		"some total=", "some  total=1", "full total=1", "some total=18446744073709551615\n", "\xffsome total=1",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		before := string(data)
		some, full := parsePSI(data)
		wantReadings(t, data, before, some, full)
	})
}

func FuzzParseIO(f *testing.F) {
	for _, seed := range []string{
		"", "8:0 rbytes=10 wbytes=20 rios=3 wios=4 dbytes=500 dios=6\n8:16 rbytes=1\n", "8:0\n", "8:0 rbytes=9223372036854775807\n8:1 rbytes=1",
		"8:0 Read 1\n8:0 Write 2\n8:0 Total 3\nTotal 3\n", "Total 0\n", "8: Read 1", ":0 x",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		before := string(data)
		a, b, c, d := parseIOStat(data)
		wantReadings(t, data, before, a, b, c, d)
		a, b = parseBlkio(data)
		wantReadings(t, data, before, a, b)
	})
}

func FuzzParseNode(f *testing.F) {
	for _, seed := range []string{
		"", "cpu", "cpu  1 2 3 4 5 6 7 8 9 10\ncpu0 1 2 3 4 5 6 7 8 9 10\n", "cpu \ncpu", "cpu 1\ncpu99999999999 1", "cp",
		"version 15\ntimestamp 1\ncpu0 0 0 0 0 0 0 1 2 3\ndomain0 1\ncpu1 0 0 0 0 0 0 1 2 3\n", "version 15\ncpu", "version 15\ncpu 9223372036854775807",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		before := string(data)
		busy, cpus, ok := parseStat(data, nil)
		if ok {
			wantReadings(t, data, before, usage.Reading{Value: busy, OK: ok})
		}
		for _, c := range cpus {
			wantReadings(t, data, before, c.IdleMicros)
		}
		wantReadings(t, data, before, parseSchedstat(data))
	})
}
