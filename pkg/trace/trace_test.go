package trace

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// folder writes files, packed where the name says so.
func folder(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		data := []byte(content)
		if strings.HasSuffix(name, ".gz") {
			var b bytes.Buffer
			z := gzip.NewWriter(&b)
			if _, err := z.Write(data); err != nil {
				t.Fatal(err)
			}
			if err := z.Close(); err != nil {
				t.Fatal(err)
			}
			data = b.Bytes()
		}
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// day is a planetlab line: a name and 288 values.
func day(name string, value func(i int) string) string {
	var b strings.Builder
	b.WriteString(name)
	for i := range samplesPerDay {
		b.WriteString("," + value(i))
	}
	return b.String() + "\n"
}

func TestEveryFormatIsReadAsTheSameThing(t *testing.T) {
	at := func(seconds int64) time.Time { return time.Unix(seconds, 0).UTC() }
	tests := map[string]struct {
		files      map[string]string
		wantFormat string
		want       []Row
		ignored    []string
	}{
		"alibaba": {
			files: map[string]string{
				"usage.csv.gz": "m_1,600,50,90,,,1,2,3\nm_1,610,25,90,,,1,2,3\n",
				"meta.csv":     "m_1,0,219,17,96,100,USING\n",
			},
			wantFormat: "alibaba-2018",
			want: []Row{
				{Entity: "m_1", Start: at(600), Share: 0.5, Cores: 1},
				{Entity: "m_1", Start: at(610), Share: 0.25, Cores: 1},
			},
			ignored: []string{"meta.csv"},
		},
		"azure, of the two kinds the average": {
			files: map[string]string{
				"microsoft_avg.csv": "sample,vm_7,vm_8\n2,10,20\n",
				"microsoft_max.csv": "sample,vm_7,vm_8\n2,90,90\n",
			},
			wantFormat: "azure-2017-avg",
			want: []Row{
				{Entity: "vm_7", Start: at(600), Span: interval, Share: 0.1, Cores: 1},
				{Entity: "vm_8", Start: at(600), Span: interval, Share: 0.2, Cores: 1},
			},
			ignored: []string{"microsoft_max.csv"},
		},
		"bitbrains: the reading is of the time before; turbo is the whole capacity": {
			files: map[string]string{
				"cpu.csv": "vm_id,unix_seconds,duration_seconds,cpu_count,cpu_usage_mhz\n9,1200,600,2,1300\n9,1500,300,2,5500\n",
				"vms.csv": "id,start_time,stop_time,cpu_count,cpu_capacity,mem_capacity\n9,0,0,2,5200,1\n",
			},
			wantFormat: "bitbrains",
			want: []Row{
				{Entity: "9", Start: at(600), Span: 600 * time.Second, Share: 0.25, Cores: 2},
				{Entity: "9", Start: at(1200), Span: interval, Share: 1, Cores: 2},
			},
			ignored: []string{"vms.csv"},
		},
		"google": {
			files:      map[string]string{"jobs.csv": "job_id,day,sample,cpu_percent,mem_percent\n5,1,2,6.5,1\n"},
			wantFormat: "google-2011-jobs",
			want:       []Row{{Entity: "5", Start: at(86400 + 600), Span: interval, Share: 0.065, Cores: 1}},
		},
		"nab, the CPU files only": {
			files: map[string]string{
				"ec2_cpu.csv":     "timestamp,value\n2014-02-14 14:27:00,50\n",
				"elb_request.csv": "timestamp,value\n2014-02-14 14:27:00,5000\n",
			},
			wantFormat: "nab-cpu",
			want:       []Row{{Entity: "ec2_cpu", Start: time.Date(2014, 2, 14, 14, 27, 0, 0, time.UTC), Span: interval, Share: 0.5, Cores: 1}},
			ignored:    []string{"elb_request.csv"},
		},
		"GWA-T-12 as published": {
			files:      map[string]string{"17.csv": "Timestamp [ms];\tCPU cores;\tCPU capacity provisioned [MHZ];...\n600;\t4;\t10000;\t2500;\t25;\t1;\t1;\t0;\t0;\t0;\t0\n"},
			wantFormat: "gwa-t-12",
			want:       []Row{{Entity: "17", Start: at(300), Span: interval, Share: 0.25, Cores: 4}},
		},
		"the general form": {
			files:      map[string]string{"any.csv": "entity,unix_seconds,cpu_percent,capacity_cores\nn,60,40,8\n"},
			wantFormat: "general",
			want:       []Row{{Entity: "n", Start: at(60), Share: 0.4, Cores: 8}},
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			var got []Row
			report, err := Read(folder(t, tc.files), Options{MaxSkippedShare: 0}, func(r Row) { got = append(got, r) })
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, got, cmpopts.IgnoreUnexported(Row{})); diff != "" {
				t.Errorf("rows (-want +got):\n%s", diff)
			}
			if report.Format != tc.wantFormat || int(report.Readings) != len(tc.want) {
				t.Errorf("report: %+v", report)
			}
			if diff := cmp.Diff(tc.ignored, report.Ignored); diff != "" {
				t.Errorf("ignored (-want +got):\n%s", diff)
			}
		})
	}
}

