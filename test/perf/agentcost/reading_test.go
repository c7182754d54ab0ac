package agentcost

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/plimsoll/plimsoll/pkg/cgroup"
)

// readings makes 300 groups, and a Reader that holds their files and knows what is not there.
func readings(tb testing.TB) (groups []string, r *cgroup.Reader) {
	tb.Helper()
	tr := newNodeTree(tb)
	for i := range pods {
		g := tr.pod(i, fmt.Sprintf("00000000-0000-4000-8000-%012x", i))
		groups = append(groups, g[:]...)
	}
	r = cgroup.NewReader(tr.Host)
	tb.Cleanup(r.Close)
	for range 3 {
		readAll(tb, r, groups)
	}
	return groups, r
}

func readAll(tb testing.TB, r *cgroup.Reader, groups []string) {
	for _, g := range groups {
		if _, err := r.Read(g); err != nil {
			tb.Fatal(err)
		}
	}
}

// heldFiles is every file of our groups that this process has open: those that the Reader reads.
func heldFiles(tb testing.TB) []int {
	tb.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		tb.Fatal(err)
	}
	var fds []int
	for _, e := range entries {
		fd, err := strconv.Atoi(e.Name())
		if err != nil {
			tb.Fatal(err)
		}
		target, err := os.Readlink(filepath.Join("/proc/self/fd", e.Name()))
		var st unix.Stat_t
		if err != nil || !strings.Contains(target, "/plimsoll-perf-") || unix.Fstat(fd, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
			continue
		}
		fds = append(fds, fd)
	}
	slices.Sort(fds)
	return fds
}

func preadAll(tb testing.TB, fds []int, buf []byte) {
	for _, fd := range fds {
		if _, err := unix.Pread(fd, buf, 0); err != nil {
			tb.Fatal(err)
		}
	}
}

// BenchmarkFullReading reads 300 real groups and, in turn, does only the system calls that this takes. What it
// reports is the median of the two and of their ratio; the target is a ratio of at most 1.5.
func BenchmarkFullReading(b *testing.B) {
	groups, r := readings(b)
	fds := heldFiles(b)
	buf := make([]byte, 16<<10)
	var reading, bare, ratio []float64
	for b.Loop() {
		begin := time.Now()
		preadAll(b, fds, buf)
		middle := time.Now()
		readAll(b, r, groups)
		end := time.Now()
		bare = append(bare, float64(middle.Sub(begin).Microseconds()))
		reading = append(reading, float64(end.Sub(middle).Microseconds()))
		ratio = append(ratio, float64(end.Sub(middle))/float64(middle.Sub(begin)))
	}
	b.ReportMetric(float64(len(fds)), "files")
	b.ReportMetric(median(bare), "us-bare")
	b.ReportMetric(median(reading), "us-reading")
	b.ReportMetric(median(ratio), "ratio")
}

func median(v []float64) float64 {
	slices.Sort(v)
	return v[len(v)/2]
}

// The time is a matter of the machine's load; that nothing is allocated is not.
func TestAFullReadingAllocatesNothing(t *testing.T) {
	groups, r := readings(t)
	if fds := heldFiles(t); len(fds) < 5*len(groups) {
		t.Fatalf("%d files are held for %d groups: that is no full reading", len(fds), len(groups))
	}
	for range 30 { // until what this host does not have is hardly looked for
		readAll(t, r, groups)
	}
	if got := testing.AllocsPerRun(5, func() { readAll(t, r, groups) }); got != 0 {
		t.Errorf("a reading of %d groups allocates %v times, want 0", len(groups), got)
	}
}
