package publishing

import (
	"compress/gzip"
	"encoding/csv"
	"errors"
	"io"
	"io/fs"
	"maps"
	"math"
	"math/rand/v2"
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
	// wandering: around that line, another deviation from it every 10 s, which is what a row is measured over.
	// Deviations are as large as would make rows that are 10 s apart differ as those of the trace do.
	wandering fill = "wandering"
)

// wanderPermille is the standard deviation around the line. Two such values are 2/sqrt(pi) of it apart on
// average: 28 permille, as BenchmarkTraceRows finds for rows that are 10 s apart.
const wanderPermille = 25

// machine is the CPU use of one machine in permille of its capacity, one value a second.
type machine []int64

type row struct{ second, permille int64 }

// machines are the trace's machines, second by second.
func machines(tb testing.TB, f fill) []machine {
	tb.Helper()
	rows := readRows(tb)
	var all []machine
	for i, name := range slices.Sorted(maps.Keys(rows)) {
		m := seconds(rows[name], f)
		if f == wandering {
			wander(m, rand.New(rand.NewPCG(1, uint64(i))))
		}
		all = append(all, m)
	}
	return all
}

// wander adds the deviations to a machine that is on its line.
func wander(m machine, random *rand.Rand) {
	var deviation int64
	for s := range m {
		if s%10 == 0 {
			deviation = int64(math.Round(random.NormFloat64() * wanderPermille))
		}
		m[s] = min(max(m[s]+deviation, 0), 1000)
	}
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
			if f != holding {
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

// BenchmarkLeastErrorOnLines tells how small the readers' error can be made on straight lines. Use that grows by k a
// second and is told of every T seconds is k T / 2 off on average. With as many writes as a report that comes at the
// same interval everywhere, the sum of k T / 2 is least where T is in proportion to 1 / sqrt(k); it is then
// (E sqrt k)^2 / E k of that report's, E being the mean over time. It takes knowing each slope beforehand.
func BenchmarkLeastErrorOnLines(b *testing.B) {
	rows := readRows(b)
	var slopes, roots, total float64
	for b.Loop() {
		slopes, roots, total = 0, 0, 0
		for _, of := range rows {
			for i := range len(of) - 1 {
				length := float64(of[i+1].second - of[i].second)
				slope := math.Abs(float64(of[i+1].permille-of[i].permille)) / length
				slopes, roots, total = slopes+slope*length, roots+math.Sqrt(slope)*length, total+length
			}
		}
	}
	b.ReportMetric(roots/total*roots/total/(slopes/total), "least-error-ratio")
}
