package trace

import (
	"fmt"
	"strings"
)

// general: entity, unix_seconds, cpu_percent and, if wanted, capacity_cores. A reading is a sample at an instant.
type general struct {
	perLine
	cores bool
}

func containsFold(s, part string) bool { return strings.Contains(strings.ToLower(s), part) }

func (g *general) header(record []string) error {
	switch {
	case len(record) == 3:
	case len(record) == 4 && record[3] == "capacity_cores":
		g.cores = true
	default:
		return fmt.Errorf("header %q, must be entity,unix_seconds,cpu_percent and optionally capacity_cores", strings.Join(record, ","))
	}
	return nil
}

func (g *general) rows(record []string, reading func(Row, error)) error {
	want := 3
	if g.cores {
		want = 4
	}
	if err := columns(record, want); err != nil {
		return err
	}
	at, err := unixSeconds("unix_seconds", record[1])
	if err != nil {
		return err
	}
	row := Row{Entity: record[0], Start: at, Cores: 1}
	if g.cores {
		if row.Cores, err = number("capacity_cores", record[3]); err != nil {
			return err
		}
	}
	row.Share, err = percent("cpu_percent", record[2])
	reading(row, err)
	return nil
}
