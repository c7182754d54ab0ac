package cgroup

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// maxFileBytes is more than any file of counters holds: memory.stat has some 2 KiB, io.stat a line for each
// disk, /proc/stat some hundred bytes for each CPU and a few for each interrupt.
const maxFileBytes = 4 << 20

// buffer holds one file at a time.
type buffer struct {
	b []byte
}

func newBuffer() buffer { return buffer{b: make([]byte, 16<<10)} }

// pread reads a whole file of the kernel's into the buffer, which holds it until the next call. The kernel
// makes most of these files as one record, so a read that leaves room in the buffer was all of it;
// asking for the end would make the kernel write the record once more. Where it makes several records
// toTheEnd must be true.
func (r *buffer) pread(fd int, toTheEnd bool) ([]byte, error) {
	n := 0
	for {
		m, err := unix.Pread(fd, r.b[n:], int64(n))
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if n += m; m == 0 || n < len(r.b) && !toTheEnd {
			return r.b[:n], nil
		}
		if n >= maxFileBytes {
			return nil, fmt.Errorf("more than %d bytes in a file of counters", maxFileBytes)
		}
		if n == len(r.b) {
			r.b = append(r.b, make([]byte, len(r.b))...)
		}
	}
}
