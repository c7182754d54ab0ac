package audit

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// The names of the files in a log's directory. A log file is named after the number of its first record.
const (
	filePrefix, fileSuffix = "audit-", ".jsonl"
	headName               = "audit.head"
	lockName               = "audit.lock"
)

// logFile is one file of the log.
type logFile struct {
	path  string
	first uint64
}

func fileName(first uint64) string { return fmt.Sprintf("%s%020d%s", filePrefix, first, fileSuffix) }

// listFiles is the log's files, oldest first.
func listFiles(dir string) ([]logFile, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var files []logFile
	for _, e := range entries {
		number, ok := strings.CutPrefix(strings.TrimSuffix(e.Name(), fileSuffix), filePrefix)
		if !ok || !strings.HasSuffix(e.Name(), fileSuffix) {
			continue
		}
		first, err := strconv.ParseUint(number, 10, 64)
		if err != nil {
			continue // not ours
		}
		files = append(files, logFile{path: filepath.Join(dir, e.Name()), first: first})
	}
	slices.SortFunc(files, func(a, b logFile) int {
		if a.first < b.first {
			return -1
		}
		return 1
	})
	return files, nil
}

// headSize is the fixed size of the head file: it is written over in place, which needs no space on a
// full disk, and within one sector, so that a crash leaves the old one or the new.
const headSize = 128

// readHead reads the last record that was written, as the head file has it. A file that is not there is
// not an error: nothing was written yet, or somebody removed it.
func readHead(dir string) (a Anchor, ok bool, err error) {
	b, err := os.ReadFile(filepath.Join(dir, headName))
	if errors.Is(err, fs.ErrNotExist) {
		return Anchor{}, false, nil
	}
	if err != nil {
		return Anchor{}, false, err
	}
	text := strings.TrimSpace(string(b))
	if text == "" { // made, and not written yet
		return Anchor{}, false, nil
	}
	if a, err = ParseAnchor(text); err != nil {
		return Anchor{}, false, fmt.Errorf("%s: %w", filepath.Join(dir, headName), err)
	}
	return a, true, nil
}

func writeHead(f *os.File, a Anchor) error {
	_, err := f.WriteAt(fmt.Appendf(nil, "%-*s\n", headSize-1, a), 0)
	return err
}

// ErrLocked means that another process has the log open for writing.
var ErrLocked = errors.New("another process has it open")

// lock makes this process the only one that writes to the log in dir, until the file is closed.
func lock(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, lockName), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = f.Close() // nothing was written
		if errors.Is(err, unix.EWOULDBLOCK) {
			err = ErrLocked
		}
		return nil, fmt.Errorf("locking %s: %w", f.Name(), err)
	}
	return f, nil
}

// syncDir makes a new name in dir outlive a power cut.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
