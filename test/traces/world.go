package traces

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/plimsoll/plimsoll/pkg/qos"
	"github.com/plimsoll/plimsoll/pkg/usage"
)

// The paths of the groups in traces.
const (
	Kubepods = "/kubepods"
	Branch   = "/kubepods/plimsoll-batch"
	podTier  = "/kubepods/burstable"
)

// PodPath is the group of a pod of a trace.
func PodPath(pod string) string { return podTier + "/" + pod }

// ContainerPath is that of its only container.
func ContainerPath(pod string) string { return PodPath(pod) + "/app" }

// World is the node that a trace plays on: what is so until a row says otherwise.
type World struct {
	// State is what the strategy is shown, but for its groups.
	State qos.State
	// Settings is what is in force, by group and knob.
	Settings map[string]map[qos.Knob]qos.Setting
	Pods     []*Pod
	// BatchPods is how many batch containers there are.
	BatchPods int
	// Missing is true where the strategy is not asked in this tick, Refuses where the kernel refuses.
	Missing, Refuses bool
}

// Pod is one pod, with one container.
type Pod struct {
	Name  string
	Class string // online, batch or gone
	Group qos.Group
	// Container is shown to the strategy where its kind is set.
	Container qos.Group
}

func (w *World) pod(name string) *Pod {
	for _, p := range w.Pods {
		if p.Name == name {
			return p
		}
	}
	p := &Pod{Name: name, Class: "online", Group: qos.Group{Path: PodPath(name), Kind: qos.KindPod, Namespace: "default"}}
	w.Pods = append(w.Pods, p)
	return p
}

// Set puts a setting in force.
func (w *World) Set(group string, knob qos.Knob, setting qos.Setting) {
	if w.Settings[group] == nil {
		w.Settings[group] = map[qos.Knob]qos.Setting{}
	}
	w.Settings[group][knob] = setting
}

// write puts a change in force as the kernel does: while cpu.idle is 1 the weight reads as the lowest, and when it
// goes the weight is the default one.
func (w *World) write(c qos.Change) {
	w.Set(c.Group, c.Knob, qos.Setting{Value: c.Value, OK: true})
	if _, known := w.Settings[c.Group][qos.CPUWeight]; known && c.Knob == qos.CPUIdle {
		weight := "100"
		if c.Value == "1" {
			weight = "1"
		}
		w.Set(c.Group, qos.CPUWeight, qos.Setting{Value: weight, OK: true})
	}
}

// state is what the strategy sees now.
func (w *World) state() qos.State {
	s := w.State
	copied := func(group string) map[qos.Knob]qos.Setting {
		settings := map[qos.Knob]qos.Setting{}
		maps.Copy(settings, w.Settings[group])
		return settings
	}
	s.Groups = []qos.Group{
		{Path: Kubepods, Kind: qos.KindTier, Settings: copied(Kubepods)},
		{Path: podTier, Kind: qos.KindTier, Settings: copied(podTier)},
		{Path: Branch, Kind: qos.KindBatchBranch, Settings: copied(Branch), Rates: usage.Rates{MilliCPU: s.CPU.BatchMilliCPU}},
	}
	for i := range w.BatchPods {
		path := fmt.Sprintf("%s/batch%d", Branch, i)
		s.Groups = append(s.Groups, qos.Group{Path: path, Kind: qos.KindBatchContainer, Settings: copied(path)})
	}
	for _, p := range w.Pods {
		if p.Class == "gone" {
			continue
		}
		g := p.Group
		g.Online = p.Class == "online"
		g.Settings = copied(g.Path)
		s.Groups = append(s.Groups, g)
		if p.Container.Kind != "" {
			c := p.Container
			c.Path, c.Settings = ContainerPath(p.Name), copied(ContainerPath(p.Name))
			s.Groups = append(s.Groups, c)
		}
	}
	if s.Blind {
		s.CPU, s.Node = qos.CPUUse{}, usage.Rates{}
		for i := range s.Groups {
			s.Groups[i].Rates, s.Groups[i].Harm = usage.Rates{}, usage.Harm{}
		}
	}
	return s
}

