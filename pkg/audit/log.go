package audit

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Options say where a log is and how large it may grow.
type Options struct {
	// Dir holds the log's files; it is made if it is missing.
	Dir string
	// MaxFileBytes is the size from which on a file is followed by the next.
	MaxFileBytes int64
	// MaxFiles is how many files are kept; 0 keeps all.
	MaxFiles int
	// Now gives the time of the log's own records.
	Now func() time.Time
}

// Log is an audit log open for writing. It is safe for concurrent use; only one process can have it.
type Log struct {
	o Options

	mu     sync.Mutex
	closed bool
	// file is nil where the log is closed, or could not be opened because the disk is full.
	file, head, lock *os.File
	// size is where the file's last line ends.
	size int64
	// unended is true where the last line lacks its newline: it was torn before the log was opened.
	// half is true where a failed write of our own left bytes after it that could not be cut off yet.
	unended, half bool
	last          Anchor
	// retired are the files before this one that are not on the disk for certain yet.
	retired []*os.File
	// lost is how many records could not be written since lostSince, because of lostWhy; total is how
	// many it was since the log was opened.
	lost, total int64
	lostSince   time.Time
	lostWhy     error
}

// Open opens the log for writing. A last line that is not whole, and an end that is not where the head
// file says, are recorded in the log and never removed: what was lost stays visible to Verify. The
// error is ErrLocked while another process has the log open. A full disk is no error: the log opens as
// soon as there is space, and what is appended before is counted as lost.
func Open(o Options) (*Log, error) {
	l := &Log{o: o}
	if err := l.open(); err != nil && !full(err) {
		return nil, fmt.Errorf("opening the audit log in %s: %w", o.Dir, err)
	}
	return l, nil
}

// full says that the disk is, or the quota of its user.
func full(err error) bool { return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) }

func (l *Log) open() (err error) {
	if err := os.MkdirAll(l.o.Dir, 0o700); err != nil {
		return err
	}
	if l.lock, err = lock(l.o.Dir); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, l.closeFiles())
		}
	}()
	end, findings, err := findEnd(l.o.Dir)
	if err != nil {
		return err
	}
	l.last, l.unended = end.next, end.unended
	if l.head, err = os.OpenFile(filepath.Join(l.o.Dir, headName), os.O_CREATE|os.O_RDWR, 0o600); err != nil {
		return err
	}
	name := end.path
	if name == "" {
		name = filepath.Join(l.o.Dir, fileName(l.last.Sequence+1))
	}
	if err := l.use(name); err != nil {
		return err
	}
	for _, f := range findings {
		e := Entry{Kind: KindRepaired, Time: l.o.Now(), Why: f}
		if err := l.write(e); err != nil {
			l.lose(e, err)
		}
	}
	return nil
}

// use goes on in a file, which is made if it is missing.
func (l *Log) use(name string) error {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return errors.Join(err, f.Close())
	}
	l.file, l.size = f, size
	return nil
}

// Append writes one record. It never fails: a record that cannot be written is counted, and the loss is
// itself recorded as soon as something can be written again. It does not wait for the disk; Sync does.
func (l *Log) Append(e Entry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.append(e)
}

func (l *Log) append(e Entry) {
	if l.lost > 0 {
		since := l.lostSince
		lost := Entry{Kind: KindLost, Time: l.o.Now(), Count: l.lost, Since: &since, Why: l.lostWhy.Error()}
		if err := l.write(lost); err != nil {
			l.lose(e, err)
			return
		}
		l.lost = 0
	}
	if err := l.write(e); err != nil {
		l.lose(e, err)
	}
}

func (l *Log) lose(e Entry, why error) {
	if l.lost == 0 {
		l.lostSince = e.Time.UTC()
	}
	l.lost++
	l.total++
	l.lostWhy = why
}

// Lost is how many records could not be written since the log was opened, and why the last of them.
func (l *Log) Lost() (records int64, why error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.total, l.lostWhy
}

// Last is the last record that was written. Kept elsewhere, it is an anchor for Verify.
func (l *Log) Last() Anchor {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.last
}