func TestWhatIsNotAUseIsSkippedAndNamed(t *testing.T) {
	good := "m_1,%d,50,90,,,1,2,3\n"
	tests := map[string]struct {
		line, want string
	}{
		"the trace's own mark for invalid": {"m_1,1000,-1,90,,,1,2,3\n", "u.csv:2: cpu -1, must be 0 to 100"},
		"above the range":                  {"m_1,1000,101,90,,,1,2,3\n", "u.csv:2: cpu 101, must be 0 to 100"},
		"NaN":                              {"m_1,1000,NaN,90,,,1,2,3\n", `u.csv:2: cpu "NaN", must be a finite number`},
		"infinity":                         {"m_1,1000,+Inf,90,,,1,2,3\n", `u.csv:2: cpu "+Inf", must be a finite number`},
		"empty":                            {"m_1,1000,,90,,,1,2,3\n", `u.csv:2: cpu "", must be a finite number`},
		"too few columns":                  {"m_1,1000,50\n", "u.csv:2: 3 columns, must be 9"},
		"a broken time":                    {"m_1,soon,50,90,,,1,2,3\n", `u.csv:2: time "soon", must be a whole number from 0 to 1099511627776`},
		"the far future":                   {"m_1,99999999999,50,90,,,1,2,3\n", "u.csv:2: time 99999999999 s, must be -86400 to 4102444800"},
		"twice the same":                   {"m_1,600,50,90,,,1,2,3\n", "u.csv:2: m_1 at 600 s repeats or is before the row at 600 s"},
		"out of order":                     {"m_1,599,50,90,,,1,2,3\n", "u.csv:2: m_1 at 599 s repeats or is before the row at 600 s"},
		"a bare quote":                     {"m_1,10\"00,50,90,,,1,2,3\n", `u.csv:2: bare " in non-quoted-field`},
		"no name":                          {",1000,50,90,,,1,2,3\n", "u.csv:2: the name is empty"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			dir := folder(t, map[string]string{"u.csv": fmt.Sprintf(good, 600) + tc.line + fmt.Sprintf(good, 2000)})
			rows := 0
			report, err := Read(dir, Options{MaxSkippedShare: 0.5}, func(Row) { rows++ })
			if err != nil {
				t.Fatal(err)
			}
			if rows != 2 || report.Readings != 3 || report.Skipped != 1 || report.Problems[0].String() != tc.want {
				t.Errorf("%d rows, %+v; want 2, and %q", rows, report, tc.want)
			}
			_, err = Read(dir, Options{MaxSkippedShare: 0.3}, func(Row) {})
			if !errors.Is(err, ErrTooManySkipped) || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("a third skipped of three tenths allowed: %v", err)
			}
		})
	}
}

func TestALineOfManyReadingsIsSkippedAsMany(t *testing.T) {
	dir := folder(t, map[string]string{"20110303.csv": day("a", func(i int) string { return fmt.Sprint(i % 100) }) + "b,1,2\n"})
	report, err := Read(dir, Options{MaxSkippedShare: 0.5}, func(Row) {})
	if err != nil || report.Readings != 2*samplesPerDay || report.Skipped != samplesPerDay {
		t.Errorf("%+v, %v", report, err)
	}
}

