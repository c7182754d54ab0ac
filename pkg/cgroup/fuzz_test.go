package cgroup

import (
	"bytes"
	"path"
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

// FuzzKnobs holds for any text in any knob's files: it is refused, or it is a value that can be written again
// and then reads the same.
func FuzzKnobs(f *testing.F) {
	for i, k := range Knobs() {
		for _, text := range []string{
			"", "100", "max", "max 100000", "50000 100000", "-1", "0-3,8", "default 100\n8:0 200", "8:0 rbps=1 wbps=max riops=max wiops=2",
			"8:0 target=75", "8:0 1048576\n8:16 3", "L3:0=fffff;1=fffff\nMB:0=100", "9223372036854771712", "\xff\xfe", "none", "inherit",
		} {
			f.Add(uint8(i), text, "100000")
			f.Add(uint8(i), k.Range, text)
		}
	}
	f.Fuzz(func(t *testing.T, i uint8, text, second string) {
		k := Knobs()[int(i)%len(Knobs())]
		for _, mode := range []Mode{V1, V2} {
			if v, err := k.Canonical(mode, text); err == nil {
				if again, err := k.Canonical(mode, v); err != nil || again != v {
					t.Errorf("%s: %q is %q, which is %q, %v", k.Knob, text, v, again, err)
				}
			}
			_ = k.Shift(text, second)
			raw := make(Raw, len(k.In(mode).Files))
			for i := range raw {
				raw[i] = text
			}
			if len(raw) == 2 {
				raw[1] = second
			}
			v, err := k.Decode(mode, raw)
			if err != nil {
				continue
			}
			if got := k.Shift(v, v); got != Unchanged {
				t.Errorf("%s from %q to itself: %s", k.Knob, v, got)
			}
			if _, err := k.Restore(mode, raw, raw); err != nil {
				t.Errorf("%s: what reads as %q cannot be restored: %v", k.Knob, v, err)
			}
			if mode == V1 && (v == setNone || k.V1.Controller == "blkio" && len(raw) == 1) {
				continue // an empty cpuset, and a weight that is in v2's range only
			}
			if again, err := k.Canonical(mode, v); err != nil || again != v {
				t.Errorf("%s on %s: %q reads as %q, which is %q, %v", k.Knob, mode, text, v, again, err)
			}
			if _, err := k.Encode(mode, v, raw); err != nil {
				t.Errorf("%s on %s: what reads as %q cannot be written: %v", k.Knob, mode, v, err)
			}
		}
	})
}

// FuzzNames holds for any name of a group: a pod has a UID, a container a hexadecimal ID.
func FuzzNames(f *testing.F) {
	for _, seed := range []string{
		"", "pod", "pod" + guaranteed, "kubepods-burstable-pod1_2.slice", "crio-conmon-c0ffee.scope", "cri-containerd-c0ffee.scope", "-", ".scope", ".slice", "c0ffee", "\xff-a",
	} {
		f.Add(seed, "/kubepods")
	}
	f.Fuzz(func(t *testing.T, name, root string) {
		for _, driver := range []Driver{Cgroupfs, Systemd} {
			h := Host{Driver: driver, Kubepods: root}
			for _, tier := range h.tiers() {
				if uid, ok := h.podUID(tier, name); ok && uid == "" {
					t.Errorf("%q below %s is a pod without a UID", name, tier)
				}
			}
			if _, id, ok := h.containerName(name); ok && !isHex(id) {
				t.Errorf("%q is a container of ID %q", name, id)
			}
			if got := h.BatchContainerPath("c0ffee", name); driver == Cgroupfs && path.Dir(got) != h.BatchBranch() {
				t.Errorf("with the path %q the container is put at %q", name, got)
			}
		}
	})
}

func isHex(s string) bool {
	for _, c := range []byte(s) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return s != ""
}

func FuzzParseTask(f *testing.F) {
	for _, seed := range []string{"", "497917 6028775 3\n", "0 0 0\n", "1", "1 ", "1 x", "12\n13\n", "0\n", "12x\n", "99999999999\n", "9223372036854775807 9223372036854775807 1"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		before := string(data)
		ran, waited, ok := parseTaskSchedstat(data)
		wantReadings(t, data, before, usage.Reading{Value: ran, OK: ok}, usage.Reading{Value: waited, OK: ok})
		ids, ok := parseTaskIDs(data, nil)
		for _, id := range ids {
			if id < 1 || id > mostPIDs {
				t.Errorf("%q names task %d", before, id)
			}
		}
		if lines := bytes.Count(data, []byte("\n")); ok && len(ids) > lines+1 {
			t.Errorf("%q has %d tasks in %d lines", before, len(ids), lines)
		}
	})
}