// write writes one line with one write(2).
func (l *Log) write(e Entry) error {
	if l.closed {
		return errors.New("the audit log is closed")
	}
	if l.file == nil {
		if err := l.open(); err != nil {
			return fmt.Errorf("opening the audit log in %s: %w", l.o.Dir, err)
		}
	}
	if err := l.mend(); err != nil {
		return err
	}
	if l.size >= l.o.MaxFileBytes {
		if err := l.rotate(); err != nil {
			return err
		}
	}
	line, err := encode(Record{Sequence: l.last.Sequence + 1, Previous: l.last.Hash, Entry: e})
	if err != nil {
		return err
	}
	if len(line) > maxLineBytes {
		return fmt.Errorf("a record of %d bytes: at most %d are written", len(line), maxLineBytes)
	}
	n, err := l.file.Write(line)
	if err != nil {
		l.half = n > 0
		_ = l.mend() // where the half line cannot be cut off now, the next write cuts it off
		return fmt.Errorf("writing to %s: %w", l.file.Name(), err)
	}
	l.size += int64(n)
	l.last = Anchor{Sequence: l.last.Sequence + 1, Hash: hashOf(line[:n-1])}
	_ = writeHead(l.head, l.last) // the record is there; a head that lags only makes a cut of the last lines harder to see
	return nil
}

// mend makes the file end with a whole line. Half a line of our own goes, since no record is chained to
// it; one that was there before stays, and gets its newline.
func (l *Log) mend() error {
	if l.half {
		if err := l.file.Truncate(l.size); err != nil {
			return fmt.Errorf("cutting half a line off %s: %w", l.file.Name(), err)
		}
		l.half = false
	}
	if l.unended {
		if _, err := l.file.WriteString("\n"); err != nil {
			return fmt.Errorf("ending the last line of %s: %w", l.file.Name(), err)
		}
		l.unended = false
		l.size++
	}
	return nil
}

// rotate goes on in the next file, and drops the oldest where there are too many. The chain goes on.
func (l *Log) rotate() error {
	old := l.file
	if err := l.use(filepath.Join(l.o.Dir, fileName(l.last.Sequence+1))); err != nil {
		return nil //nolint:nilerr // a file that grows too large is better than a record that is lost
	}
	l.retired = append(l.retired, old)
	return l.prune()
}

// prune removes files beyond MaxFiles, each after a record of it was written.
func (l *Log) prune() error {
	files, err := listFiles(l.o.Dir)
	if err != nil || l.o.MaxFiles == 0 {
		return err
	}
	for len(files) > l.o.MaxFiles {
		data, err := os.ReadFile(files[0].path)
		if err != nil {
			return err
		}
		if len(data) > 0 {
			through, _ := lastAnchor(data, files[0].first)
			why := fmt.Sprintf("%s is removed: %d files are kept", filepath.Base(files[0].path), l.o.MaxFiles)
			if err := l.write(Entry{Kind: KindPruned, Time: l.o.Now(), Through: &through, Why: why}); err != nil {
				return err
			}
		}
		if err := os.Remove(files[0].path); err != nil {
			return err
		}
		files = files[1:]
	}
	return nil
}

// Sync waits until everything that was appended is on the disk. Appending goes on meanwhile.
func (l *Log) Sync() error {
	l.mu.Lock()
	files := slices.Clone(l.retired)
	if l.file != nil {
		files = append(files, l.file, l.head)
	}
	done := l.retired
	l.retired = nil
	l.mu.Unlock()
	var errs []error
	for _, f := range files {
		if err := f.Sync(); err != nil && !errors.Is(err, os.ErrClosed) {
			errs = append(errs, err)
		}
	}
	for _, f := range done {
		errs = append(errs, f.Close())
	}
	if len(files) > len(done) {
		errs = append(errs, syncDir(l.o.Dir))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("syncing the audit log: %w", err)
	}
	return nil
}

// Close syncs and closes the log. What is appended afterwards is lost, and counted.
func (l *Log) Close() error {
	err := l.Sync()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	return errors.Join(err, l.closeFiles())
}

func (l *Log) closeFiles() error {
	var errs []error
	for _, f := range []*os.File{l.file, l.head, l.lock} {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	l.file, l.head, l.lock = nil, nil, nil
	return errors.Join(errs...)
}
