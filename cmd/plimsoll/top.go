package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"
	"k8s.io/apimachinery/pkg/util/sets"

	"github.com/plimsoll/plimsoll/pkg/api/v1alpha1"
	"github.com/plimsoll/plimsoll/pkg/fleet"
)

// topOptions are what top was asked for.
type topOptions struct {
	sortBy, output string
	watch          bool
	interval       time.Duration
}

func topCommand() *cobra.Command {
	var o topOptions
	var selector string
	c := &cobra.Command{
		Use:   "top",
		Short: "Show what nodes use, lend and hold back now",
		Long: `Show each node: its CPU in thousandths of a core (capacity, use, use of latency-sensitive and of batch pods, what
batch was lent of what can be lent, and the forecast peak of latency-sensitive use), how much of the time latency-sensitive
tasks waited for a CPU (permille), and what the agent holds back and why. -o wide adds memory, kernel and strategies.

A node that was not measured for four minutes is marked stale and is in no total. With --watch the table is drawn again at
each --interval from what the API server tells of changes.

Ends with 0, or with 2 when the cluster could not be read. A cluster in which no node publishes is told of, and ends with 1.`,
		Args: cobra.NoArgs,
	}
	a := accessFlags(c)
	f := c.Flags()
	f.StringVarP(&o.output, "output", "o", "table", "table, wide, csv or json")
	f.StringVar(&o.sortBy, "sort", "name", "order: "+strings.Join(fleet.Orders(), ", "))
	f.StringVarP(&selector, "selector", "l", "", "only nodes with these labels, as in kubectl get -l")
	f.BoolVarP(&o.watch, "watch", "w", false, "draw again until interrupted")
	f.DurationVar(&o.interval, "interval", 2*time.Second, "time between two drawings with --watch, at least 200ms")
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := o.validate(); err != nil {
			return err
		}
		config, err := a.config()
		if err != nil {
			return err
		}
		client, err := fleet.NewClient(config, selector)
		if err != nil {
			return err
		}
		if o.watch {
			return watchTop(cmd.Context(), client, cmd.OutOrStdout(), o)
		}
		objects, _, err := client.List(cmd.Context())
		if err != nil {
			return err
		}
		names, err := client.Selected(cmd.Context())
		if err != nil {
			return err
		}
		return drawTop(cmd.OutOrStdout(), keep(objects, names), time.Now(), o)
	}
	return c
}

func (o topOptions) validate() error {
	if !slices.Contains([]string{"table", "wide", "csv", "json"}, o.output) {
		return fmt.Errorf("--output %q: want table, wide, csv or json", o.output)
	}
	if o.interval < 200*time.Millisecond {
		return fmt.Errorf("--interval %s: must be 200ms or more", o.interval)
	}
	if err := (&fleet.Fleet{}).Sort(o.sortBy); err != nil {
		return fmt.Errorf("--sort %w", err)
	}
	return nil
}

// keep leaves the objects of the named nodes.
func keep(objects []v1alpha1.NodeUtilization, names sets.Set[string]) []v1alpha1.NodeUtilization {
	if names == nil {
		return objects
	}
	return slices.DeleteFunc(objects, func(u v1alpha1.NodeUtilization) bool { return !names.Has(u.Name) })
}

func drawTop(out io.Writer, objects []v1alpha1.NodeUtilization, now time.Time, o topOptions) error {
	all := fleet.New(now, objects)
	if err := all.Sort(o.sortBy); err != nil {
		return fmt.Errorf("--sort %w", err)
	}
	if err := showFleet(out, all, o.output); err != nil {
		return fmt.Errorf("writing the table: %w", err)
	}
	if len(objects) == 0 {
		return errFound
	}
	return nil
}

// mirror holds the objects that a watch keeps up to date.
type mirror struct {
	mutex   sync.Mutex
	objects map[string]v1alpha1.NodeUtilization
	problem error
}

func (m *mirror) replace(objects []v1alpha1.NodeUtilization) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	m.objects, m.problem = make(map[string]v1alpha1.NodeUtilization, len(objects)), nil
	for _, u := range objects {
		m.objects[u.Name] = u
	}
}

func (m *mirror) change(u v1alpha1.NodeUtilization, exists bool) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	if exists {
		m.objects[u.Name] = u
		return
	}
	delete(m.objects, u.Name)
}

func (m *mirror) fail(err error) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	m.problem = err
}

func (m *mirror) all() ([]v1alpha1.NodeUtilization, error) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	objects := make([]v1alpha1.NodeUtilization, 0, len(m.objects))
	for _, u := range m.objects {
		objects = append(objects, u)
	}
	return objects, m.problem
}

// follow keeps the mirror up to date until ctx ends.
func (m *mirror) follow(ctx context.Context, client *fleet.Client, version string) {
	for ctx.Err() == nil {
		err := client.Watch(ctx, version, m.change)
		if !errors.Is(err, fleet.ErrExpired) {
			m.fail(err)
		}
		select { // an API server that is away is not asked without a pause
		case <-ctx.Done():
			return
		case <-time.After(time.Second):
		}
		var objects []v1alpha1.NodeUtilization
		if objects, version, err = client.List(ctx); err != nil {
			m.fail(err)
			version = "0"
			continue
		}
		m.replace(objects)
	}
}

// watchTop draws until ctx ends.
func watchTop(ctx context.Context, client *fleet.Client, out io.Writer, o topOptions) error {
	objects, version, err := client.List(ctx)
	if err != nil {
		return err
	}
	m := &mirror{}
	m.replace(objects)
	go m.follow(ctx, client, version)
	screen := screenOf(out)
	ticker := time.NewTicker(o.interval)
	defer ticker.Stop()
	for {
		names, err := client.Selected(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		objects, problem := m.all()
		if err := screen.draw(func(w io.Writer) error {
			if problem != nil {
				fmt.Fprintln(w, paint(out, red, "not up to date:"), problem)
			}
			return drawTop(w, keep(objects, names), time.Now(), o)
		}); err != nil && !errors.Is(err, errFound) {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// screen draws over what was there on a terminal, and one after the other elsewhere.
type screen struct {
	out      io.Writer
	terminal *os.File
}

func screenOf(out io.Writer) screen {
	if f, ok := out.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return screen{out, f}
	}
	return screen{out: out}
}

func (s screen) draw(content func(io.Writer) error) error {
	if s.terminal == nil {
		return content(s.out)
	}
	var b strings.Builder
	err := content(&b)
	lines := strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n")
	width, height, sizeErr := term.GetSize(int(s.terminal.Fd()))
	if sizeErr == nil && len(lines) > height-1 && height > 8 {
		const foot = 4 // the totals and remarks are at the end
		cut := len(lines) - (height - 1) + 1
		kept := slices.Clone(lines[:len(lines)-foot-cut])
		lines = append(append(kept, fmt.Sprintf("... %d more", cut)), lines[len(lines)-foot:]...)
	}
	var frame strings.Builder
	frame.WriteString("\x1b[H")
	for _, line := range lines {
		if sizeErr == nil {
			line = clip(line, width)
		}
		frame.WriteString(line + "\x1b[K\n")
	}
	frame.WriteString("\x1b[J")
	if _, writing := io.WriteString(s.out, frame.String()); writing != nil {
		return writing
	}
	return err
}

// clip cuts a line without colours to a number of characters.
func clip(line string, width int) string {
	runes := []rune(line)
	if len(runes) <= width || strings.ContainsRune(line, '\x1b') {
		return line
	}
	return string(runes[:width])
}
