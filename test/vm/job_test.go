package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestArgumentsThatNameFilesOfTheHostAreLedElsewhere(t *testing.T) {
	got, cover := newJob("/src/test/kernel",
		[]string{
			"-test.testlogfile=/tmp/go-build/b001/testlog.txt", "-test.paniconexit0", "-test.timeout=10m0s", "-test.v=test2json",
			"-test.coverprofile=/tmp/go-build/b001/_cover_.out", "-test.gocoverdir=/tmp/go-build/b001/gocoverdir",
			"-test.run=^TestA$", "-own=-test.testlogfile=x",
		},
		[]string{"PATH=/bin", "PLIMSOLL_TEST_PROCESS=1", "GODEBUG=gctrace=1", "GOFLAGS=-mod=mod", "HOME=/"},
	)
	want := job{
		Dir: "/src/test/kernel",
		Args: []string{
			"-test.paniconexit0", "-test.timeout=10m0s", "-test.v=test2json",
			"-test.coverprofile=/cover.out", "-test.gocoverdir=/cover",
			"-test.run=^TestA$", "-own=-test.testlogfile=x",
		},
		Env: []string{"PLIMSOLL_TEST_PROCESS=1", "GODEBUG=gctrace=1"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("job (-want +got):\n%s", diff)
	}
	if cover != "/tmp/go-build/b001/_cover_.out" {
		t.Errorf("the profile goes to %q", cover)
	}
}

func TestResult(t *testing.T) {
	f := func(text string, wantCode int, wantOK bool) {
		t.Helper()
		code, ok := parseResult(text)
		if ok != wantOK || ok && code != wantCode {
			t.Errorf("parseResult(%q) = %d, %v, want %d, %v", text, code, ok, wantCode, wantOK)
		}
	}
	f("exit=0\n", 0, true)
	f("exit=137\n", 137, true)
	f("", 0, false)
	f("exit=", 0, false)
	f("exit=1 and more", 0, false)
	f("0\n", 0, false)
}
