package publishing

import (
	"compress/gzip"
	"encoding/csv"
	"errors"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
)

// machineTrace is 8 machines of Alibaba's cluster-trace-v2018 over 8 days.
const machineTrace = "alibaba-2018-machines/machine_usage_8machines_8days.csv.gz"

// fill says what a machine used between two rows of the trace.
type fill string

const (
	// holding: what a row says lasts until the next row. Each row is a reading of its own.
	holding fill = "holding"
	// sloping: a straight line from row to row.
	sloping fill = "sloping"
)

// machine is the CPU use of one machine in permille of its capacity, one value a second.
type machine []int64

type row struct{ second, permille int64 }

// machines are the trace's machines, second by second.
func machines(tb testing.TB, f fill) []machine {
	tb.Helper()
	rows := readRows(tb)
	var all []machine
	for _, name := range slices.Sorted(maps.Keys(rows)) {
		all = append(all, seconds(rows[name], f))
	}
	return all
}

// readRows reads the trace, by machine and in order of time. Invalid values (-1 and 101 by the trace's own description) are left out.
func readRows(tb testing.TB) map[string][]row {
	tb.Helper()
	root := os.Getenv("PLIMSOLL_TRACES")
	if root == "" {
		root = "../../../../shared/data"
	}
	file, err := os.Open(filepath.Join(root, machineTrace))
	if errors.Is(err, fs.ErrNotExist) {
		tb.Skipf("no %s in %s: set PLIMSOLL_TRACES to the folder of the traces to cover it", machineTrace, root)
	}
	if err != nil {
		tb.Fatal(err)
	}
	defer file.Close()
	plain, err := gzip.NewReader(file)
	if err != nil {
		tb.Fatal(err)
	}
	rows := map[string][]row{}
	for lines := csv.NewReader(plain); ; {
		line, err := lines.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			tb.Fatal(err)
		}
		second, errTime := strconv.ParseInt(line[1], 10, 64)
		percent, errCPU := strconv.ParseFloat(line[2], 64)
		if err := errors.Join(errTime, errCPU); err != nil {
			tb.Fatal(err)
		}
		if percent >= 0 && percent <= 100 {
			rows[line[0]] = append(rows[line[0]], row{second, int64(percent * 10)})
		}
	}
	for name := range rows {
		slices.SortFunc(rows[name], func(a, b row) int { return int(a.second - b.second) })
	}
	return rows
}

// seconds fills the time between the rows.
func seconds(rows []row, f fill) machine {
	var m machine
	for i := range len(rows) - 1 {
		from, to := rows[i], rows[i+1]
		for s := range to.second - from.second {
			value := from.permille
			if f == sloping {
				value += (to.permille - from.permille) * s / (to.second - from.second)
			}
			m = append(m, value)
		}
	}
	return m
}

// BenchmarkTraceRows tells how restless the machines are: how far use is apart, in % of a machine, in rows
// that are 10 s and 60 s apart, whichever rows lie between.
func BenchmarkTraceRows(b *testing.B) {
	rows := readRows(b)
	for _, apart := range []int64{10, 60} {
		b.Run(strconv.FormatInt(apart, 10)+"s", func(b *testing.B) {
			var sum, pairs int64
			for b.Loop() {
				sum, pairs = 0, 0
				for _, of := range rows {
					for i := range of {
						for j := i + 1; j < len(of) && of[j].second-of[i].second <= apart; j++ {
							if of[j].second-of[i].second == apart {
								sum, pairs = sum+max(of[i].permille-of[j].permille, of[j].permille-of[i].permille), pairs+1
							}
						}
					}
				}
			}
			b.ReportMetric(float64(sum)/float64(pairs)/10, "apart-%")
			b.ReportMetric(float64(pairs), "pairs")
		})
	}
}
