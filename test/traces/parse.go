package traces

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// The last two columns of each table.
const (
	columnPlan    = "plan"
	columnBecause = "because"
)

// trace is a parsed file.
type trace struct {
	// prose is the lines before the table, as they are.
	prose    []string
	args     string
	nodeCPU  int64
	columns  []string
	rows     [][]string
	firstRow int // line number of the first row
}

func parse(text string) (trace, error) {
	var tr trace
	for i, line := range strings.Split(strings.TrimRight(text, "\n"), "\n") {
		isTable := strings.Contains(line, "|") && !strings.HasPrefix(line, "#")
		switch {
		case isTable && tr.columns == nil:
			tr.columns = cells(line)
		case isTable:
			if tr.firstRow == 0 {
				tr.firstRow = i + 1
			}
			row := cells(line)
			if len(row) != len(tr.columns) {
				return trace{}, fmt.Errorf("line %d has %d cells, want %d", i+1, len(row), len(tr.columns))
			}
			tr.rows = append(tr.rows, row)
		case tr.columns != nil:
			return trace{}, fmt.Errorf("line %d: %q is no row", i+1, line)
		default:
			if err := tr.head(line); err != nil {
				return trace{}, fmt.Errorf("line %d: %w", i+1, err)
			}
		}
	}
	n := len(tr.columns)
	if n < 3 || tr.columns[n-2] != columnPlan || tr.columns[n-1] != columnBecause {
		return trace{}, fmt.Errorf("the last two columns must be %q and %q", columnPlan, columnBecause)
	}
	if len(tr.rows) == 0 || tr.nodeCPU == 0 || len(tr.prose) == 0 || !strings.HasPrefix(tr.prose[0], "# ") {
		return trace{}, errors.New(`needs a first line "# what it shows", "node: N mCPU" and rows`)
	}
	return tr, nil
}

func (tr *trace) head(line string) error {
	key, value, _ := strings.Cut(line, ": ")
	switch {
	case line == "" || strings.HasPrefix(line, "#"):
	case key == "args":
		tr.args = value
	case key == "node":
		digits, ok := strings.CutSuffix(value, " mCPU")
		n, err := strconv.ParseInt(digits, 10, 64)
		if !ok || err != nil || n < 1 {
			return fmt.Errorf("node: %q: want N mCPU", value)
		}
		tr.nodeCPU = n
	default:
		return fmt.Errorf("%q: want a line that begins with #, args:, node:, or a table", line)
	}
	tr.prose = append(tr.prose, line)
	return nil
}

func cells(line string) []string {
	parts := strings.Split(line, "|")
	for i := range parts {
		parts[i] = strings.TrimSpace(parts[i])
	}
	return parts
}

// format writes the trace with its columns under each other.
func (tr trace) format() string {
	width := make([]int, len(tr.columns))
	for _, row := range append([][]string{tr.columns}, tr.rows...) {
		for i, c := range row {
			width[i] = max(width[i], utf8.RuneCountInString(c))
		}
	}
	var b strings.Builder
	for _, line := range tr.prose {
		b.WriteString(line + "\n")
	}
	for _, row := range append([][]string{tr.columns}, tr.rows...) {
		var line strings.Builder
		for i, c := range row {
			if i > 0 {
				line.WriteString(" | ")
			}
			line.WriteString(c + strings.Repeat(" ", width[i]-utf8.RuneCountInString(c)))
		}
		b.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
	return b.String()
}
