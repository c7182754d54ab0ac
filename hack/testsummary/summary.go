package main

import (
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"strings"
)

// event is a line that `go test -json` prints. See `go doc test2json`.
type event struct {
	Action, Package, Test, Output string
}

// summary is what a run of several stages came to.
type summary struct {
	passed, failed, skipped int
	// uncovered is in the order in which the reasons came up first.
	uncovered []uncovered
}

type uncovered struct {
	reason string
	// tests were skipped for this reason, each as "stage: TestName".
	tests []string
}

// note adds a reason that no test gave.
func (s *summary) note(reason string) {
	if reason != "" {
		s.skip(reason, "")
	}
}

func (s *summary) skip(reason, test string) {
	at := -1
	for i, u := range s.uncovered {
		if u.reason == reason {
			at = i
		}
	}
	if at < 0 {
		at = len(s.uncovered)
		s.uncovered = append(s.uncovered, uncovered{reason: reason})
	}
	if test != "" {
		s.uncovered[at].tests = append(s.uncovered[at].tests, test)
	}
}

// add counts the tests of one stage.
func (s *summary) add(stage string, events io.Reader) error {
	type test struct{ pkg, name string }
	said := map[test]*strings.Builder{}
	failedIn := map[string]int{}
	for dec := json.NewDecoder(events); ; {
		var e event
		if err := dec.Decode(&e); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		key := test{e.Package, e.Test}
		switch e.Action {
		case "output":
			if said[key] == nil {
				said[key] = &strings.Builder{}
			}
			said[key].WriteString(e.Output)
			continue
		case "pass":
			if e.Test != "" {
				s.passed++
			}
		case "fail":
			if e.Test != "" || failedIn[e.Package] == 0 {
				s.failed++
			}
			failedIn[e.Package]++
		case "skip":
			// A package without tests is skipped too, and leaves nothing uncovered.
			if e.Test != "" {
				s.skipped++
				s.skip(skipReason(said[key]), stage+": "+e.Test)
			}
		default:
			continue
		}
		delete(said, key)
	}
}

var skipLine = regexp.MustCompile(`(?m)^\s+\S+\.go:\d+: (.*)$`)

// skipReason is the last thing that a skipped test logged: t.Skip logs its arguments.
func skipReason(output *strings.Builder) string {
	if output == nil {
		return "no reason given"
	}
	lines := skipLine.FindAllStringSubmatch(output.String(), -1)
	if len(lines) == 0 {
		return "no reason given"
	}
	return lines[len(lines)-1][1]
}

// print writes what was not covered, and the closing line on a line of its own.
func (s *summary) print(w io.Writer) {
	const shown = 3
	if len(s.uncovered) > 0 {
		fmt.Fprintln(w, "Not covered in this run:")
	}
	for _, u := range s.uncovered {
		fmt.Fprintf(w, "  - %s\n", u.reason)
		for i, t := range u.tests {
			if i == shown && len(u.tests) > shown+1 {
				fmt.Fprintf(w, "      and %d tests more\n", len(u.tests)-shown)
				break
			}
			fmt.Fprintf(w, "      %s\n", t)
		}
	}
	if len(s.uncovered) > 0 {
		fmt.Fprintln(w)
	}
	fmt.Fprintf(w, "tests: %d passed, %d failed, %d skipped\n", s.passed, s.failed, s.skipped)
}
