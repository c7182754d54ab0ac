package runtimehook

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/containerd/nri/pkg/api"
)

// BenchmarkCreation is what the runtime's side of NRI takes to ask about the creation of a batch container, with the
// hook connected over its socket and without it, by turns. test/cluster measures whole creations.
func BenchmarkCreation(b *testing.B) {
	with, without := startRuntime(b, socketDir(b)), startRuntime(b, socketDir(b))
	defer with.Stop()
	defer without.Stop()
	runHook(b, with, nil)
	took := map[*aRuntime][]time.Duration{}
	i := 0
	for b.Loop() {
		i++
		for _, r := range []*aRuntime{with, without} {
			id := fmt.Sprint("c", i)
			begin := time.Now()
			if _, err := r.create(b, batchPod(), id); err != nil {
				b.Fatal(err)
			}
			took[r] = append(took[r], time.Since(begin))
			container := &api.Container{Id: id, PodSandboxId: "s1", Name: "work"}
			if err := r.PostCreateContainer(b.Context(), &api.PostCreateContainerRequest{Pod: batchPod(), Container: container}); err != nil {
				b.Fatal(err)
			}
		}
	}
	for _, percent := range []int{50, 99} {
		at := func(d []time.Duration) time.Duration { slices.Sort(d); return d[(len(d)-1)*percent/100] }
		b.ReportMetric(float64((at(took[with]) - at(took[without])).Microseconds()), fmt.Sprintf("added-p%d-us", percent))
	}
}
