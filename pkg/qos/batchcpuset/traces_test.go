package batchcpuset

import (
	"fmt"
	"strings"
	"testing"

	"github.com/plimsoll/plimsoll/pkg/qos"
	"github.com/plimsoll/plimsoll/test/traces"
)

// machine is a node's CPUs as they are numbered on most: first one thread of each core, then the other ones.
func machine(nodes, coresEach, threads int) []qos.CPU {
	var cpus []qos.CPU
	cores := nodes * coresEach
	for id := range cores * threads {
		cpus = append(cpus, qos.CPU{ID: id, Core: id % cores, Node: id % cores / coresEach})
	}
	return cpus
}

func TestTraces(t *testing.T) {
	traces.Runner{
		Factory:  Factory(),
		Settings: map[string]map[qos.Knob]string{traces.Branch: {qos.CPUSetCPUs: inherit}},
		Say: func(c qos.Change) string {
			who := "batch"
			if name, ok := strings.CutPrefix(c.Group, traces.Branch+"/"); ok {
				who = name
			}
			return who + " on " + c.Value
		},
		Columns: map[string]func(*traces.World, string) error{
			"machine": func(w *traces.World, cell string) error {
				var nodes, cores, threads int
				if _, err := fmt.Sscanf(cell, "%d x %d x %d", &nodes, &cores, &threads); err != nil {
					return fmt.Errorf("machine %q: want NODES x CORES x THREADS: %w", cell, err)
				}
				w.State.CPUSets = &qos.CPUSets{CPUs: machine(nodes, cores, threads), ExclusiveOK: true, Inherits: true}
				return nil
			},
			"exclusive": func(w *traces.World, cell string) (err error) {
				sets := *w.State.CPUSets
				sets.Exclusive, sets.ExclusiveOK, sets.Missing = nil, cell != "?", ""
				switch cell {
				case "none":
				case "?":
					sets.Missing = "the kubelet does not answer"
				default:
					sets.Exclusive, err = qos.ParseCPUs(cell)
				}
				w.State.CPUSets = &sets
				return err
			},
			"cgroup": func(w *traces.World, cell string) error {
				w.State.CPUSets.Inherits = cell == "v2"
				return nil
			},
			"batch has": func(w *traces.World, cell string) error {
				for _, g := range []string{traces.Branch, traces.Branch + "/batch0"} {
					w.Set(g, qos.CPUSetCPUs, qos.Setting{Value: cell, OK: true})
				}
				return nil
			},
		},
		PodColumns: map[string]func(*traces.World, *traces.Pod, string) error{
			"asks": func(_ *traces.World, p *traces.Pod, cell string) error {
				cores, err := traces.Number(cell)
				p.Group.WholeCores = cores.Value
				return err
			},
			"namespace": func(_ *traces.World, p *traces.Pod, cell string) error {
				p.Group.Namespace = cell
				return nil
			},
		},
	}.Run(t)
}