func TestWhatCannotBeReadIsAnError(t *testing.T) {
	tests := map[string]map[string]string{
		"no file":               {},
		"an unknown format":     {"a.csv": "x,y\n1,2\n"},
		"a header and no more":  {"a.csv": "entity,unix_seconds,cpu_percent\n"},
		"a header with a twist": {"a.csv": "entity,unix_seconds,cpu_percent,color\nn,1,2,red\n"},
		"no capacities":         {"a.csv": "vm_id,unix_seconds,duration_seconds,cpu_count,cpu_usage_mhz\n"},
		"a day that is none":    {"march.csv": day("a", func(int) string { return "1" })},
		"two of one name":       {"a.csv": "sample,vm_7,vm_7\n1,2,3\n"},
	}
	for name, files := range tests {
		if _, err := Read(folder(t, files), Options{MaxSkippedShare: 1}, func(Row) {}); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	dir := folder(t, nil)
	if err := os.WriteFile(filepath.Join(dir, "a.csv.gz"), []byte("not packed"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Read(dir, Options{MaxSkippedShare: 1}, func(Row) {}); err == nil {
		t.Error("a file that is not packed: no error")
	}
	if _, err := Read(filepath.Join(dir, "absent"), Options{MaxSkippedShare: 1}, func(Row) {}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a folder that is not there: %v", err)
	}
}

func TestSeriesHaveTheHighestReadingOfEachInterval(t *testing.T) {
	dir := folder(t, map[string]string{"u.csv": "entity,unix_seconds,cpu_percent\n" +
		"b,600,10\n" + "b,899,30\n" + "b,1500,20\n" + // 600 to 900, a gap of two, then 1500
		"a,0,5\n" + fmt.Sprintf("a,%d,7\n", 9*86400)}) // nine days later it is another
	set, err := Load(dir, Options{MaxSkippedShare: 0})
	if err != nil {
		t.Fatal(err)
	}
	want := []Series{
		{Entity: "a", Cores: 1, Start: time.Unix(0, 0).UTC(), Shares: []float32{0.05}},
		{Entity: "a", Cores: 1, Start: time.Unix(9*86400, 0).UTC(), Shares: []float32{0.07}},
		{Entity: "b", Cores: 1, Start: time.Unix(600, 0).UTC(), Shares: []float32{0.3, Absent, Absent, 0.2}},
	}
	if diff := cmp.Diff(want, set.Series); diff != "" {
		t.Errorf("series (-want +got):\n%s", diff)
	}
}

func TestTheDaysOfAJobMayComeInAnyOrder(t *testing.T) {
	dir := folder(t, map[string]string{"jobs.csv": "job_id,day,sample,cpu_percent,mem_percent\n" +
		"5,2,0,6,1\n" + "5,2,1,7,1\n" + "5,1,287,5,1\n" + "5,2,1,9,1\n"})
	set, err := Load(dir, Options{MaxSkippedShare: 0.25})
	if err != nil {
		t.Fatal(err)
	}
	want := []Series{{Entity: "5", Cores: 1, Start: time.Unix(86400+287*300, 0).UTC(), Shares: []float32{0.05, 0.06, 0.07}}}
	if diff := cmp.Diff(want, set.Series); diff != "" || set.Report.Skipped != 1 {
		t.Errorf("%d skipped, want the repeated one; series (-want +got):\n%s", set.Report.Skipped, diff)
	}
}

func TestMemoryIsReadWhereThereIsMemory(t *testing.T) {
	tests := map[string]struct {
		files map[string]string
		want  float64
	}{
		"alibaba": {map[string]string{"a.csv": "m_1,600,50,90,,,1,2,3\n"}, 0.9},
		"google":  {map[string]string{"a.csv": "job_id,day,sample,cpu_percent,mem_percent\n5,1,2,6.5,40\n"}, 0.4},
		"gwa":     {map[string]string{"a.csv": "Timestamp [ms];CPU cores\n600;4;10000;2500;25;2000;500;0;0;0;0\n"}, 0.25},
	}
	for name, tc := range tests {
		var got []float64
		_, err := Read(folder(t, tc.files), Options{Resource: Memory}, func(r Row) { got = append(got, r.Share) })
		if diff := cmp.Diff([]float64{tc.want}, got); err != nil || diff != "" {
			t.Errorf("%s: %v, shares (-want +got):\n%s", name, err, diff)
		}
	}
	dir := folder(t, map[string]string{"20110303.csv": day("a", func(int) string { return "1" })})
	if _, err := Read(dir, Options{Resource: Memory}, func(Row) {}); err == nil || !strings.Contains(err.Error(), "hold no memory") {
		t.Errorf("planetlab: %v", err)
	}
}

func TestASpanFillsTheIntervalsWhoseMiddleItCovers(t *testing.T) {
	at := time.Unix(600, 0).UTC()
	tests := map[string]struct {
		start, span time.Duration
		first, n    int // intervals from `at` on
	}{
		"one interval":         {0, interval, 0, 1},
		"a little late":        {2 * time.Minute, interval, 0, 1},
		"late by most":         {3 * time.Minute, interval, 1, 1},
		"three intervals":      {0, 3 * interval, 0, 3},
		"less than its middle": {3 * time.Minute, time.Minute, 1, 0},
	}
	for name, tc := range tests {
		s := Series{Start: at, Cores: 1}
		s.add(Row{Start: at.Add(tc.start), Span: tc.span, Share: 0.5, Cores: 1})
		got, first := 0, -1
		for i, v := range s.Shares {
			if v >= 0 {
				got++
				if first < 0 {
					first = i
				}
			}
		}
		if got != tc.n || (tc.n > 0 && first != tc.first) {
			t.Errorf("%s: %d intervals from %d, want %d from %d", name, got, first, tc.n, tc.first)
		}
	}
}

// FuzzNothingButUsesGetsThrough: whatever a file holds, a row is a use at a time.
func FuzzNothingButUsesGetsThrough(f *testing.F) {
	f.Add("m_1,600,50,90,,,1,2,3\nm_1,1e400,NaN,90,,,1,2,3\n")
	f.Add("sample,vm_7\n1,Inf\n2,-0\n99999999999999999999,1\n")
	f.Add("entity,unix_seconds,cpu_percent,capacity_cores\nn,60,40,NaN\nn,61,40,1e300\n")
	f.Add("vm_id,unix_seconds,duration_seconds,cpu_count,cpu_usage_mhz\n9,1200,600,2,nan\n")
	f.Add("Timestamp [ms];\n600;4;0;NaN;25;1;1;0;0;0;0\n")
	f.Add(day("a", func(i int) string { return fmt.Sprint(i - 100) }))
	f.Fuzz(func(t *testing.T, content string) {
		dir := folder(t, map[string]string{"20110303.csv": content, "vms.csv": "id,s,e,cpu_count,cpu_capacity,m\n9,0,0,2,5200,1\n"})
		_, err := Read(dir, Options{MaxSkippedShare: 1}, func(r Row) {
			if math.IsNaN(r.Share) || r.Share < 0 || r.Share > 1 || math.IsNaN(r.Cores) || math.IsInf(r.Cores, 0) || r.Cores <= 0 || r.Start.Year() > 2100 {
				t.Errorf("row %+v", r)
			}
		})
		if err == nil {
			set, err := Load(dir, Options{MaxSkippedShare: 1})
			for _, s := range set.Series {
				for _, v := range s.Shares {
					if v != Absent && !(v >= 0 && v <= 1) {
						t.Errorf("share %v, %v", v, err)
					}
				}
			}
		}
	})
}

func TestTheRealTracesAreReadWithHardlyASkip(t *testing.T) {
	root := os.Getenv("PLIMSOLL_TRACES")
	if root == "" {
		root = "../../../shared/data"
	}
	if _, err := os.Stat(root); err != nil {
		t.Skipf("no traces: set PLIMSOLL_TRACES to the folder that holds alibaba-2018-machines and the others (%v)", err)
	}
	wantSeries := map[string]int{ // entities; planetlab: a node that comes back after more than eight days is another
		"alibaba-2018-machines": 8, "azure-2017-vms": 50, "bitbrains-2013-vms": 25,
	}
	for _, name := range []string{"alibaba-2018-machines", "azure-2017-vms", "bitbrains-2013-vms", "planetlab-2011-vms"} {
		set, err := Load(filepath.Join(root, name), Options{MaxSkippedShare: 0.005})
		if err != nil {
			t.Error(err)
			continue
		}
		t.Logf("%s: %d series, %d readings, %d skipped %v", name, len(set.Series), set.Report.Readings, set.Report.Skipped, set.Report.Problems)
		entities := map[string]bool{}
		for _, s := range set.Series {
			entities[s.Entity] = true
		}
		if want := wantSeries[name]; want != 0 && len(entities) != want {
			t.Errorf("%s: %d entities, want %d", name, len(entities), want)
		}
	}
}
