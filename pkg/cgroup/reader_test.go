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
		"cpu.stat":        "usage_usec 2300\nuser_usec 2000\nsystem_usec 300\n",
		"memory.current":  "5000\n",
		"memory.stat":     "anon 3000\nfile 2000\ninactive_anon 10\nactive_file 500\ninactive_file 1500\n",
		"cpu.pressure":    fmt.Sprintf(pressure, 11),
		"memory.pressure": fmt.Sprintf(pressure, 12),
		"io.pressure":     fmt.Sprintf(pressure, 13),
	} {
		write(t, filepath.Join(h.FSRoot, "g", file), text)
	}
	return h
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
	t.Run("hybrid", func(t *testing.T) {
		wantSample(t, newReader(t, captured), capturedContainer, usage.GroupSample{
			CPUMicros:        usage.Of(2356948), // 2356948882 ns
			WorkingSetBytes:  usage.Of(26738688 - 25169920),
			CPUSomeMicros:    usage.Of(1522686),
			MemorySomeMicros: usage.Of(0),
			IOSomeMicros:     usage.Of(1171),
		})
	})
	t.Run("hybrid, a group that the runtime has not mirrored", func(t *testing.T) {
		wantSample(t, newReader(t, captured), capturedBurstable, usage.GroupSample{CPUMicros: usage.Of(0), WorkingSetBytes: usage.Of(0)})
	})
	t.Run("v1, where groups have no PSI", func(t *testing.T) {
		h := captured
		h.Mode = V1
		wantSample(t, newReader(t, h), capturedContainer, usage.GroupSample{
			CPUMicros: usage.Of(2356948), WorkingSetBytes: usage.Of(26738688 - 25169920),
		})
	})
	t.Run("v2", func(t *testing.T) {
		h := Host{FSRoot: tree(t, "v2-cgroupfs.txtar") + "/cgroup", Mode: V2}
		wantSample(t, newReader(t, h), "/kubepods/besteffort/pod3a0fd6b1-5c1f-4d0e-9a66-0f6d2c9be111", usage.GroupSample{
			CPUMicros:        usage.Of(2567611),
			WorkingSetBytes:  usage.Of(51957760 - 33800192),
			CPUSomeMicros:    usage.Of(3308058),
			MemorySomeMicros: usage.Of(0),
			IOSomeMicros:     usage.Of(0),
		})
	})
	t.Run("v2, each reading in its place", func(t *testing.T) {
		wantSample(t, newReader(t, v2(t)), "/g", usage.GroupSample{
			CPUMicros: usage.Of(2300), WorkingSetBytes: usage.Of(5000 - 1500),
			CPUSomeMicros: usage.Of(11), MemorySomeMicros: usage.Of(12), IOSomeMicros: usage.Of(13),
		})
	})
}

func TestACounterThatIsNotUnderstoodIsAbsentNotZero(t *testing.T) {
	full := usage.GroupSample{
		CPUMicros: usage.Of(2300), WorkingSetBytes: usage.Of(3500),
		CPUSomeMicros: usage.Of(11), MemorySomeMicros: usage.Of(12), IOSomeMicros: usage.Of(13),
	}
	f := func(file, text string, forget func(*usage.GroupSample)) {
		t.Helper()
		t.Run(file, func(t *testing.T) {
			h := v2(t)
			write(t, filepath.Join(h.FSRoot, "g", file), text)
			want := full
			forget(&want)
			wantSample(t, newReader(t, h), "/g", want)
		})
	}
	absent := usage.Reading{}
	f("cpu.stat", "", func(s *usage.GroupSample) { s.CPUMicros = absent })
	f("memory.current", "max\n", func(s *usage.GroupSample) { s.WorkingSetBytes = absent })
	f("memory.stat", "anon 3000\n", func(s *usage.GroupSample) { s.WorkingSetBytes = absent })
	f("cpu.pressure", "garbage", func(s *usage.GroupSample) { s.CPUSomeMicros = absent })
	// The two files are read one after the other: what was inactive may have gone meanwhile.
	f("memory.current", "1000\n", func(s *usage.GroupSample) { s.WorkingSetBytes = usage.Of(0) })
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
