package traces

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/plimsoll/plimsoll/pkg/qos"
)

var rewrite = flag.Bool("rewrite", false, "write the plans and reasons of traces anew") //nolint:gochecknoglobals // go test parses the flags before anything of ours runs

// Runner plays the traces of one strategy.
type Runner struct {
	Factory qos.Factory
	// Settings is what is in force when a trace begins, by group and knob.
	Settings map[string]map[qos.Knob]string
	// Say puts a change into words for the column plan. Without it a change is "group knob=value".
	Say func(qos.Change) string
	// Columns are the strategy's own, by name; pod columns by what follows the pod's name and colon.
	Columns    map[string]func(w *World, cell string) error
	PodColumns map[string]func(w *World, p *Pod, cell string) error
}

// Run plays every trace in testdata and compares what the strategy wanted with what the trace says.
func (r Runner) Run(t *testing.T) {
	t.Helper()
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no traces in testdata (%v)", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got, err := r.play(string(text))
			if err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			if *rewrite {
				if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(string(text), got); diff != "" {
				t.Errorf("%s (-want +got; -rewrite writes it anew):\n%s", file, diff)
			}
		})
	}
}

// play returns the text with the columns plan and because as the strategy fills them in.
func (r Runner) play(text string) (string, error) {
	tr, err := parse(text)
	if err != nil {
		return "", err
	}
	strategy, err := r.Factory.New([]byte(tr.args))
	if err != nil {
		return "", err
	}
	w := &World{Settings: map[string]map[qos.Knob]qos.Setting{}}
	w.State.PodsTold = true
	w.State.CPU.CapacityMilliCPU = tr.nodeCPU
	for group, settings := range r.Settings {
		for knob, value := range settings {
			w.Set(group, knob, qos.Setting{Value: value, OK: true})
		}
	}
	for i, row := range tr.rows {
		if err := r.apply(w, tr.columns, row); err != nil {
			return "", &rowError{tr.firstRow + i, err}
		}
		plan, because := r.step(w, strategy)
		row[len(row)-2], row[len(row)-1] = plan, because
	}
	return tr.format(), nil
}

func (r Runner) apply(w *World, columns, row []string) error {
	for i, c := range columns[:len(columns)-2] {
		if row[i] == "" {
			continue
		}
		apply := func() error { return w.apply(c, row[i]) }
		if own, ok := r.Columns[c]; ok {
			apply = func() error { return own(w, row[i]) }
		}
		if name, quantity, ok := strings.Cut(c, ": "); ok {
			if own, ok := r.PodColumns[quantity]; ok {
				apply = func() error { return own(w, w.pod(name), row[i]) }
			}
		}
		if err := apply(); err != nil {
			return err
		}
	}
	return nil
}

// step asks the strategy once and puts in force what it wants.
func (r Runner) step(w *World, strategy qos.Strategy) (plan, because string) {
	if w.Missing || w.State.Fast && !strategy.Fast {
		return "not asked", ""
	}
	s := w.state()
	p := strategy.Step(s)
	var plans, reasons []string
	for _, c := range qos.Diff(s, p) {
		say := strings.TrimPrefix(c.Group, Kubepods+"/") + " " + string(c.Knob) + "=" + c.Value
		if r.Say != nil {
			say = r.Say(c)
		}
		plans = append(plans, say)
		if n := len(reasons); n == 0 || reasons[n-1] != c.Reason {
			reasons = append(reasons, c.Reason)
		}
		if !w.Refuses {
			w.write(c)
		}
	}
	for _, e := range p.Evictions {
		plans, reasons = append(plans, "evict "+e.Pod.Name), append(reasons, e.Reason)
	}
	if len(strategy.Foreign(s, p)) > 0 {
		plans = append(plans, "A KNOB THAT IS NOT ITS OWN")
	}
	if len(plans) == 0 {
		plans = []string{"nothing"}
	}
	return strings.Join(counted(plans), ", "), strings.Join(append(reasons, p.Notes...), "; ")
}

// counted says what follows itself once, and how often: a strategy may want the same of hundreds of containers.
func counted(plans []string) []string {
	var short []string
	for i := 0; i < len(plans); {
		n := 1
		for i+n < len(plans) && plans[i+n] == plans[i] {
			n++
		}
		say := plans[i]
		if n > 1 {
			say = fmt.Sprintf("%s (%d times)", say, n)
		}
		short = append(short, say)
		i += n
	}
	return short
}
