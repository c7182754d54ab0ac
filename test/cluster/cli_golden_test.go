package cluster

import (
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/plimsoll/plimsoll/pkg/api/v1alpha1"
	"github.com/plimsoll/plimsoll/test/golden"
)

// testCLIGoldens prints an object of known values from the real API server: every column, its place and its unit are
// then as they were, to the byte. Only times are the day's, and are made one.
func testCLIGoldens(t *testing.T, cp *controlPlane, c cli) {
	u := goodUtilization("one")
	u.Status.Lendable = &v1alpha1.Lendable{
		MilliCPU:    v1alpha1.LendableSum{SafeLine: 3200, System: 100, ForecastPeak: 900, Margin: 200, Computed: 2000, Published: 1800, Lent: 1500, LentUnused: 300},
		MemoryBytes: v1alpha1.LendableSum{SafeLine: 6 << 30, System: 1 << 30, ForecastPeak: 1 << 30, Margin: 1 << 29, Computed: 7 << 29, Published: 3 << 30, Lent: 1 << 30},
		Reason:      "raised slowly: the least of the last 600 s",
	}
	u.Status.Harm = &v1alpha1.HarmTotals{ThrottledMilliseconds: new(int64(1500)), BatchThrottledMilliseconds: new(int64(62_000)), Evictions: 3}
	cp.putUtilization(t, u)
	for name, args := range map[string][]string{
		"top": {"top"}, "top-wide": {"top", "-o", "wide"}, "top-csv": {"top", "-o", "csv"}, "explain-node": {"explain", "node", "one"},
	} {
		code, out, problems := c.run(t, args...)
		if code != 0 || problems != "" {
			t.Errorf("plimsoll %v: %d, %s", args, code, problems)
		}
		golden.Check(t, filepath.Join("testdata", "cli", name+".golden"), withoutTimes(out))
	}
}

// withoutTimes makes ages 0 s and times of day midnight, in as many characters.
func withoutTimes(out string) string {
	out = regexp.MustCompile(`(?m)^(one +)(\d+s *)`).ReplaceAllStringFunc(out, func(s string) string {
		m := regexp.MustCompile(`^(one +)(.*)$`).FindStringSubmatch(s)
		return m[1] + fmt.Sprintf("%-*s", len(m[2]), "0s")
	})
	out = regexp.MustCompile(`(?m)^one,\d+\.\d{3},`).ReplaceAllString(out, "one,0.000,")
	out = regexp.MustCompile(`measured \d+s ago`).ReplaceAllString(out, "measured 0s ago")
	return regexp.MustCompile(`(?m)^\d\d:\d\d:\d\d`).ReplaceAllString(out, "00:00:00")
}

// checkTable holds a table of what a real node does, whose values are another each time, to its heading: each cell
// begins where the heading of its column does, or is empty. Numbers, names and reasons are for the other checks.
func checkTable(t *testing.T, out, heading string) {
	t.Helper()
	lines := strings.Split(out, "\n")
	for i, line := range lines {
		if squeeze(line) != heading {
			continue
		}
		rows := 0
		for _, row := range lines[i+1:] {
			if strings.TrimSpace(row) == "" || strings.HasPrefix(row, "why: ") { // a sentence follows the table of lending
				break
			}
			rows++
			for _, column := range regexp.MustCompile(`(?:^|  )\S`).FindAllStringIndex(line, -1) {
				if at := column[1] - 1; at > 0 && at < len(row) && (row[at-2:at] != "  ") {
					t.Errorf("a cell of %q runs into the column %q:\n%s\n%s", heading, strings.Fields(line[at:])[0], line, row)
				}
			}
			if row[0] == ' ' {
				t.Errorf("a row of %q has no name:\n%s", heading, row)
			}
		}
		if rows == 0 {
			t.Errorf("the table %q has no row", heading)
		}
		return
	}
	t.Errorf("there is no table %q in\n%s", heading, out)
}

// squeeze is a heading with two spaces between its columns.
func squeeze(line string) string { return regexp.MustCompile(` {2,}`).ReplaceAllString(line, "  ") }

func TestATableThatIsOutOfLineIsFound(t *testing.T) {
	if got := withoutTimes("one  12s  9\none,12.345,x\n"); got != "one  0s   9\none,0.000,x\n" {
		t.Errorf("without times: %q", got)
	}
	checkTable(t, "NODE  USED\nn1    1\nn22   333\n", "NODE  USED")
	for _, broken := range []string{"NODE  USED\nlonger than it 1\n", "NODE  USED\n\n", "USED  NODE\nn1    1\n"} {
		probe := &testing.T{}
		checkTable(probe, broken, "NODE  USED")
		if !probe.Failed() {
			t.Errorf("nothing is found in\n%s", broken)
		}
	}
}
