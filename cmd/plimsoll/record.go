package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"

	"github.com/plimsoll/plimsoll/pkg/api/v1alpha1"
	"github.com/plimsoll/plimsoll/pkg/history"
)

func recordCommand() *cobra.Command {
	var dir, poolLabel string
	var interval, retention time.Duration
	var count int
	c := &cobra.Command{
		Use:   "record --history FOLDER",
		Short: "Record what nodes and workloads use, for reports, where there is no Prometheus",
		Long: `Read the cluster at each --interval and keep what nodes and workloads ask for, use and lend in a Prometheus TSDB in a
folder, until interrupted. plimsoll report reads the folder, also meanwhile. Where there is a Prometheus, give
plimsoll report its address instead, and have it record the same series: manifests/monitoring.

Nodes that were not measured in the last four minutes are left out of a reading and named; a reading that fails is told of
and tried again at the next interval, so the history has a gap there and no made-up value.`,
		Args: cobra.NoArgs,
	}
	a := accessFlags(c)
	f := c.Flags()
	f.StringVar(&dir, "history", "", "folder of the history; made where it is missing")
	f.DurationVar(&interval, "interval", 5*time.Minute, "time between two readings, 1s to 1h; the --step of reports must not be shorter")
	f.DurationVar(&retention, "retention", 400*24*time.Hour, "what is older is removed")
	f.StringVar(&poolLabel, "pool-label", "plimsoll.dev/pool", "label of nodes that names their pool")
	f.IntVar(&count, "count", 0, "end after so many readings; 0 goes on until interrupted")
	c.RunE = func(cmd *cobra.Command, _ []string) (err error) {
		switch {
		case dir == "":
			return fmt.Errorf("--history: none given; give a folder")
		case interval < time.Second || interval > time.Hour:
			return fmt.Errorf("--interval %s: must be from 1s to 1h", interval)
		case retention < 24*time.Hour:
			return fmt.Errorf("--retention %s: must be 24h or more", retention)
		}
		look, err := newLooker(a, poolLabel)
		if err != nil {
			return err
		}
		recorder, err := history.OpenRecorder(dir, retention)
		if err != nil {
			return err
		}
		defer func() {
			if closing := recorder.Close(); err == nil {
				err = closing
			}
		}()
		return record(cmd.Context(), cmd.ErrOrStderr(), look, recorder, interval, count)
	}
	return c
}

// record reads and keeps at each interval until ctx ends, or count readings are done.
func record(ctx context.Context, told io.Writer, look *looker, recorder *history.Recorder, interval time.Duration, count int) error {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for done := 1; ; done++ {
		now := time.Now()
		seen, err := look.look(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			fmt.Fprintln(told, now.UTC().Format(time.RFC3339), "a gap in the history:", err)
		} else {
			points, left := seen.Points()
			if err := recorder.Append(ctx, seen.At, points); err != nil {
				return err
			}
			fmt.Fprintf(told, "%s recorded %d samples of %d nodes\n", now.UTC().Format(time.RFC3339), len(points), len(seen.Utilizations)-len(left))
			if len(left) > 0 {
				fmt.Fprintln(told, "not measured now, or by a clock that is far off:", strings.Join(left, ", "))
			}
		}
		if done == count {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// looker reads the cluster.
type looker struct {
	objects   dynamic.Interface
	core      kubernetes.Interface
	poolLabel string
}

func newLooker(a *access, poolLabel string) (*looker, error) {
	config, err := a.config()
	if err != nil {
		return nil, err
	}
	l := &looker{poolLabel: poolLabel}
	if l.objects, err = dynamic.NewForConfig(config); err != nil {
		return nil, fmt.Errorf("connecting to the API server: %w", err)
	}
	if l.core, err = kubernetes.NewForConfig(config); err != nil {
		return nil, fmt.Errorf("connecting to the API server: %w", err)
	}
	return l, nil
}

func (l *looker) look(ctx context.Context) (history.Seen, error) {
	seen := history.Seen{PoolLabel: l.poolLabel}
	cached := metav1.ListOptions{ResourceVersion: "0"}
	nodes, err := l.core.CoreV1().Nodes().List(ctx, cached)
	if err != nil {
		return seen, fmt.Errorf("reading nodes: %w", err)
	}
	pods, err := l.core.CoreV1().Pods(metav1.NamespaceAll).List(ctx, cached)
	if err != nil {
		return seen, fmt.Errorf("reading pods: %w", err)
	}
	list, err := l.objects.Resource(v1alpha1.NodeUtilizationResource()).List(ctx, cached)
	if err != nil {
		return seen, fmt.Errorf("reading NodeUtilizations: %w", err)
	}
	for i := range list.Items {
		var u v1alpha1.NodeUtilization
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(list.Items[i].Object, &u); err != nil {
			return seen, fmt.Errorf("decoding NodeUtilization %s: %w", list.Items[i].GetName(), err)
		}
		seen.Utilizations = append(seen.Utilizations, u)
	}
	seen.At, seen.Nodes, seen.Pods = time.Now(), nodes.Items, pods.Items
	return seen, nil
}
