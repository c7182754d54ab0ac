package realtime

import (
	"testing"

	"github.com/plimsoll/plimsoll/pkg/qos"
	"github.com/plimsoll/plimsoll/test/traces"
)

func TestTraces(t *testing.T) {
	traces.Runner{
		Factory: Factory(),
		Say:     func(c qos.Change) string { return c.Group + " " + string(c.Knob) + " " + c.Value },
		PodColumns: map[string]func(*traces.World, *traces.Pod, string) error{
			"asks": func(_ *traces.World, p *traces.Pod, cell string) error {
				p.Group.Realtime, p.Container.Realtime = cell == "yes", cell == "yes"
				return nil
			},
			"namespace": func(_ *traces.World, p *traces.Pod, cell string) error {
				p.Group.Namespace, p.Container.Namespace = cell, cell
				return nil
			},
			"threads": func(w *traces.World, p *traces.Pod, cell string) error {
				p.Container.Kind, p.Container.Namespace = qos.KindContainer, p.Group.Namespace
				for _, g := range []string{traces.Kubepods, traces.PodPath(p.Name), "/kubepods/burstable"} {
					w.Set(g, qos.CPURealtimeRuntime, qos.Setting{Unsupported: true})
				}
				w.Set(traces.ContainerPath(p.Name), qos.CPURealtimeRuntime, qos.Setting{Unsupported: true})
				w.Set(traces.ContainerPath(p.Name), qos.CPUPolicy, qos.Setting{Value: cell, OK: true})
				return nil
			},
		},
	}.Run(t)
}
