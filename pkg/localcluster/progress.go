package localcluster

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/term"
)

// progress prints one line a step, with its time. On a terminal it shows the step under way too, and colours.
type progress struct {
	mu   sync.Mutex
	out  io.Writer
	tty  bool
	gray bool
}

func newProgress(out io.Writer) *progress {
	if out == nil {
		out = io.Discard
	}
	p := &progress{out: out}
	if f, ok := out.(*os.File); ok {
		p.tty = term.IsTerminal(int(f.Fd()))
		p.gray = p.tty && os.Getenv("NO_COLOR") == ""
	}
	return p
}

// step is one under way.
type step struct {
	p     *progress
	began time.Time
}

func (p *progress) start(doing string) *step {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.tty {
		fmt.Fprintf(p.out, "\r\x1b[K· %s", doing)
	}
	return &step{p: p, began: time.Now()}
}

func (s *step) done(what string) { s.p.did(what, time.Since(s.began)) }

func (s *step) fail() {
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	if s.p.tty {
		fmt.Fprint(s.p.out, "\r\x1b[K")
	}
}

// did prints a finished step.
func (p *progress) did(what string, took time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	mark, clear := "✓", ""
	if p.tty {
		clear = "\r\x1b[K"
	}
	if p.gray {
		mark = "\x1b[32m✓\x1b[0m"
	}
	fmt.Fprintf(p.out, "%s%s %-54s %6.1fs\n", clear, mark, what, took.Seconds())
}

// note prints a line that is no step.
func (p *progress) note(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.tty {
		fmt.Fprint(p.out, "\r\x1b[K")
	}
	fmt.Fprintf(p.out, format+"\n", args...)
}
