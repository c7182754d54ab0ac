package cgroup

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/plimsoll/plimsoll/pkg/usage"
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

func TestParsePSI(t *testing.T) {
	const some = "some avg10=0.72 avg60=0.13 avg300=0.02 total=94855"
	const full = "full avg10=0.00 avg60=0.00 avg300=0.00 total=7"
	none := usage.Reading{}
	f := func(name, in string, wantSome, wantFull usage.Reading) {
		t.Helper()
		if gotSome, gotFull := parsePSI([]byte(in)); gotSome != wantSome || gotFull != wantFull {
			t.Errorf("%s: parsePSI(%q) = %v, %v, want %v, %v", name, in, gotSome, gotFull, wantSome, wantFull)
		}
	}
	f("both lines", some+"\n"+full+"\n", usage.Of(94855), usage.Of(7))
	f("no full line, as /proc/pressure/cpu before Linux 5.13", some+"\n", usage.Of(94855), none)
	f("no newline", some, usage.Of(94855), none)
	f("only a full line, as irq.pressure", full+"\n", none, usage.Of(7))
	f("the total is on another line", "some avg10=0.72\nfull total=7\n", none, usage.Of(7))
	f("empty", "", none, none)
	f("cut off before the total", some[:30], none, none)
	f("cut off in the key", "some avg10=0.72 total", none, none)
	f("cut off behind the key", "some avg10=0.72 total=", none, none)
	f("another word", "something total=1\n", none, none)
	f("too large", "some total=18446744073709551615\n", none, none)
	f("switched off", "0\n", none, none)
	f("not text", "\xff\xfesome total=1\n", none, none)
}

func TestParseFieldsLeavesWhatIsNotThere(t *testing.T) {
	var a, b, c usage.Reading
	parseFields([]byte("oom_kill 3\noom 2\nmax x\n"), field{"oom", &a}, field{"oom_kill", &b}, field{"max", &c})
	if a != usage.Of(2) || b != usage.Of(3) || c.OK {
		t.Errorf("oom %v, oom_kill %v, max %v, want 2, 3 and none", a, b, c)
	}
}

func TestParseIOStat(t *testing.T) {
	none := [4]usage.Reading{}
	of := func(a, b, c, d int64) [4]usage.Reading {
		return [4]usage.Reading{usage.Of(a), usage.Of(b), usage.Of(c), usage.Of(d)}
	}
	f := func(name, in string, want [4]usage.Reading) {
		t.Helper()
		var got [4]usage.Reading
		got[0], got[1], got[2], got[3] = parseIOStat([]byte(in))
		if got != want {
			t.Errorf("%s: parseIOStat(%q) = %v, want %v", name, in, got, want)
		}
	}
	const line = "8:0 rbytes=10 wbytes=20 rios=3 wios=4 dbytes=500 dios=6"
	f("one disk", line+"\n", of(10, 20, 3, 4))
	f("two disks", line+"\n8:16 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0\n", of(11, 22, 6, 8))
	f("no newline", line, of(10, 20, 3, 4))
	f("nothing was asked of any disk", "", of(0, 0, 0, 0))
	f("a disk without numbers, as some kernels print", "8:0\n"+line, of(10, 20, 3, 4))
	f("another file", "usage_usec 5\n", none)
	f("garbage behind a good line", line+"\nxx", none)
	f("a number that is none", "8:0 rbytes=x wbytes=20 rios=3 wios=4", [4]usage.Reading{{}, usage.Of(20), usage.Of(3), usage.Of(4)})
	f("more than a sum can hold", "8:0 rbytes=9223372036854775797\n8:16 rbytes=9223372036854775797\n", [4]usage.Reading{{}, usage.Of(0), usage.Of(0), usage.Of(0)})
	f("not text", "\xff\xfe", none)
}

