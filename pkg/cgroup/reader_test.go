package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/plimsoll/plimsoll/pkg/usage"
)

const (
	capturedContainer = "/kubepods/plimsoll-batch/5f3e9a1c0b7d"
	capturedBurstable = "/kubepods/burstable"
)

// hybrid is a host of captured files.
func hybrid(t testing.TB) Host {
	t.Helper()
	dir := tree(t, "hybrid-cgroupfs.txtar")
	return Host{ProcRoot: dir + "/proc", FSRoot: dir + "/cgroup", Mode: Hybrid, Driver: Cgroupfs, Kubepods: "/kubepods"}
}

// v2 is a v2 host with one group, /g.
func v2(t testing.TB) Host {
	t.Helper()
	h := Host{FSRoot: t.TempDir(), Mode: V2}
	const pressure = "some avg10=0.00 avg60=0.00 avg300=0.00 total=%d\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=1\n"
	for file, text := range map[string]string{
		"cpu.stat":        "usage_usec 2300\nuser_usec 2000\nsystem_usec 300\nnr_periods 40\nnr_throttled 30\nthrottled_usec 20\n",
		"memory.current":  "5000\n",
		"memory.events":   "low 1\nhigh 2\nmax 3\noom 4\noom_kill 5\noom_group_kill 6\n",
		"io.stat":         "8:0 rbytes=10 wbytes=20 rios=3 wios=4 dbytes=500 dios=6\n8:16 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0\n",
		"pids.current":    "9\n",
		"memory.stat":     "anon 3000\nfile 2000\ninactive_anon 10\nactive_file 500\ninactive_file 1500\n",
		"cpu.pressure":    fmt.Sprintf(pressure, 11),
		"memory.pressure": fmt.Sprintf(pressure, 12),
		"io.pressure":     fmt.Sprintf(pressure, 13),
	} {
		write(t, filepath.Join(h.FSRoot, "g", file), text)
	}
	return h
}

// v2Sample is what is in it.
func v2Sample() usage.GroupSample {
	return usage.GroupSample{
		CPUMicros: usage.Of(2300), Periods: usage.Of(40), ThrottledPeriods: usage.Of(30), ThrottledMicros: usage.Of(20),
		MemoryCurrentBytes: usage.Of(5000), WorkingSetBytes: usage.Of(5000 - 1500), AnonBytes: usage.Of(3000), FileBytes: usage.Of(2000),
		MemoryLowEvents: usage.Of(1), MemoryHighEvents: usage.Of(2), MemoryMaxEvents: usage.Of(3), MemoryOOMEvents: usage.Of(4), MemoryOOMKillEvents: usage.Of(5),
		IOReadBytes: usage.Of(11), IOWriteBytes: usage.Of(22), IOReads: usage.Of(6), IOWrites: usage.Of(8), PIDs: usage.Of(9),
		CPUSomeMicros: usage.Of(11), MemorySomeMicros: usage.Of(12), IOSomeMicros: usage.Of(13),
		CPUFullMicros: usage.Of(1), MemoryFullMicros: usage.Of(1), IOFullMicros: usage.Of(1),
	}
}

func wantSample(t *testing.T, r *Reader, group string, want usage.GroupSample) {
	t.Helper()
	got, err := r.Read(group)
	if err != nil {
		t.Fatal(err)
	}
	if got.Key.Path != group || got.Key.ID == 0 {
		t.Errorf("key %+v, want the path %s and some ID", got.Key, group)
	}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(usage.GroupSample{}, "Key")); diff != "" {
		t.Errorf("sample of %s (-want +got):\n%s", group, diff)
	}
}

func newReader(t testing.TB, h Host) *Reader {
	t.Helper()
	r := NewReader(h)
	t.Cleanup(r.Close)
	return r
}

