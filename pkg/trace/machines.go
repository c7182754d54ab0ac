package trace

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"
)

const interval = 5 * time.Minute

// baseName is a file's name without what says how it is packed.
func baseName(file string) string {
	name := strings.TrimSuffix(filepath.Base(file), ".gz")
	return strings.TrimSuffix(name, ".csv")
}

// alibaba: machine_id, time s, cpu %, mem % and five more; no header; a sample every 10 s to some minutes.
type alibaba struct {
	noHeader
	perLine
	what Resource
}

// percentOf reads the column of the resource.
func percentOf(what Resource, cpu, memory string) (float64, error) {
	if what == Memory {
		return percent("memory", memory)
	}
	return percent("cpu", cpu)
}

func matchesAlibaba(_ string, first []string) bool {
	return len(first) == 9 && strings.HasPrefix(first[0], "m_")
}

func (a alibaba) rows(record []string, reading func(Row, error)) error {
	if err := columns(record, 9); err != nil {
		return err
	}
	at, err := unixSeconds("time", record[1])
	if err != nil {
		return err
	}
	share, err := percentOf(a.what, record[2], record[3])
	reading(Row{Entity: record[0], Start: at, Share: share, Cores: 1}, err)
	return nil
}

// azure: sample number, then CPU % of one virtual machine a column.
type azure struct {
	names []string
}

func newAzure(string, Resource) parser { return &azure{} }

func matchesAzure(kind string) func(string, []string) bool {
	return func(file string, first []string) bool {
		return len(first) >= 2 && first[0] == "sample" && strings.HasPrefix(first[1], "vm_") && strings.Contains(file, kind)
	}
}

func (a *azure) header(record []string) error {
	a.names = append([]string{}, record[1:]...)
	seen := map[string]bool{}
	for _, n := range a.names {
		if seen[n] {
			return fmt.Errorf("header: two columns %s", n)
		}
		seen[n] = true
	}
	return nil
}

func (a *azure) readingsPerLine() int64 { return int64(len(a.names)) }

func (a *azure) rows(record []string, reading func(Row, error)) error {
	if err := columns(record, len(a.names)+1); err != nil {
		return err
	}
	sample, err := whole("sample", record[0], 0, mostSeconds/300)
	if err != nil {
		return err
	}
	at := time.Unix(sample*int64(interval/time.Second), 0).UTC()
	for i, name := range a.names {
		share, err := percent(name, record[i+1])
		reading(Row{Entity: name, Start: at, Span: interval, Share: share, Cores: 1}, err)
	}
	return nil
}

// planetlab: node name, then 288 CPU % values of one day; no header. The day is in the file's name.
type planetlab struct {
	noHeader
	day time.Time
}

const samplesPerDay = 288

func matchesPlanetlab(_ string, first []string) bool { return len(first) == samplesPerDay+1 }

func openPlanetlab(file string, _ Resource) (parser, error) {
	day, err := time.Parse("20060102", baseName(file))
	if err != nil {
		return nil, fmt.Errorf("the name %s is not a day: must be like 20110303.csv.gz", filepath.Base(file))
	}
	return planetlab{day: day}, nil
}

func (planetlab) readingsPerLine() int64 { return samplesPerDay }

func (p planetlab) rows(record []string, reading func(Row, error)) error {
	if err := columns(record, samplesPerDay+1); err != nil {
		return err
	}
	if record[0] == "" {
		return errors.New("the name is empty")
	}
	for i, v := range record[1:] {
		share, err := percent("cpu", v)
		at := p.day.Add(time.Duration(i) * interval)
		reading(Row{Entity: record[0], Start: at, Span: interval, Share: share, Cores: 1}, err)
	}
	return nil
}

// googleJobs: job_id, day, sample of the day, cpu %, mem %. The days of a job come in any order, the samples of a day in theirs.
type googleJobs struct {
	anyHeader
	perLine
	what Resource
}

func (g googleJobs) rows(record []string, reading func(Row, error)) error {
	if err := columns(record, 5); err != nil {
		return err
	}
	day, err := whole("day", record[1], 0, 100_000)
	if err != nil {
		return err
	}
	sample, err := whole("sample", record[2], 0, samplesPerDay-1)
	if err != nil {
		return err
	}
	at := time.Unix((day*samplesPerDay+sample)*int64(interval/time.Second), 0).UTC()
	share, err := percentOf(g.what, record[3], record[4])
	reading(Row{Entity: record[0], Start: at, Span: interval, Share: share, Cores: 1, part: record[1]}, err)
	return nil
}