func TestParseBlkio(t *testing.T) {
	none := usage.Reading{}
	f := func(name, in string, wantRead, wantWrite usage.Reading) {
		t.Helper()
		if read, write := parseBlkio([]byte(in)); read != wantRead || write != wantWrite {
			t.Errorf("%s: parseBlkio(%q) = %v, %v, want %v, %v", name, in, read, write, wantRead, wantWrite)
		}
	}
	f("two disks", "8:0 Read 1\n8:0 Write 2\n8:0 Sync 3\n8:0 Async 0\n8:0 Discard 0\n8:0 Total 3\n8:16 Read 10\n8:16 Write 20\nTotal 33\n", usage.Of(11), usage.Of(22))
	f("nothing was asked of any disk", "Total 0\n", usage.Of(0), usage.Of(0))
	f("cut off", "8:0 Read 1\n", none, none)
	f("empty", "", none, none)
	f("another file", "read 5\nTotal 5\n", none, none)
	f("a number that is none", "8:0 Read x\n8:0 Write 2\nTotal 2\n", none, usage.Of(2))
}

func TestParseSchedstat(t *testing.T) {
	f := func(name, in string, want usage.Reading) {
		t.Helper()
		if got := parseSchedstat([]byte(in)); got != want {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
	f("two CPUs", "version 15\ntimestamp 4295\ncpu0 0 0 0 0 0 0 91000 7000 12\ndomain0 3 1 2 3\ncpu1 0 0 0 0 0 0 5 3500 1\n", usage.Of(10)) // 10,500 ns
	f("a later version", "version 17\ncpu0 0 0 0 0 0 0 91000 7000 12\n", usage.Of(7))
	f("an older version", "version 14\ncpu0 0 0 0 0 0 0 91000 7000 12\n", usage.Reading{})
	f("cut off", "version 15\ncpu0 0 0 0 0", usage.Reading{})
	f("no CPU", "version 15\n", usage.Reading{})
	f("empty", "", usage.Reading{})
	f("a number that is none", "version 15\ncpu0 0 0 0 0 0 0 91000 x 12\n", usage.Reading{})
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
		busy, perCPU, ok := parseStat([]byte(in), nil)
		got := answer{busy, len(perCPU), ok}
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

func TestEachCPUsIdleTimeIsReadUnderItsNumber(t *testing.T) {
	_, got, ok := parseStat([]byte("cpu  0 0 0 40 5 0 0 0 0 0\ncpu0 0 0 0 30 4 0 0 0 0 0\ncpu7 0 0 0 10 1 0 0 0 0 0\ncpu8 0 0\nintr 0\n"), nil)
	want := []usage.CPUSample{{CPU: 0, IdleMicros: usage.Of(340_000)}, {CPU: 7, IdleMicros: usage.Of(110_000)}, {CPU: 8}}
	if diff := cmp.Diff(want, got); !ok || diff != "" {
		t.Errorf("CPUs (-want +got), ok %v:\n%s", ok, diff)
	}
}

// A reading happens for every group in every second, so what reads it may not make garbage.
func TestParsersAllocateNothing(t *testing.T) {
	stat := []byte(procStat(512, "90423 115424 92118 275227 1628 0 1659 0 0 0"))
	pressure := []byte("some avg10=0.72 avg60=0.13 avg300=0.02 total=94855\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=7\n")
	cpus := make([]usage.CPUSample, 0, 512)
	ioStat := []byte("8:0 rbytes=10 wbytes=20 rios=3 wios=4 dbytes=500 dios=6\n")
	blkio := []byte("8:0 Read 1\n8:0 Write 2\nTotal 3\n")
	schedstat := []byte("version 15\ntimestamp 4295\ncpu0 0 0 0 0 0 0 91000 7000 12\n")
	fields := []byte("anon 4096\nfile 8192\ninactive_file 12288\n")
	for name, parse := range map[string]func(){
		"parseUint":      func() { parseUint(fields) },
		"parseField":     func() { parseField(fields, "inactive_file") },
		"parsePSI":       func() { parsePSI(pressure) },
		"parseStat":      func() { parseStat(stat, cpus) },
		"parseIOStat":    func() { parseIOStat(ioStat) },
		"parseBlkio":     func() { parseBlkio(blkio) },
		"parseSchedstat": func() { parseSchedstat(schedstat) },
	} {
		if got := testing.AllocsPerRun(100, parse); got != 0 {
			t.Errorf("%s allocates %v times, want 0", name, got)
		}
	}
}