func TestTheReaderReadsEachMode(t *testing.T) {
	captured := hybrid(t)
	container := usage.GroupSample{ // what v1 has
		CPUMicros:          usage.Of(2356948), // 2356948882 ns
		MemoryCurrentBytes: usage.Of(26738688), WorkingSetBytes: usage.Of(26738688 - 25169920),
		AnonBytes: usage.Of(212992), FileBytes: usage.Of(25423872),
	}
	t.Run("hybrid", func(t *testing.T) {
		want := container
		want.CPUSomeMicros, want.CPUFullMicros = usage.Of(1522686), usage.Of(198504)
		want.MemorySomeMicros, want.MemoryFullMicros = usage.Of(0), usage.Of(0)
		want.IOSomeMicros, want.IOFullMicros = usage.Of(1171), usage.Of(1171)
		wantSample(t, newReader(t, captured), capturedContainer, want)
	})
	t.Run("hybrid, a group that the runtime has not mirrored", func(t *testing.T) {
		zero := usage.Of(0)
		wantSample(t, newReader(t, captured), capturedBurstable, usage.GroupSample{
			CPUMicros: zero, MemoryCurrentBytes: zero, WorkingSetBytes: zero, AnonBytes: zero, FileBytes: zero,
		})
	})
	t.Run("v1, where groups have no PSI", func(t *testing.T) {
		h := captured
		h.Mode = V1
		wantSample(t, newReader(t, h), capturedContainer, container)
	})
	t.Run("v1, throttling, events, I/O and tasks", func(t *testing.T) {
		h := captured
		h.Mode = V1
		for file, text := range map[string]string{
			"cpu/cpu.stat":                                    "nr_periods 40\nnr_throttled 30\nthrottled_time 20999\nnr_bursts 0\nburst_time 0\n",
			"memory/memory.oom_control":                       "oom_kill_disable 0\nunder_oom 0\noom_kill 5\n",
			"memory/memory.failcnt":                           "3\n",
			"blkio/blkio.throttle.io_service_bytes_recursive": "8:0 Read 10\n8:0 Write 20\n8:0 Total 30\nTotal 30\n",
			"blkio/blkio.throttle.io_serviced_recursive":      "8:0 Read 1\n8:0 Write 2\n8:0 Total 3\nTotal 3\n",
			"pids/pids.current":                               "9\n",
		} {
			controller, name, _ := strings.Cut(file, "/")
			write(t, filepath.Join(h.Dir(controller, capturedContainer), name), text)
		}
		want := container
		want.Periods, want.ThrottledPeriods, want.ThrottledMicros = usage.Of(40), usage.Of(30), usage.Of(20)
		want.MemoryMaxEvents, want.MemoryOOMKillEvents = usage.Of(3), usage.Of(5)
		want.IOReadBytes, want.IOWriteBytes, want.IOReads, want.IOWrites = usage.Of(10), usage.Of(20), usage.Of(1), usage.Of(2)
		want.PIDs = usage.Of(9)
		wantSample(t, newReader(t, h), capturedContainer, want)
	})
	t.Run("v2", func(t *testing.T) {
		h := Host{FSRoot: tree(t, "v2-cgroupfs.txtar") + "/cgroup", Mode: V2}
		wantSample(t, newReader(t, h), "/kubepods/besteffort/pod3a0fd6b1-5c1f-4d0e-9a66-0f6d2c9be111", usage.GroupSample{
			CPUMicros: usage.Of(2567611), Periods: usage.Of(0), ThrottledPeriods: usage.Of(0), ThrottledMicros: usage.Of(0),
			MemoryCurrentBytes: usage.Of(51957760), WorkingSetBytes: usage.Of(51957760 - 33800192),
			AnonBytes: usage.Of(17580032), FileBytes: usage.Of(33800192),
			CPUSomeMicros: usage.Of(3308058), MemorySomeMicros: usage.Of(0), IOSomeMicros: usage.Of(0),
			CPUFullMicros: usage.Of(1678610), MemoryFullMicros: usage.Of(0), IOFullMicros: usage.Of(0),
		})
	})
	t.Run("v2, each reading in its place", func(t *testing.T) {
		wantSample(t, newReader(t, v2(t)), "/g", v2Sample())
	})
}

