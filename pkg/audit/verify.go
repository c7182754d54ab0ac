package audit

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
)

// maxLineBytes is the longest line that is looked at; Append writes none that is longer.
const maxLineBytes = 1 << 20

// Finding is something that Verify found, and where.
type Finding struct {
	// File is the name of the file, Line the number of the line from 1; 0 means the file as a whole.
	File string `json:"file"`
	Line int    `json:"line,omitempty"`
	What string `json:"what"`
}

// String is file:line: what.
func (f Finding) String() string {
	if f.Line == 0 {
		return f.File + ": " + f.What
	}
	return fmt.Sprintf("%s:%d: %s", f.File, f.Line, f.What)
}

// Report is what Verify found out about a log.
type Report struct {
	Files   int    `json:"files"`
	Records int    `json:"records"`
	First   uint64 `json:"first,omitempty"`
	// Last names the last record. Kept elsewhere, it is an anchor for a later Verify.
	Last *Anchor `json:"last,omitempty"`
	// Problems are what breaks the chain. A log without any is intact.
	Problems []Finding `json:"problems"`
	// Notes are what the log itself says is missing: lost, repaired and pruned.
	Notes []Finding `json:"notes"`
}

// ErrNoLog means that there is no audit log in the directory.
var ErrNoLog = errors.New("no audit log")

// Verify checks the whole log in dir against its chain, its head file and the anchors, which may be
// none. It may run while the log is written. The error is about reading; what is wrong with the log is
// in the Report.
func Verify(dir string, anchors ...Anchor) (*Report, error) {
	// Before the files: a record that comes meanwhile is then after the head, which is no fault.
	head, haveHead, headErr := readHead(dir)
	if errors.Is(headErr, os.ErrPermission) {
		return nil, fmt.Errorf("verifying the audit log: %w", headErr)
	}
	files, err := listFiles(dir)
	if err != nil {
		return nil, fmt.Errorf("verifying the audit log: %w", err)
	}
	if len(files) == 0 && !haveHead && headErr == nil {
		return nil, fmt.Errorf("verifying the audit log: %w in %s", ErrNoLog, dir)
	}
	v := &verifier{
		report:  Report{Files: len(files), Problems: []Finding{}, Notes: []Finding{}},
		anchors: map[uint64]Anchor{}, next: Anchor{Hash: noHash},
	}
	for _, a := range anchors {
		v.anchors[a.Sequence] = a
	}
	for _, f := range files {
		if err := v.file(f); err != nil {
			return nil, fmt.Errorf("verifying the audit log: %w", err)
		}
	}
	v.end(head, haveHead, headErr)
	return &v.report, nil
}

// verifier goes through a log line by line.
type verifier struct {
	report Report
	// next is the line that the next record should be chained to; at is where that line is.
	next Anchor
	at   Finding
	// noRecord is true where that line is no record: it must be followed by one that says so.
	noRecord bool
	// begin is what the first record of all is chained to, pruned what the log says was removed.
	begin   *Anchor
	beginAt Finding
	pruned  []Anchor
	anchors map[uint64]Anchor
}

func (v *verifier) problem(at Finding, format string, args ...any) {
	at.What = fmt.Sprintf(format, args...)
	v.report.Problems = append(v.report.Problems, at)
}

func (v *verifier) note(at Finding, format string, args ...any) {
	at.What = fmt.Sprintf(format, args...)
	v.report.Notes = append(v.report.Notes, at)
}

func (v *verifier) file(f logFile) error {
	file, err := os.Open(f.path)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }() // read-only
	lines := bufio.NewReaderSize(file, maxLineBytes)
	for n := 1; ; n++ {
		at := Finding{File: filepath.Base(f.path), Line: n}
		line, hash, err := readLine(lines)
		if errors.Is(err, io.EOF) && len(line) == 0 {
			return nil
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("reading %s: %w", f.path, err)
		}
		if err != nil {
			v.problem(at, "the line has no newline: it was torn, or cut off; the agent says so in the log when it starts next")
		}
		v.line(at, f, line, hash)
	}
}

// readLine reads a line without its newline, and hashes it. Of a line that is too long it gives the
// beginning only, which is no record. The error is io.EOF where there was no newline.
func readLine(r *bufio.Reader) (line []byte, hash string, err error) {
	sum := sha256.New()
	for first := true; ; first = false {
		part, err := r.ReadSlice('\n')
		if err == nil {
			part = part[:len(part)-1]
		}
		sum.Write(part) // never fails
		if first {
			line = append(line, part...)
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return line, hex.EncodeToString(sum.Sum(nil)), err
		}
	}
}

