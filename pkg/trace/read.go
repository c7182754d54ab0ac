package trace

import (
	"bufio"
	"compress/gzip"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// Read reads a trace, a file or a folder of files of one format, and hands on its rows as they come. Files ending in .gz
// are unpacked. Only a Report without an error is of a trace to rely on.
func Read(path string, o Options, row func(Row)) (Report, error) {
	files, err := listFiles(path)
	if err != nil {
		return Report{}, fmt.Errorf("reading trace %s: %w", path, err)
	}
	f, chosen, ignored, err := chooseFormat(files)
	if err != nil {
		return Report{}, fmt.Errorf("reading trace %s: %w", path, err)
	}
	if o.Resource == Memory && !f.memory {
		return Report{}, fmt.Errorf("reading trace %s: files of format %s hold no memory", path, f.name)
	}
	r := reading{resource: o.Resource, report: Report{Format: f.name}, row: row, order: order{}}
	for _, file := range ignored {
		r.report.Ignored = append(r.report.Ignored, filepath.Base(file))
	}
	for _, file := range chosen {
		r.report.Files = append(r.report.Files, filepath.Base(file))
		if err := r.file(f, file); err != nil {
			return r.report, fmt.Errorf("reading trace %s: %w", file, err)
		}
	}
	return r.report, r.report.check(path, o.MaxSkippedShare)
}

// listFiles gives the file itself, or a folder's CSV files in the order of their names.
func listFiles(path string) ([]string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return []string{path}, nil
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil, err
	}
	var files []string
	for _, e := range entries {
		if name := e.Name(); strings.HasSuffix(name, ".csv") || strings.HasSuffix(name, ".csv.gz") {
			files = append(files, filepath.Join(path, name))
		}
	}
	return files, nil
}

// chooseFormat finds the first format, in the order of the table, that any of the files has.
func chooseFormat(files []string) (f format, chosen, ignored []string, err error) {
	first := map[string][]string{}
	for _, file := range files {
		record, err := firstRecord(file)
		if err != nil && !errors.Is(err, io.EOF) {
			return format{}, nil, nil, fmt.Errorf("%s: %w", filepath.Base(file), err)
		}
		first[file] = record
	}
	for _, f := range formats() {
		for _, file := range files {
			if f.matches(filepath.Base(file), first[file]) {
				chosen = append(chosen, file)
			} else {
				ignored = append(ignored, file)
			}
		}
		if len(chosen) > 0 {
			return f, chosen, ignored, nil
		}
		ignored = nil
	}
	return format{}, nil, nil, fmt.Errorf("no file in a known format: %s", strings.Join(formatNames(), ", "))
}

func firstRecord(file string) (record []string, err error) {
	err = withCSV(file, func(c *csv.Reader) error {
		record, err = c.Read()
		return err
	})
	return record, err
}

// withCSV opens a file, unpacked where its name says that it is packed.
func withCSV(file string, read func(*csv.Reader) error) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // it was only read
	var r io.Reader = bufio.NewReaderSize(f, 1<<16)
	if strings.HasSuffix(file, ".gz") {
		if r, err = gzip.NewReader(r); err != nil {
			return fmt.Errorf("unpacking: %w", err)
		}
	}
	c := csv.NewReader(r)
	c.FieldsPerRecord, c.ReuseRecord = -1, true
	return read(c)
}

// reading is the state of one Read.
type reading struct {
	resource Resource
	report   Report
	row      func(Row)
	order    order
}

func (r *reading) file(f format, file string) error {
	parse, err := f.open(file, r.resource)
	if err != nil {
		return err
	}
	name := filepath.Base(file)
	return withCSV(file, func(c *csv.Reader) error {
		if f.separator != 0 {
			c.Comma = f.separator
		}
		for first := true; ; first = false {
			record, err := c.Read()
			var broken *csv.ParseError
			switch {
			case errors.Is(err, io.EOF):
				return nil
			case errors.As(err, &broken):
				r.report.Readings++
				r.report.skip(Problem{name, broken.Line, broken.Err.Error()}, 1)
				continue
			case err != nil:
				return err
			}
			line, _ := c.FieldPos(0)
			if first && f.header {
				if err := parse.header(record); err != nil {
					return fmt.Errorf("line %d: %w", line, err)
				}
				continue
			}
			r.record(parse, record, name, line)
		}
	})
}

// record takes one line: its rows, each checked, or the reason why it has none.
func (r *reading) record(p parser, record []string, file string, line int) {
	err := p.rows(record, func(row Row, err error) {
		r.report.Readings++
		if err == nil {
			err = checkRow(row)
		}
		if err == nil {
			err = r.order.check(row)
		}
		if err != nil {
			r.report.skip(Problem{file, line, err.Error()}, 1)
			return
		}
		r.row(row)
	})
	if err != nil {
		n := p.readingsPerLine()
		r.report.Readings += n
		r.report.skip(Problem{file, line, err.Error()}, n)
	}
}
