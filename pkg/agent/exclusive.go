package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
	podresources "k8s.io/kubelet/pkg/apis/podresources/v1"
)

const (
	// exclusiveEvery is how often the kubelet is asked which CPUs are exclusive, exclusivePatience how long it may
	// take to answer, and exclusiveFresh how long an answer holds: a kubelet that restarts takes some seconds.
	exclusiveEvery    = 2 * time.Second
	exclusivePatience = time.Second
	exclusiveFresh    = 15 * time.Second
)

// exclusiveWatch asks the kubelet which CPUs its static CPU manager gave to containers for them alone. It asks the
// pod-resources API, whose socket has a folder of its own: the state file that has the same in it lies among all pods'
// secrets, and is replaced at each change, so that it cannot be mounted alone.
type exclusiveWatch struct {
	socket string
	latest atomic.Pointer[exclusiveCPUs]
	log    *slog.Logger
	// problem is why the last question failed: it is told of once.
	problem string
}

// exclusiveCPUs is the kubelet's last answer, or why there is none.
type exclusiveCPUs struct {
	cpus []int
	at   time.Time
	err  error
}

// cpus is the exclusive CPUs by an answer that is fresh enough.
func (w *exclusiveWatch) cpus(now time.Time) ([]int, error) {
	a := w.latest.Load()
	switch {
	case a == nil:
		return nil, errors.New("the kubelet was not asked yet which CPUs are exclusive")
	case !a.at.IsZero() && now.Sub(a.at) < exclusiveFresh && now.Sub(a.at) > -exclusiveFresh:
		return a.cpus, nil
	case a.err != nil:
		return nil, a.err
	default:
		return nil, errors.New("the kubelet's last answer which CPUs are exclusive is too old")
	}
}

// run asks until ctx ends. The first answer, or failure, closes asked.
func (w *exclusiveWatch) run(ctx context.Context, asked chan<- struct{}) {
	conn, err := grpc.NewClient("unix://"+w.socket, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: backoff.Config{BaseDelay: exclusiveEvery, Multiplier: 1, MaxDelay: exclusiveEvery}}))
	if err != nil { // the socket's name is no address
		w.latest.Store(&exclusiveCPUs{err: err})
		close(asked)
		return
	}
	defer func() { _ = conn.Close() }()
	client := podresources.NewPodResourcesListerClient(conn)
	ticker := time.NewTicker(exclusiveEvery)
	defer ticker.Stop()
	for first := true; ; first = false {
		w.ask(ctx, client)
		if first {
			close(asked)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

func (w *exclusiveWatch) ask(ctx context.Context, client podresources.PodResourcesListerClient) {
	ctx, cancel := context.WithTimeout(ctx, exclusivePatience)
	defer cancel()
	answer, err := client.List(ctx, &podresources.ListPodResourcesRequest{})
	if err == nil {
		w.problem = ""
		w.latest.Store(&exclusiveCPUs{cpus: exclusiveOf(answer), at: time.Now()})
		return
	}
	if _, statErr := os.Stat(w.socket); statErr != nil {
		err = statErr
	}
	err = fmt.Errorf("asking the kubelet at %s which CPUs are exclusive (manifests/components/cpuset mounts it): %w", w.socket, err)
	next := exclusiveCPUs{err: err}
	if was := w.latest.Load(); was != nil {
		next.cpus, next.at = was.cpus, was.at
	}
	w.latest.Store(&next)
	if w.problem != err.Error() {
		w.log.Warn("not known which CPUs are exclusive", "error", err)
		w.problem = err.Error()
	}
}

// exclusiveOf is the CPUs of all containers in an answer. One that shares its CPUs has none there.
func exclusiveOf(answer *podresources.ListPodResourcesResponse) []int {
	var cpus []int
	for _, p := range answer.GetPodResources() {
		for _, c := range p.GetContainers() {
			for _, id := range c.GetCpuIds() {
				cpus = append(cpus, int(id))
			}
		}
	}
	slices.Sort(cpus)
	return slices.Compact(cpus)
}