// start is when every trace begins.
func start() time.Time { return time.Date(2026, 11, 2, 9, 0, 0, 0, time.UTC) }

// Number reads a cell with a number; "?" was not measured.
func Number(cell string) (usage.Reading, error) {
	if cell == "?" {
		return usage.Reading{}, nil
	}
	n, err := strconv.ParseInt(cell, 10, 64)
	if err != nil {
		return usage.Reading{}, fmt.Errorf("%q: want a whole number or ?", cell)
	}
	return usage.Of(n), nil
}

// apply takes one cell that is not empty.
func (w *World) apply(column, cell string) error {
	reading := func(to *usage.Reading) (err error) {
		*to, err = Number(cell)
		return err
	}
	cpu := &w.State.CPU
	switch column {
	case "time s":
		seconds, err := strconv.ParseFloat(cell, 64)
		if err != nil {
			return fmt.Errorf("%q: want seconds", cell)
		}
		w.State.Now = start().Add(time.Duration(seconds * float64(time.Second)))
		return nil
	case "tick":
		return w.tick(cell)
	case "online mCPU":
		return reading(&cpu.OnlineMilliCPU)
	case "system mCPU":
		return reading(&cpu.SystemMilliCPU)
	case "batch mCPU":
		return reading(&cpu.BatchMilliCPU)
	case "batch pods":
		n, err := Number(cell)
		w.BatchPods = int(n.Value)
		return err
	case "held back ‰":
		n, err := Number(cell)
		w.State.HeldBackPermille, w.State.HeldBackWhy = n.Value, "the operator holds lending back"
		return err
	case "others set":
		return w.othersSet(cell)
	case "kernel":
		return w.kernel(cell)
	}
	if name, quantity, ok := strings.Cut(column, ": "); ok {
		return w.pod(name).apply(quantity, cell)
	}
	return fmt.Errorf("unknown column %q", column)
}

func (w *World) tick(cell string) error {
	if !slices.Contains([]string{"full", "fast", "blind", "missed"}, cell) {
		return fmt.Errorf("tick %q: want full, fast, blind or missed", cell)
	}
	w.State.Fast, w.State.Blind, w.Missing = cell == "fast", cell == "blind", cell == "missed"
	return nil
}

func (w *World) othersSet(cell string) error {
	knob, value, ok := strings.Cut(cell, "=")
	if !ok {
		return fmt.Errorf("others set %q: want knob=value", cell)
	}
	group := Branch
	if pod, rest, of := strings.Cut(knob, ":"); of {
		group, knob = ContainerPath(pod), rest
	}
	w.Set(group, qos.Knob(knob), qos.Setting{Value: value, OK: value != "?"})
	return nil
}

func (w *World) kernel(cell string) error {
	if knob, ok := strings.CutPrefix(cell, "lacks "); ok {
		for group := range w.Settings {
			w.Set(group, qos.Knob(knob), qos.Setting{Unsupported: true})
		}
		return nil
	}
	w.Refuses = cell == "refuses"
	if !w.Refuses && cell != "takes" {
		return fmt.Errorf(`kernel %q: want refuses, takes or "lacks KNOB"`, cell)
	}
	return nil
}

func (p *Pod) apply(quantity, cell string) error {
	reading := func(to *usage.Reading) (err error) {
		*to, err = Number(cell)
		return err
	}
	switch quantity {
	case "class":
		if !slices.Contains([]string{"online", "batch", "gone"}, cell) {
			return fmt.Errorf("class %q: want online, batch or gone", cell)
		}
		p.Class = cell
		return nil
	case "used mCPU":
		return reading(&p.Group.Rates.MilliCPU)
	case "pressure ‰":
		return reading(&p.Group.Harm.PressurePermille)
	case "excess ‰":
		return reading(&p.Group.Harm.ExcessPermille)
	case "throttled ‰":
		return reading(&p.Group.Harm.ThrottledPermille)
	}
	return fmt.Errorf("unknown quantity %q of a pod", quantity)
}
