// Command testsummary closes a test run: from the events that `go test -json` wrote, one file a stage,
// it prints what was not covered and why, and one line with the number of tests that passed, failed
// and were skipped. Subtests count as tests. It does not run tests.
//
// The trap: a package that fails without a failing test (it does not compile, it exits, it panics
// outside a test) has no event of a test. It counts as one failed test.
package main

import (
	"bufio"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

func main() {
	notes := flag.String("uncovered", "", "`file` with more that was not covered, one reason a line")
	flag.Usage = func() {
		fmt.Fprintln(flag.CommandLine.Output(), "usage: testsummary [-uncovered FILE] EVENTS.json...")
		flag.PrintDefaults()
	}
	flag.Parse()
	if err := run(*notes, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "testsummary:", err)
		os.Exit(1)
	}
}

func run(notes string, files []string) error {
	var s summary
	if notes != "" {
		text, err := os.ReadFile(notes)
		if err != nil {
			return fmt.Errorf("reading what was not covered: %w", err)
		}
		for line := range strings.Lines(string(text)) {
			s.note(strings.TrimSpace(line))
		}
	}
	for _, name := range files {
		stage := strings.TrimSuffix(filepath.Base(name), ".json")
		f, err := os.Open(name)
		if err != nil {
			return fmt.Errorf("opening the events of stage %s: %w", stage, err)
		}
		err = s.add(stage, f)
		_ = f.Close() // read only
		if err != nil {
			return fmt.Errorf("reading the events of stage %s: %w", stage, err)
		}
	}
	out := bufio.NewWriter(os.Stdout)
	s.print(out)
	return out.Flush()
}
