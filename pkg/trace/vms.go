package trace

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"time"
)

// turbo is how far use may be above the nominal capacity and still count, as the whole capacity: a clock
// above the nominal one makes measured MHz exceed the provisioned ones.
const turbo = 1.2

// shareOf is use over capacity, both in MHz or in KB.
func shareOf(use, capacity float64) (float64, error) {
	if capacity <= 0 {
		return 0, fmt.Errorf("capacity %v, must be above 0", capacity)
	}
	if use < 0 || use > turbo*capacity {
		return 0, fmt.Errorf("use %v, must be 0 to %v: the capacity %v and a fifth for turbo", use, turbo*capacity, capacity)
	}
	return min(1, use/capacity), nil
}

// bitbrains: vm_id, unix_seconds, duration_seconds, cpu_count, cpu_usage_mhz. The reading covers the duration up to
// unix_seconds. The capacity is in vms.csv beside it.
type bitbrains struct {
	anyHeader
	perLine
	vms map[string]bitbrainsVM
}

type bitbrainsVM struct {
	cores, mhz float64
}

func openBitbrains(file string, _ Resource) (parser, error) {
	vms, err := readBitbrainsVMs(filepath.Join(filepath.Dir(file), "vms.csv"))
	return bitbrains{vms: vms}, err
}

// readBitbrainsVMs reads id, start_time, stop_time, cpu_count, cpu_capacity (MHz), mem_capacity.
func readBitbrainsVMs(file string) (map[string]bitbrainsVM, error) {
	vms := map[string]bitbrainsVM{}
	err := withCSV(file, func(c *csv.Reader) error {
		if _, err := c.Read(); err != nil {
			return fmt.Errorf("the header: %w", err)
		}
		for {
			record, err := c.Read()
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err != nil {
				return err
			}
			line, _ := c.FieldPos(0)
			if err := columns(record, 6); err != nil {
				return fmt.Errorf("line %d: %w", line, err)
			}
			cores, err := number("cpu_count", record[3])
			if err != nil {
				return fmt.Errorf("line %d: %w", line, err)
			}
			mhz, err := number("cpu_capacity", record[4])
			if err != nil {
				return fmt.Errorf("line %d: %w", line, err)
			}
			vms[record[0]] = bitbrainsVM{cores: cores, mhz: mhz}
		}
	})
	if err != nil {
		return nil, fmt.Errorf("the capacities, %s: %w", file, err)
	}
	return vms, nil
}

func (b bitbrains) rows(record []string, reading func(Row, error)) error {
	if err := columns(record, 5); err != nil {
		return err
	}
	vm, ok := b.vms[record[0]]
	if !ok {
		return fmt.Errorf("vm %q is not in vms.csv", record[0])
	}
	until, err := unixSeconds("unix_seconds", record[1])
	if err != nil {
		return err
	}
	seconds, err := whole("duration_seconds", record[2], 1, int64(longestSpan/time.Second))
	if err != nil {
		return err
	}
	span := time.Duration(seconds) * time.Second
	row := Row{Entity: record[0], Start: until.Add(-span), Span: span, Cores: vm.cores}
	mhz, err := number("cpu_usage_mhz", record[4])
	if err == nil {
		row.Share, err = shareOf(mhz, vm.mhz)
	}
	reading(row, err)
	return nil
}

// gwa is one virtual machine a file: Timestamp [ms] (which holds seconds), CPU cores, CPU capacity provisioned [MHZ],
// CPU usage [MHZ], CPU usage [%], memory provisioned [KB], memory usage [KB] and four more.
type gwa struct {
	entity string
	what   Resource
}

func matchesGWA(_ string, first []string) bool {
	return len(first) > 0 && len(first[0]) >= 14 && first[0][:14] == "Timestamp [ms]"
}

func (gwa) header([]string) error  { return nil }
func (gwa) readingsPerLine() int64 { return 1 }

func (g gwa) rows(record []string, reading func(Row, error)) error {
	if err := columns(record, 11); err != nil {
		return err
	}
	at, err := unixSeconds("Timestamp", record[0])
	if err != nil {
		return err
	}
	row := Row{Entity: g.entity, Start: at.Add(-interval), Span: interval}
	var capacity, use float64
	has, uses := 2, 3
	if g.what == Memory {
		has, uses = 5, 6
	}
	row.Cores, err = number("CPU cores", record[1])
	if err == nil {
		capacity, err = number("capacity", record[has])
	}
	if err == nil {
		use, err = number("usage", record[uses])
	}
	if err == nil {
		row.Share, err = shareOf(use, capacity)
	}
	reading(row, err)
	return nil
}

// nab: timestamp, value; one machine a file. Other measurements come in the same shape, so the name must say cpu.
type nab struct {
	entity string
}

func matchesNAB(file string, first []string) bool {
	return matchesHeader("timestamp", "value")(file, first) && containsFold(file, "cpu")
}

func (nab) header([]string) error  { return nil }
func (nab) readingsPerLine() int64 { return 1 }

func (n nab) rows(record []string, reading func(Row, error)) error {
	if err := columns(record, 2); err != nil {
		return err
	}
	at, err := time.Parse(time.DateTime, record[0])
	if err != nil {
		return fmt.Errorf("timestamp %q, must be like 2014-02-14 14:27:00", record[0])
	}
	share, err := percent("value", record[1])
	reading(Row{Entity: n.entity, Start: at, Span: interval, Share: share, Cores: 1}, err)
	return nil
}
