package starvation

import (
	"fmt"
	"slices"
	"testing"

	"github.com/plimsoll/plimsoll/pkg/qos"
	"github.com/plimsoll/plimsoll/pkg/usage"
	"github.com/plimsoll/plimsoll/test/traces"
)

func TestTraces(t *testing.T) {
	// of is the batch pod that a column is about. A new slice, since the strategy may keep the one that it was shown.
	of := func(w *traces.World, p *traces.Pod, set func(*qos.BatchPod)) {
		pods := slices.Clone(w.State.BatchPods)
		i := slices.IndexFunc(pods, func(b qos.BatchPod) bool { return b.UID == p.Name })
		if i < 0 {
			i, pods = len(pods), append(pods, qos.BatchPod{UID: p.Name, Namespace: "batch", Name: p.Name})
		}
		set(&pods[i])
		w.State.BatchPods = pods
	}
	reading := func(to func(*qos.BatchPod, usage.Reading)) func(*traces.World, *traces.Pod, string) error {
		return func(w *traces.World, p *traces.Pod, cell string) error {
			n, err := traces.Number(cell)
			of(w, p, func(b *qos.BatchPod) { to(b, n) })
			return err
		}
	}
	// crowd is batch pods that are all alike but for what they have done. A new slice here too.
	crowd := func(w *traces.World, set func(*qos.BatchPod)) {
		w.State.BatchPods = slices.Clone(w.State.BatchPods)
		for i := range w.State.BatchPods {
			set(&w.State.BatchPods[i])
		}
	}
	crowdColumns := map[string]func(*traces.World, string) error{
		"crowd pods": func(w *traces.World, cell string) error {
			n, err := traces.Number(cell)
			was, all := w.State.BatchPods, make([]qos.BatchPod, 0, n.Value)
			for i := 300 - n.Value; i < 300; i++ { // those that have done the least end first
				name := fmt.Sprintf("crowd%03d", i)
				b := qos.BatchPod{UID: name, Namespace: "batch", Name: name, RequestMilliCPU: 200, DoneCPUMicros: usage.Of((i + 1) * 1e6)}
				if k := slices.IndexFunc(was, func(b qos.BatchPod) bool { return b.UID == name }); k >= 0 {
					b = was[k]
				}
				all = append(all, b)
			}
			w.State.BatchPods = all
			return err
		},
		"crowd got mCPU": func(w *traces.World, cell string) error {
			n, err := traces.Number(cell)
			crowd(w, func(b *qos.BatchPod) { b.MilliCPU = n })
			return err
		},
		"crowd waits ‰": func(w *traces.World, cell string) error {
			n, err := traces.Number(cell)
			crowd(w, func(b *qos.BatchPod) { b.CPUSomePermille = n })
			return err
		},
	}
	traces.Runner{Factory: Factory(), Columns: crowdColumns, PodColumns: map[string]func(*traces.World, *traces.Pod, string) error{
		"lent mCPU": func(w *traces.World, p *traces.Pod, cell string) error {
			if cell == "gone" {
				w.State.BatchPods = slices.DeleteFunc(slices.Clone(w.State.BatchPods), func(b qos.BatchPod) bool { return b.UID == p.Name })
				return nil
			}
			n, err := traces.Number(cell)
			of(w, p, func(b *qos.BatchPod) { b.RequestMilliCPU = n.Value })
			return err
		},
		"got mCPU": reading(func(b *qos.BatchPod, n usage.Reading) { b.MilliCPU = n }),
		"waits ‰":  reading(func(b *qos.BatchPod, n usage.Reading) { b.CPUSomePermille = n }),
		"done s": reading(func(b *qos.BatchPod, n usage.Reading) {
			b.DoneCPUMicros = usage.Reading{Value: n.Value * 1e6, OK: n.OK}
		}),
	}}.Run(t)
}
