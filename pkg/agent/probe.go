package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/plimsoll/plimsoll/pkg/actuate/probe"
	"github.com/plimsoll/plimsoll/pkg/api/v1alpha1"
	"github.com/plimsoll/plimsoll/pkg/cgroup"
)

// Probe finds out what this node's kernel can do, in a scratch group of its own. It needs no kubelet.
func Probe(ctx context.Context, o Options) ([]probe.Result, error) {
	host, err := cgroup.Detect(o.ProcRoot, o.CgroupRoot, o.KubeletCgroupRoot)
	if errors.Is(err, cgroup.ErrNoKubepods) {
		host, err = cgroup.DetectWithoutKubelet(o.ProcRoot, o.CgroupRoot, o.KubeletCgroupRoot)
	}
	if err != nil {
		return nil, fmt.Errorf("probing: %w", err)
	}
	return probe.Run(ctx, probe.Options{Host: host, Task: o.ProbeTask})
}

// A node may be too busy to tell whether cpu.idle shields; it is tried again later, but not for ever.
const (
	probeAgain  = 10 * time.Minute
	mostProbing = 6
)

// probeHost finds out what the host can do, for publishing, and tries again while the node was too busy to tell.
func (l *loop) probeHost(ctx context.Context, task []string) {
	for range mostProbing {
		results, err := probe.Run(ctx, probe.Options{Host: l.sensor.host, Task: task})
		if err != nil {
			l.log.Error("probing what this host can do", "error", err)
		}
		if len(results) > 0 {
			found := capabilities(results)
			l.capabilities.Store(&found)
		}
		known := !slices.ContainsFunc(results, func(r probe.Result) bool {
			return r.Name == probe.FeatureShields && r.State == probe.Unknown // what cannot be tried at all stays unknown
		})
		if err == nil && known {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(probeAgain):
		}
	}
}

// capabilities is what is published of a probe's results.
func capabilities(results []probe.Result) []v1alpha1.Capability {
	const most = 256 // of the schema
	published := make([]v1alpha1.Capability, 0, len(results))
	for _, r := range results {
		published = append(published, v1alpha1.Capability{
			Name: r.Name, State: v1alpha1.CapabilityState(r.State), Detail: clipText(r.Detail, most),
		})
	}
	return published
}
