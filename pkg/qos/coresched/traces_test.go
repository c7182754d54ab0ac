package coresched

import (
	"fmt"
	"testing"

	"github.com/plimsoll/plimsoll/pkg/qos"
	"github.com/plimsoll/plimsoll/test/traces"
)

func TestTraces(t *testing.T) {
	traces.Runner{
		Factory: Factory(),
		Say: func(c qos.Change) string {
			if c.Value == qos.CookieNone {
				return "a batch container shares again"
			}
			return "a batch container is kept apart"
		},
		Columns: map[string]func(*traces.World, string) error{
			"batch cookies": func(w *traces.World, cell string) error {
				for i := range w.BatchPods {
					w.Set(fmt.Sprintf("%s/batch%d", traces.Branch, i), qos.CoreCookie, qos.Setting{Value: cell, OK: cell != "?"})
				}
				return nil
			},
			"pods told": func(w *traces.World, cell string) error {
				w.State.PodsTold = cell == "yes"
				return nil
			},
		},
		PodColumns: map[string]func(*traces.World, *traces.Pod, string) error{
			"asks": func(_ *traces.World, p *traces.Pod, cell string) error {
				p.Group.UnsharedCores = cell == "yes"
				return nil
			},
			"namespace": func(_ *traces.World, p *traces.Pod, cell string) error {
				p.Group.Namespace = cell
				return nil
			},
		},
	}.Run(t)
}
