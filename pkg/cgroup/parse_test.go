package cgroup

import (
	"fmt"
	"math"
	"strings"
	"testing"
)

type number struct {
	value int64
	ok    bool
}

func TestParseUint(t *testing.T) {
	f := func(in string, want number) {
		t.Helper()
		value, ok := parseUint([]byte(in))
		if got := (number{value, ok}); got != want {
			t.Errorf("parseUint(%q) = %v, want %v", in, got, want)
		}
	}
	f("0", number{0, true})
	f("42\n", number{42, true})
	f("42 kB", number{42, true})
	f("9223372036854771712\n", number{9223372036854771712, true}) // "no limit" on v1
	f("", number{})
	f("\n", number{})
	f("max\n", number{})
	f("-1", number{})
	f(" 1", number{})
	f("18446744073709551615", number{}) // the largest number that the kernel can print
	f(strings.Repeat("9", 1000), number{})
}

func TestParseField(t *testing.T) {
	const cpuStat = "usage_usec 2300000\nuser_usec 2000000\nsystem_usec 300000\nnr_periods 0\n"
	f := func(in, key string, want number) {
		t.Helper()
		value, ok := parseField([]byte(in), key)
		if got := (number{value, ok}); got != want {
			t.Errorf("parseField(%q, %q) = %v, want %v", in, key, got, want)
		}
	}
	f(cpuStat, "usage_usec", number{2300000, true})
	f(cpuStat, "nr_periods", number{0, true})
	f("MemTotal:       24683620 kB\n", "MemTotal:", number{24683620, true})
	f("inactive_file 5", "inactive_file", number{5, true})                                // no newline at the end
	f("inactive_file 5\ntotal_inactive_file 7\n", "total_inactive_file", number{7, true}) // not the end of another key
	f("usage_usec_x 1\nusage_usec 2\n", "usage_usec", number{2, true})                    // nor its beginning
	f("", "usage_usec", number{})
	f("\n\n\n", "usage_usec", number{})
	f("usage_usec", "usage_usec", number{})
	f("usage_usec ", "usage_usec", number{})
	f("usage_usec\n", "usage_usec", number{})
	f("usage_usec 18446744073709551615\n", "usage_usec", number{})
	f("usage_usec -1\n", "usage_usec", number{})
	f("usage_usec\t1\n", "usage_usec", number{})
	f("\x00\xff garbage", "usage_usec", number{})
}

func TestParsePSISome(t *testing.T) {
	const some = "some avg10=0.72 avg60=0.13 avg300=0.02 total=94855"
	f := func(name, in string, want number) {
		t.Helper()
		value, ok := parsePSISome([]byte(in))
		if got := (number{value, ok}); got != want {
			t.Errorf("%s: parsePSISome(%q) = %v, want %v", name, in, got, want)
		}
	}
	f("both lines", some+"\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=7\n", number{94855, true})
	f("no full line, as /proc/pressure/cpu before Linux 5.13", some+"\n", number{94855, true})
	f("no newline", some, number{94855, true})
	f("only a full line, as irq.pressure", "full avg10=0.00 avg60=0.00 avg300=0.00 total=7\n", number{})
	f("the total is on another line", "some avg10=0.72\nfull total=7\n", number{})
	f("empty", "", number{})
	f("cut off before the total", some[:30], number{})
	f("cut off in the key", "some avg10=0.72 total", number{})
	f("cut off behind the key", "some avg10=0.72 total=", number{})
	f("another word", "something total=1\n", number{})
	f("too large", "some total=18446744073709551615\n", number{})
	f("switched off", "0\n", number{})
}

// procStat is the beginning of /proc/stat of a machine with some CPUs that all did the same.
func procStat(cpus int, columns string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "cpu  %s\n", columns)
	for i := range cpus {
		fmt.Fprintf(&b, "cpu%d %s\n", i, columns)
	}
	b.WriteString("intr 3699681" + strings.Repeat(" 0", 4096) + "\nctxt 6681483\n")
	return b.String()
}

