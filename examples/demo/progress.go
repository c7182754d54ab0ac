package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/term"
)

// style colours text on a terminal, and leaves it alone elsewhere or when NO_COLOR is set.
type style struct{ colour bool }

func newStyle(out io.Writer) style {
	file, ok := out.(*os.File)
	return style{colour: ok && term.IsTerminal(int(file.Fd())) && os.Getenv("NO_COLOR") == ""}
}

func (s style) paint(code, text string) string {
	if !s.colour {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

func (s style) green(text string) string { return s.paint("32", text) }
func (s style) red(text string) string   { return s.paint("31", text) }
func (s style) bold(text string) string  { return s.paint("1", text) }

// progress prints one line a finished step, with its time.
type progress struct {
	out   io.Writer
	style style
}

func newProgress(out io.Writer) *progress { return &progress{out: out, style: newStyle(out)} }

// step runs a step and prints it when it is done; a step that fails explains itself by its error.
func (p *progress) step(what string, do func() error) error {
	start := time.Now()
	if err := do(); err != nil {
		return err
	}
	p.done(what, time.Since(start))
	return nil
}

func (p *progress) done(what string, took time.Duration) {
	fmt.Fprintf(p.out, "%s %-54s %6.1fs\n", p.style.green("✓"), what, took.Seconds())
}

func (p *progress) note(format string, args ...any) { fmt.Fprintf(p.out, format+"\n", args...) }
