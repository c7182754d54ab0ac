package audit

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// Read calls each for every record of the log in dir, oldest first, until it returns false. It does not check the
// chain, which Verify does; a line that is no record is counted and left out. It may run while the log is written.
func Read(dir string, each func(Record) bool) (skipped int, err error) {
	files, err := listFiles(dir)
	if err != nil {
		return 0, fmt.Errorf("reading the audit log: %w", err)
	}
	if len(files) == 0 {
		return 0, fmt.Errorf("reading the audit log: %w in %s", ErrNoLog, dir)
	}
	for _, f := range files {
		more, bad, err := readFile(f.path, each)
		skipped += bad
		if err != nil {
			return skipped, fmt.Errorf("reading the audit log: %w", err)
		}
		if !more {
			break
		}
	}
	return skipped, nil
}

func readFile(path string, each func(Record) bool) (more bool, skipped int, err error) {
	in, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return true, 0, nil // pruned meanwhile
	}
	if err != nil {
		return false, 0, err
	}
	defer in.Close()
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, maxLineBytes)
	for lines.Scan() {
		r, err := decode(lines.Bytes())
		if err != nil {
			skipped++
			continue
		}
		if !each(r) {
			return false, skipped, nil
		}
	}
	return true, skipped, lines.Err()
}