func TestParseStat(t *testing.T) {
	type answer struct {
		busyMicros int64
		cpus       int
		ok         bool
	}
	f := func(name, in string, want answer) {
		t.Helper()
		busy, cpus, ok := parseStat([]byte(in))
		got := answer{busy, cpus, ok}
		if !ok && !want.ok {
			return // the numbers mean nothing
		}
		if got != want {
			t.Errorf("%s: parseStat = %+v, want %+v", name, got, want)
		}
	}
	// user 1, nice 2, system 3, irq 6, softirq 7, steal 8: 27 ticks of 10 ms. Not idle 4, iowait 5, guest 9 and 10.
	const columns = "1 2 3 4 5 6 7 8 9 10"
	f("two CPUs", procStat(2, columns), answer{270_000, 2, true})
	f("8,192 CPUs", procStat(8192, columns), answer{270_000, 8192, true})
	f("one CPU of two online, the other is not listed", "cpu  "+columns+"\ncpu1 "+columns+"\nintr 0\n", answer{270_000, 1, true})
	f("no steal column, as before Linux 2.6.11", procStat(1, "1 2 3 4 5 6 7"), answer{})
	f("years of 8,192 CPUs", procStat(1, "1000000000000 0 0 900000000000 0 0 0 0 0 0"), answer{1e16, 1, true})
	f("more than a sum can hold", procStat(1, fmt.Sprintf("%d 0 0 0 0 0 0 0", int64(math.MaxInt64/microsPerTick))), answer{})
	f("more than a number can hold", procStat(1, "18446744073709551615 0 0 0 0 0 0 0"), answer{})
	f("empty", "", answer{})
	f("no CPU", "cpu  "+columns+"\nintr 0\n", answer{})
	f("no sum", "cpu0 "+columns+"\nintr 0\n", answer{})
	f("cut off in the first word", "cp", answer{})
	f("cut off behind the first word", "cpu", answer{})
	f("cut off behind the sum's first word", "cpu\ncpu0 "+columns+"\n", answer{})
	f("cut off in the sum", "cpu  1 2 3", answer{})
	f("another file", "MemTotal: 1 kB\n", answer{})
	f("not numbers", "cpu  a b c d e f g h\ncpu0\n", answer{})
}

// A reading happens for every group in every second, so what reads it may not make garbage.
func TestParsersAllocateNothing(t *testing.T) {
	stat := []byte(procStat(512, "90423 115424 92118 275227 1628 0 1659 0 0 0"))
	pressure := []byte("some avg10=0.72 avg60=0.13 avg300=0.02 total=94855\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=7\n")
	fields := []byte("anon 4096\nfile 8192\ninactive_file 12288\n")
	for name, parse := range map[string]func(){
		"parseUint":    func() { parseUint(fields) },
		"parseField":   func() { parseField(fields, "inactive_file") },
		"parsePSISome": func() { parsePSISome(pressure) },
		"parseStat":    func() { parseStat(stat) },
	} {
		if got := testing.AllocsPerRun(100, parse); got != 0 {
			t.Errorf("%s allocates %v times, want 0", name, got)
		}
	}
}

// FuzzParse holds for any file: no parser panics, and none answers with a negative number.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		"", "cpu", "cpu  1 2 3 4 5 6 7 8 9 10\ncpu0 1 2 3 4 5 6 7 8 9 10\n", "cpu \ncpu",
		"some avg10=0.72 avg60=0.13 avg300=0.02 total=94855\nfull total=1\n", "some total=", "some  total=1",
		"usage_usec 2300000\nuser_usec 1\n", "usage_usec ", "MemTotal:       24683620 kB\n", "18446744073709551615",
	} {
		f.Add([]byte(seed), "usage_usec")
	}
	f.Fuzz(func(t *testing.T, data []byte, key string) {
		before := string(data)
		for name, v := range map[string]func() (int64, bool){
			"parseUint":    func() (int64, bool) { return parseUint(data) },
			"parseField":   func() (int64, bool) { return parseField(data, key) },
			"parsePSISome": func() (int64, bool) { return parsePSISome(data) },
			"parseStat":    func() (int64, bool) { busy, _, ok := parseStat(data); return busy, ok },
		} {
			if value, ok := v(); ok && value < 0 {
				t.Errorf("%s = %d", name, value)
			}
		}
		if string(data) != before {
			t.Error("a parser wrote to its input")
		}
	})
}