func (v *verifier) line(at Finding, f logFile, line []byte, hash string) {
	this := Anchor{Sequence: v.next.Sequence + 1, Hash: hash}
	r, err := decode(line)
	if err != nil {
		if v.noRecord {
			v.problem(v.at, "the line is not a record, and nothing says that it was torn")
		}
		if v.begin == nil { // what it was chained to went with it; its number is in the file's name
			v.begin, v.beginAt, v.report.First = &Anchor{Sequence: f.first - 1}, at, f.first
			this.Sequence = f.first
		}
		v.next, v.at, v.noRecord = this, at, true
		return
	}
	this.Sequence = r.Sequence
	v.report.Records++
	if v.begin == nil {
		v.begin, v.beginAt = &Anchor{Sequence: r.Sequence - 1, Hash: r.Previous}, at
		v.report.First = r.Sequence
		v.next = *v.begin // end says whether it may begin here
	}
	v.chain(at, r)
	if at.Line == 1 && f.first != r.Sequence {
		v.problem(at, "the file begins with record %d, and by its name should begin with %d", r.Sequence, f.first)
	}
	switch r.Kind {
	case KindLost:
		v.note(at, "%d records could not be written since %s: %s", r.Count, since(r), r.Why)
	case KindRepaired:
		v.note(at, "repaired: %s", r.Why)
	case KindPruned:
		if r.Through != nil {
			v.pruned = append(v.pruned, *r.Through)
		}
		v.note(at, "pruned: %s", r.Why)
	}
	v.next, v.at, v.noRecord = this, at, false
	v.compare(at, this)
}

func since(r Record) string {
	if r.Since == nil {
		return "an unknown time"
	}
	return r.Since.UTC().Format("2006-01-02T15:04:05Z")
}

// chain checks that a record follows the line before it.
func (v *verifier) chain(at Finding, r Record) {
	want := v.next.Sequence + 1
	switch {
	case v.noRecord && (r.Kind != KindRepaired || r.Previous != v.next.Hash):
		v.problem(v.at, "the line is not a record, and nothing says that it was torn")
	case r.Sequence > want:
		v.problem(at, "records %d to %d are missing before this line", want, r.Sequence-1)
	case r.Sequence < want:
		v.problem(at, "this is record %d, out of its place: record %d should be here", r.Sequence, want)
	case r.Previous != v.next.Hash:
		v.problem(v.at, "record %d is not as it was written: its hash is %.12s…, and the record after it was chained to %.12s…", v.next.Sequence, v.next.Hash, r.Previous)
	}
}

// compare checks a record against an anchor.
func (v *verifier) compare(at Finding, this Anchor) {
	if want, ok := v.anchors[this.Sequence]; ok {
		if want.Hash != this.Hash {
			v.problem(at, "record %d is not as it was when the anchor %s was taken", this.Sequence, want)
		}
		delete(v.anchors, this.Sequence)
	}
}

// end checks where the log begins and ends.
func (v *verifier) end(head Anchor, haveHead bool, headErr error) {
	if v.noRecord {
		v.problem(v.at, "the line is not a record, and nothing says that it was torn")
	}
	if v.begin != nil {
		v.beginning(*v.begin)
	}
	headFile := Finding{File: headName}
	switch last := v.next; {
	case headErr != nil:
		v.problem(headFile, "%v", headErr)
	case !haveHead:
		v.problem(headFile, "it is missing or empty: whether records are missing at the end is not known")
	case last.Sequence < head.Sequence:
		v.problem(headFile, "records %d to %d are missing at the end of the log", last.Sequence+1, head.Sequence)
	case last.Sequence == head.Sequence && last.Hash != head.Hash:
		v.problem(v.at, "record %d is not as it was written: its hash is %.12s…, and %s has %.12s…", last.Sequence, last.Hash, headName, head.Hash)
	}
	for _, sequence := range slices.Sorted(maps.Keys(v.anchors)) {
		if v.begin == nil || sequence > v.begin.Sequence {
			v.problem(headFile, "record %d is not in the log, and was when the anchor %s was taken", sequence, v.anchors[sequence])
			continue
		}
		v.note(headFile, "record %d, which the anchor %s names, was before the first one that is kept", sequence, v.anchors[sequence])
	}
	if v.report.Records > 0 {
		last := v.next
		v.report.Last = &last
	}
}

// beginning checks that what is gone before the first record went by pruning.
func (v *verifier) beginning(before Anchor) {
	pruned := slices.ContainsFunc(v.pruned, func(a Anchor) bool {
		return a == before || before.Hash == "" && a.Sequence == before.Sequence
	})
	switch {
	case before.Sequence > 0 && !pruned:
		v.problem(v.beginAt, "the log begins with record %d, and does not say why records 1 to %d are gone", v.report.First, before.Sequence)
	case before.Sequence == 0 && before.Hash != noHash && before.Hash != "":
		v.problem(v.beginAt, "the first record is chained to something before it")
	}
}
