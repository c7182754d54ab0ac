package batchbound

import (
	"fmt"
	"strings"
	"testing"

	"github.com/plimsoll/plimsoll/pkg/qos"
	"github.com/plimsoll/plimsoll/test/traces"
)

func TestTraces(t *testing.T) {
	traces.Runner{
		Factory: Factory(),
		Say: func(c qos.Change) string {
			return strings.TrimPrefix(c.Group, "/kubepods/burstable/") + " " + string(c.Knob) + " " + c.Value
		},
		PodColumns: map[string]func(*traces.World, *traces.Pod, string) error{
			"given": func(w *traces.World, p *traces.Pod, cell string) error {
				p.Group.Bounds, p.Container.Bounds, p.Container.Kind = nil, nil, ""
				if cell == "nothing" {
					return nil
				}
				b := qos.Bounds{Reason: "what the pod was given"}
				rest, yields := strings.CutPrefix(cell, "at most ")
				if _, err := fmt.Sscanf(rest, "%d µs, %d bytes, %d tasks", &b.QuotaMicros, &b.MemoryBytes, &b.PIDs); err != nil {
					return fmt.Errorf("given %q: %w", cell, err)
				}
				own := b
				if yields { // a pod that was not converted: what somebody else set stays
					own.Yields = ContainerKnobs()
				} else {
					own.Weight, p.Group.Bounds = 39, &b
				}
				p.Container.Kind, p.Container.Bounds = qos.KindUnplaced, &own
				for _, g := range []string{traces.PodPath(p.Name), traces.ContainerPath(p.Name)} {
					if w.Settings[g] == nil {
						for _, k := range PodKnobs() {
							w.Set(g, k, qos.Setting{Value: unlimited, OK: true})
						}
						w.Set(g, qos.CPUWeight, qos.Setting{Value: "1", OK: true})
					}
				}
				return nil
			},
		},
	}.Run(t)
}