func TestAReadingOfSomeCountersHasNoOthers(t *testing.T) {
	all := v2Sample()
	cpu := usage.GroupSample{CPUMicros: all.CPUMicros, Periods: all.Periods, ThrottledPeriods: all.ThrottledPeriods, ThrottledMicros: all.ThrottledMicros}
	for _, tt := range []struct {
		name     string
		counters Counters
		want     usage.GroupSample
	}{
		{"nothing", 0, usage.GroupSample{}},
		{"CPU pressure", CPUPressure, usage.GroupSample{CPUSomeMicros: all.CPUSomeMicros, CPUFullMicros: all.CPUFullMicros}},
		{"memory and I/O pressure", MemoryPressure | IOPressure, usage.GroupSample{
			MemorySomeMicros: all.MemorySomeMicros, MemoryFullMicros: all.MemoryFullMicros, IOSomeMicros: all.IOSomeMicros, IOFullMicros: all.IOFullMicros,
		}},
		{"CPU time, which is in one file with throttling", CPUTime, cpu},
		{"throttling", Throttling, cpu},
		{"memory", Memory, usage.GroupSample{
			MemoryCurrentBytes: all.MemoryCurrentBytes, WorkingSetBytes: all.WorkingSetBytes, AnonBytes: all.AnonBytes, FileBytes: all.FileBytes,
			MemoryLowEvents: all.MemoryLowEvents, MemoryHighEvents: all.MemoryHighEvents, MemoryMaxEvents: all.MemoryMaxEvents,
			MemoryOOMEvents: all.MemoryOOMEvents, MemoryOOMKillEvents: all.MemoryOOMKillEvents,
		}},
		{"I/O and tasks", IO | PIDs, usage.GroupSample{IOReadBytes: all.IOReadBytes, IOWriteBytes: all.IOWriteBytes, IOReads: all.IOReads, IOWrites: all.IOWrites, PIDs: all.PIDs}},
		{"all", allCounters, all},
	} {
		got, err := newReader(t, v2(t)).ReadOnly("/g", tt.counters)
		if err != nil {
			t.Fatal(err)
		}
		tt.want.Key = got.Key
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
}

func TestACounterThatIsNotUnderstoodIsAbsentNotZero(t *testing.T) {
	f := func(file, text string, forget func(*usage.GroupSample)) {
		t.Helper()
		t.Run(file, func(t *testing.T) {
			h := v2(t)
			write(t, filepath.Join(h.FSRoot, "g", file), text)
			want := v2Sample()
			forget(&want)
			wantSample(t, newReader(t, h), "/g", want)
		})
	}
	absent := usage.Reading{}
	f("cpu.stat", "", func(s *usage.GroupSample) {
		s.CPUMicros, s.Periods, s.ThrottledPeriods, s.ThrottledMicros = absent, absent, absent, absent
	})
	f("memory.current", "max\n", func(s *usage.GroupSample) { s.MemoryCurrentBytes, s.WorkingSetBytes = absent, absent })
	f("memory.stat", "anon 3000\n", func(s *usage.GroupSample) { s.FileBytes, s.WorkingSetBytes = absent, absent })
	f("memory.events", "low 1\n\xff\xfe", func(s *usage.GroupSample) {
		s.MemoryHighEvents, s.MemoryMaxEvents, s.MemoryOOMEvents, s.MemoryOOMKillEvents = absent, absent, absent, absent
	})
	f("cpu.pressure", "garbage", func(s *usage.GroupSample) { s.CPUSomeMicros, s.CPUFullMicros = absent, absent })
	f("io.stat", "garbage", func(s *usage.GroupSample) {
		s.IOReadBytes, s.IOWriteBytes, s.IOReads, s.IOWrites = absent, absent, absent, absent
	})
	f("pids.current", "-1\n", func(s *usage.GroupSample) { s.PIDs = absent })
	// The two files are read one after the other: what was inactive may have gone meanwhile.
	f("memory.current", "1000\n", func(s *usage.GroupSample) {
		s.MemoryCurrentBytes, s.WorkingSetBytes = usage.Of(1000), usage.Of(0)
	})
}

func TestAFileThatIsNotThereIsAbsentNotZero(t *testing.T) {
	h := v2(t)
	for _, file := range []string{"memory.events", "io.stat", "pids.current"} {
		if err := os.Remove(filepath.Join(h.FSRoot, "g", file)); err != nil {
			t.Fatal(err)
		}
	}
	absent := usage.Reading{}
	want := v2Sample()
	want.MemoryLowEvents, want.MemoryHighEvents, want.MemoryMaxEvents, want.MemoryOOMEvents, want.MemoryOOMKillEvents = absent, absent, absent, absent, absent
	want.IOReadBytes, want.IOWriteBytes, want.IOReads, want.IOWrites, want.PIDs = absent, absent, absent, absent, absent
	wantSample(t, newReader(t, h), "/g", want)
}

func TestAFileThatIsFarTooLargeIsAnErrorThatNamesIt(t *testing.T) {
	h := v2(t)
	write(t, filepath.Join(h.FSRoot, "g/memory.stat"), strings.Repeat("x", maxFileBytes+1))
	_, err := newReader(t, h).Read("/g")
	wantError(t, err, "/g", "memory.stat", "more than")
}

func TestAGroupThatIsNotThereIsAnErrorNotZero(t *testing.T) {
	got, err := newReader(t, v2(t)).Read("/gone")
	if !errors.Is(err, fs.ErrNotExist) || got != (usage.GroupSample{}) {
		t.Errorf("Read = %+v, %v, want nothing and fs.ErrNotExist", got, err)
	}
	wantError(t, err, "/gone")
}

func TestAFileThatComesLaterIsFound(t *testing.T) {
	h := v2(t)
	pressure := filepath.Join(h.FSRoot, "g/cpu.pressure")
	if err := os.Rename(pressure, pressure+".later"); err != nil {
		t.Fatal(err)
	}
	r := newReader(t, h)
	for range 5 {
		if s, err := r.Read("/g"); err != nil || s.CPUSomeMicros.OK {
			t.Fatalf("Read = %+v, %v, want no CPU pressure", s, err)
		}
	}
	if err := os.Rename(pressure+".later", pressure); err != nil {
		t.Fatal(err)
	}
	for n := 1; ; n++ {
		s, err := r.Read("/g")
		if err != nil {
			t.Fatal(err)
		}
		if s.CPUSomeMicros.OK {
			return
		}
		if n > lookAgainEvery {
			t.Fatalf("not found in %d readings", n)
		}
	}
}

func TestAFileLargerThanTheBufferIsReadWhole(t *testing.T) {
	h := v2(t)
	write(t, filepath.Join(h.FSRoot, "g/memory.stat"), strings.Repeat("padding 0\n", 8<<10)+"inactive_file 1500\n")
	s, err := newReader(t, h).Read("/g")
	if want := usage.Of(3500); err != nil || s.WorkingSetBytes != want {
		t.Errorf("working set %+v, %v, want %+v", s.WorkingSetBytes, err, want)
	}
}

func TestAReadingAllocatesNothing(t *testing.T) {
	captured := hybrid(t)
	plainV1 := captured
	plainV1.Mode = V1
	for name, tc := range map[string]struct {
		host  Host
		group string
	}{
		"hybrid": {captured, capturedContainer}, "v1": {plainV1, capturedContainer}, "v2": {v2(t), "/g"},
	} {
		r := newReader(t, tc.host)
		for range 600 { // until files that this host does not have are hardly looked for any more
			if _, err := r.Read(tc.group); err != nil {
				t.Fatal(err)
			}
		}
		if got := testing.AllocsPerRun(100, func() {
			if _, err := r.Read(tc.group); err != nil {
				t.Error(err)
			}
		}); got != 0 {
			t.Errorf("%s: a reading allocates %v times, want 0", name, got)
		}
	}
}

func TestForgottenGroupsHoldNoFiles(t *testing.T) {
	r := newReader(t, v2(t))
	held := func() int {
		t.Helper()
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	none := held()
	read := func() {
		t.Helper()
		if _, err := r.Read("/g"); err != nil {
			t.Fatal(err)
		}
	}
	read()
	some := held()
	if some <= none {
		t.Fatalf("%d files before reading, %d after: nothing is held", none, some)
	}
	r.Keep(map[string]bool{"/g": true})
	if got := held(); got != some {
		t.Errorf("%d files after keeping the group, want %d", got, some)
	}
	for name, forget := range map[string]func(){
		"Forget": func() { r.Forget("/g") }, "Keep": func() { r.Keep(map[string]bool{}) }, "Close": r.Close,
	} {
		read()
		forget()
		if got := held(); got != none {
			t.Errorf("%d files after %s, want %d", got, name, none)
		}
	}
}

func BenchmarkRead(b *testing.B) {
	r := newReader(b, hybrid(b))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.Read(capturedContainer); err != nil {
			b.Fatal(err)
		}
	}
}
