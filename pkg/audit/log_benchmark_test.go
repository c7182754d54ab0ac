package audit

import "testing"

// BenchmarkAppend is what each kernel write costs more: one line into the page cache, and the head.
func BenchmarkAppend(b *testing.B) {
	l, err := Open(Options{Dir: b.TempDir(), MaxFileBytes: 16 << 20, MaxFiles: 4, Now: options("").Now})
	if err != nil {
		b.Fatal(err)
	}
	e := entry()
	for b.Loop() {
		l.Append(e)
	}
	if n, why := l.Lost(); n > 0 {
		b.Fatal(n, why)
	}
	if err := l.Close(); err != nil {
		b.Fatal(err)
	}
}
