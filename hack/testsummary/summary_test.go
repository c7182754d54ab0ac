package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSummaryCountsTestsAndCollectsTheReasonsOfSkips(t *testing.T) {
	tests := map[string]struct {
		notes  []string
		events string
		want   string
	}{
		"nothing ran": {
			want: "tests: 0 passed, 0 failed, 0 skipped\n",
		},
		"subtests count, and a package's own result does not": {
			events: `{"Action":"start","Package":"p"}
				{"Action":"run","Package":"p","Test":"TestA"}
				{"Action":"pass","Package":"p","Test":"TestA/one"}
				{"Action":"fail","Package":"p","Test":"TestA/two"}
				{"Action":"fail","Package":"p","Test":"TestA"}
				{"Action":"fail","Package":"p"}
				{"Action":"pass","Package":"q","Test":"TestB"}
				{"Action":"pass","Package":"q"}`,
			want: "tests: 2 passed, 2 failed, 0 skipped\n",
		},
		"a package that does not compile is one failure": {
			events: `{"ImportPath":"p","Action":"build-output","Output":"p.go:1: broken\n"}
				{"ImportPath":"p","Action":"build-fail"}
				{"Action":"fail","Package":"p","FailedBuild":"p"}`,
			want: "tests: 0 passed, 1 failed, 0 skipped\n",
		},
		"a package without tests leaves nothing uncovered": {
			events: `{"Action":"output","Package":"p","Output":"?   \tp\t[no test files]\n"}
				{"Action":"skip","Package":"p"}`,
			want: "tests: 0 passed, 0 failed, 0 skipped\n",
		},
		"skips with one reason stand together, below what the stages noted": {
			notes: []string{"cgroup v2: this host runs v1", ""},
			events: `{"Action":"output","Package":"p","Test":"TestA","Output":"    a_test.go:7: looking for root\n"}
				{"Action":"output","Package":"p","Test":"TestA","Output":"    a_test.go:9: needs root: run with sudo\n"}
				{"Action":"output","Package":"p","Test":"TestA","Output":"--- SKIP: TestA (0.00s)\n"}
				{"Action":"skip","Package":"p","Test":"TestA"}
				{"Action":"output","Package":"p","Test":"TestB","Output":"    a_test.go:9: needs root: run with sudo\n"}
				{"Action":"skip","Package":"p","Test":"TestB"}
				{"Action":"skip","Package":"p","Test":"TestC"}`,
			want: `Not covered in this run:
  - cgroup v2: this host runs v1
  - needs root: run with sudo
      stage: TestA
      stage: TestB
  - no reason given
      stage: TestC

tests: 0 passed, 0 failed, 3 skipped
`,
		},
		"a long list of skips is cut": {
			events: strings.Repeat(`{"Action":"output","Package":"p","Test":"TestA","Output":"    a.go:1: why\n"}
				{"Action":"skip","Package":"p","Test":"TestA"}`, 9),
			want: `Not covered in this run:
  - why
      stage: TestA
      stage: TestA
      stage: TestA
      and 6 tests more

tests: 0 passed, 0 failed, 9 skipped
`,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var s summary
			for _, n := range test.notes {
				s.note(n)
			}
			if err := s.add("stage", strings.NewReader(test.events)); err != nil {
				t.Fatal(err)
			}
			var got strings.Builder
			s.print(&got)
			if diff := cmp.Diff(test.want, got.String()); diff != "" {
				t.Errorf("summary (-want +got):\n%s", diff)
			}
		})
	}
}

func TestEventsThatAreNotJSONAreAnError(t *testing.T) {
	var s summary
	if err := s.add("unit", strings.NewReader("FAIL\n")); err == nil {
		t.Error("no error for a line that is not JSON")
	}
}
