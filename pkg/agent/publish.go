package agent

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"

	"github.com/plimsoll/plimsoll/pkg/api/v1alpha1"
)

const (
	// publishTimeout bounds one write to the API server.
	publishTimeout = 10 * time.Second
	// firstPause and lastPause are the time to the next write after one that failed; it doubles each time.
	firstPause, lastPause = time.Second, 30 * time.Second
)

// publisher writes this node's NodeUtilization. Offer never waits for the API server: while a write is
// under way the newest status replaces any older one that waits.
type publisher struct {
	nodeName string
	client   rest.Interface
	core     rest.Interface
	metrics  *metrics
	log      *slog.Logger

	waiting chan *v1alpha1.NodeUtilizationStatus
	// written is what readers last got, nil before the first write.
	written atomic.Pointer[writtenStatus]
	// version is the resourceVersion that the next write is based on; only run uses it.
	version string
}

type writtenStatus struct {
	at     time.Time
	status *v1alpha1.NodeUtilizationStatus
}

func newPublisher(kube *rest.Config, nodeName string, m *metrics, log *slog.Logger) (*publisher, error) {
	client, err := restClient(kube, "/apis", schema.GroupVersion{Group: v1alpha1.GroupName, Version: v1alpha1.Version})
	if err != nil {
		return nil, err
	}
	core, err := restClient(kube, "/api", schema.GroupVersion{Version: "v1"})
	if err != nil {
		return nil, err
	}
	return &publisher{nodeName: nodeName, client: client, core: core, metrics: m, log: log,
		waiting: make(chan *v1alpha1.NodeUtilizationStatus, 1)}, nil
}

// restClient reaches one API group. Bodies are JSON that this package makes itself.
func restClient(kube *rest.Config, apiPath string, gv schema.GroupVersion) (rest.Interface, error) {
	c := rest.CopyConfig(kube)
	c.APIPath, c.GroupVersion = apiPath, &gv
	c.NegotiatedSerializer = scheme.Codecs.WithoutConversion()
	c.ContentType, c.AcceptContentTypes = "application/json", "application/json"
	client, err := rest.RESTClientFor(c)
	if err != nil {
		return nil, fmt.Errorf("making a client for %s: %w", gv, err)
	}
	return client, nil
}

// last returns what readers last got and when; nil before the first write.
func (p *publisher) last() (*v1alpha1.NodeUtilizationStatus, time.Time) {
	w := p.written.Load()
	if w == nil {
		return nil, time.Time{}
	}
	return w.status, w.at
}

// offer hands over a status that must not be changed afterwards.
func (p *publisher) offer(s *v1alpha1.NodeUtilizationStatus) {
	select {
	case <-p.waiting:
	default:
	}
	p.waiting <- s // only this goroutine sends, so there is room
}

// run writes what is offered until ctx ends. While writes fail it pauses between them, and then writes
// the newest status.
func (p *publisher) run(ctx context.Context) {
	pause := firstPause
	for {
		select {
		case <-ctx.Done():
			return
		case s := <-p.waiting:
			started := time.Now()
			if err := p.write(ctx, s); err != nil {
				if ctx.Err() != nil {
					return
				}
				p.version = ""
				p.metrics.publishes.WithLabelValues("error").Inc()
				p.log.Error("writing NodeUtilization", "node", p.nodeName, "error", err, "retryIn", pause)
				select {
				case <-ctx.Done():
				case <-time.After(pause):
				}
				pause = min(2*pause, lastPause)
				continue
			}
			pause = firstPause
			p.metrics.publishes.WithLabelValues("ok").Inc()
			p.metrics.publishSeconds.Observe(time.Since(started).Seconds())
			p.written.Store(&writtenStatus{at: started, status: s})
		}
	}
}

// write replaces the status. The object is made when it is missing; when somebody else wrote it the
// newest version is taken and written over: this agent is its only author.
func (p *publisher) write(ctx context.Context, s *v1alpha1.NodeUtilizationStatus) error {
	ctx, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	var err error
	for range 3 {
		if p.version == "" {
			if p.version, err = p.ensure(ctx); err != nil {
				return err
			}
		}
		p.version, err = p.put(ctx, s, p.version)
		if err == nil || !apierrors.IsConflict(err) && !apierrors.IsNotFound(err) {
			return err
		}
		p.version = ""
	}
	return err
}

func (p *publisher) put(ctx context.Context, s *v1alpha1.NodeUtilizationStatus, version string) (string, error) {
	nu := p.object()
	nu.ResourceVersion, nu.Status = version, *s
	body, err := json.Marshal(nu)
	if err != nil {
		return "", fmt.Errorf("encoding NodeUtilization: %w", err)
	}
	raw, err := p.client.Put().Resource("nodeutilizations").Name(p.nodeName).SubResource("status").
		Param("fieldManager", v1alpha1.FieldManager).Param("fieldValidation", "Strict").
		SetHeader("Content-Type", "application/json").Body(body).Do(ctx).Raw()
	if err != nil {
		return "", fmt.Errorf("updating NodeUtilization %s: %w", p.nodeName, err)
	}
	return versionOf(raw)
}

// ensure returns the version of the object as it is now, and makes it, owned by the Node, if it is missing.
func (p *publisher) ensure(ctx context.Context) (string, error) {
	raw, err := p.client.Get().Resource("nodeutilizations").Name(p.nodeName).Do(ctx).Raw()
	if err == nil {
		return versionOf(raw)
	}
	if !apierrors.IsNotFound(err) {
		return "", fmt.Errorf("getting NodeUtilization %s: %w", p.nodeName, err)
	}
	raw, err = p.core.Get().Resource("nodes").Name(p.nodeName).Do(ctx).Raw()
	if err != nil {
		return "", fmt.Errorf("getting Node %s to own its NodeUtilization: %w", p.nodeName, err)
	}
	var node metav1.PartialObjectMetadata
	if err := json.Unmarshal(raw, &node); err != nil {
		return "", fmt.Errorf("decoding Node %s: %w", p.nodeName, err)
	}
	nu := p.object()
	nu.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: p.nodeName, UID: node.UID}}
	// Without its status: the required fields of a status are not known yet, so it is left out whole.
	body, err := json.Marshal(metav1.PartialObjectMetadata{TypeMeta: nu.TypeMeta, ObjectMeta: nu.ObjectMeta})
	if err != nil {
		return "", fmt.Errorf("encoding NodeUtilization: %w", err)
	}
	raw, err = p.client.Post().Resource("nodeutilizations").Param("fieldManager", v1alpha1.FieldManager).
		SetHeader("Content-Type", "application/json").Body(body).Do(ctx).Raw()
	if err != nil {
		return "", fmt.Errorf("creating NodeUtilization %s: %w", p.nodeName, err)
	}
	return versionOf(raw)
}

func (p *publisher) object() v1alpha1.NodeUtilization {
	return v1alpha1.NodeUtilization{
		TypeMeta:   metav1.TypeMeta{APIVersion: v1alpha1.APIVersion, Kind: v1alpha1.KindNodeUtilization},
		ObjectMeta: metav1.ObjectMeta{Name: p.nodeName},
	}
}

func versionOf(raw []byte) (string, error) {
	var meta metav1.PartialObjectMetadata
	if err := json.Unmarshal(raw, &meta); err != nil {
		return "", fmt.Errorf("decoding NodeUtilization: %w", err)
	}
	return meta.ResourceVersion, nil
}
