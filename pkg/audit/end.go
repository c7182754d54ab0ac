package audit

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
)

// end is where a log ends.
type end struct {
	// path is the newest file with something in it; empty where there is none.
	path string
	// unended is true where the last line has no newline.
	unended bool
	// next is what the next record is chained to.
	next Anchor
}

// findEnd finds out where the log ends, and what is wrong with that. The next record is chained to what
// was last written: where the head file knows of more than there is, to that, so that the gap shows for ever.
func findEnd(dir string) (end, []string, error) {
	files, err := listFiles(dir)
	if err != nil {
		return end{}, nil, err
	}
	e := end{next: Anchor{Hash: noHash}}
	var findings []string
	for i := len(files) - 1; i >= 0 && e.path == ""; i-- {
		data, err := os.ReadFile(files[i].path)
		if err != nil {
			return end{}, nil, err
		}
		if len(data) == 0 {
			continue
		}
		var finding string
		e.path, e.unended = files[i].path, data[len(data)-1] != '\n'
		if e.next, finding = lastAnchor(data, files[i].first); finding != "" {
			findings = append(findings, filepath.Base(e.path)+": "+finding)
		}
	}
	head, ok, err := readHead(dir)
	switch {
	case err != nil:
		findings = append(findings, err.Error())
	case !ok && e.next.Sequence > 0 && (!e.unended || e.next.Sequence > 1): // the head follows the first whole line
		findings = append(findings, headName+" was missing: whether records are missing before this one is not known")
	case ok && e.next.Sequence < head.Sequence:
		findings = append(findings, fmt.Sprintf("the log ended with record %d, and record %d had been written", e.next.Sequence, head.Sequence))
		e.next = head
	case ok && e.next.Sequence == head.Sequence && e.next.Hash != head.Hash && !e.unended:
		findings = append(findings, fmt.Sprintf("record %d, the last, was not as it had been written", head.Sequence))
		e.next = head
	}
	return e, findings, nil
}

// lastAnchor is what the line after data is chained to, and what is wrong with the last line of data. A
// line that is no record takes a number all the same; first is the number of the first.
func lastAnchor(data []byte, first uint64) (a Anchor, finding string) {
	ended := data[len(data)-1] == '\n'
	lines := bytes.Split(bytes.TrimSuffix(data, []byte("\n")), []byte("\n"))
	last := lines[len(lines)-1]
	a.Hash = hashOf(last)
	if r, err := decode(last); err == nil {
		a.Sequence = r.Sequence
		if !ended {
			finding = "the last line had no newline"
		}
		return a, finding
	}
	a.Sequence = first - 1 + uint64(len(lines)) // where no line is a record
	for i := len(lines) - 2; i >= 0; i-- {
		if before, err := decode(lines[i]); err == nil {
			a.Sequence = before.Sequence + uint64(len(lines)-1-i)
			break
		}
	}
	return a, fmt.Sprintf("the last line was torn (%d bytes)", len(last))
}
