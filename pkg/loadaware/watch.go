package loadaware

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/wait"
	apiwatch "k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	"github.com/plimsoll/plimsoll/pkg/api/v1alpha1"
)

// newRESTClient returns a client for the kinds of v1alpha1, on the scheduler's own connection settings. It tells the
// date of each response.
func newRESTClient(config *rest.Config, date func(time.Time)) (*rest.RESTClient, error) {
	gv := v1alpha1.NodeUtilizationResource().GroupVersion()
	scheme := runtime.NewScheme()
	scheme.AddKnownTypes(gv, &v1alpha1.NodeUtilization{}, &v1alpha1.NodeUtilizationList{})
	metav1.AddToGroupVersion(scheme, gv)

	c := rest.CopyConfig(config)
	c.Wrap(func(next http.RoundTripper) http.RoundTripper { return dateReader{next, date} })
	c.GroupVersion = &gv
	c.APIPath = "/apis"
	c.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()
	// The scheduler's own setting is protobuf, which custom resources do not have.
	c.ContentType = runtime.ContentTypeJSON
	c.AcceptContentTypes = runtime.ContentTypeJSON
	return rest.RESTClientFor(c)
}

// follow keeps the store up to date until ctx ends. That NodeUtilization is not served yet is no
// failure: the store stays empty, and is filled once the kind appears.
func follow(ctx context.Context, client rest.Interface, s *store) {
	reflector := cache.NewReflectorWithOptions(listWatch(client), &v1alpha1.NodeUtilization{}, s, cache.ReflectorOptions{Name: Name})
	// The reflector's own loop would log an error at each try for as long as the CRD is missing.
	backoff := wait.Backoff{Duration: time.Second, Factor: 2, Steps: 4, Cap: 8 * time.Second, Jitter: 0.2}
	logged := ""
	_ = backoff.DelayWithReset(clock.RealClock{}, 2*time.Minute).Until(ctx, true, true, func(ctx context.Context) (bool, error) {
		logged = logOnce(klog.FromContext(ctx), reflector.ListAndWatchWithContext(ctx), logged)
		return false, nil
	})
}

// listWatch lists as client-go does, and watches with a decoder of our own.
func listWatch(client rest.Interface) *cache.ListWatch {
	resource := v1alpha1.NodeUtilizationResource().Resource
	lw := cache.NewListWatchFromClient(client, resource, metav1.NamespaceAll, fields.Everything())
	lw.WatchFunc = nil //nolint:staticcheck // or callers without a context would still get client-go's own
	lw.WatchFuncWithContext = func(ctx context.Context, options metav1.ListOptions) (apiwatch.Interface, error) {
		options.Watch = true
		request := client.Get().Resource(resource).VersionedParams(&options, metav1.ParameterCodec)
		if options.TimeoutSeconds != nil {
			request = request.Timeout(time.Duration(*options.TimeoutSeconds) * time.Second)
		}
		body, err := request.Stream(ctx)
		if err != nil {
			return nil, err
		}
		reporter := apierrors.NewClientErrorReporter(http.StatusInternalServerError, http.MethodGet, "ClientWatchDecoding")
		return apiwatch.NewStreamWatcherWithLogger(klog.FromContext(ctx), newEventDecoder(body), reporter), nil
	}
	return lw
}

// logOnce logs why a watch ended, unless that is what was logged last. It returns what was logged last.
func logOnce(logger klog.Logger, err error, logged string) string {
	var tooShort *cache.VeryShortWatchError
	switch {
	case err == nil, errors.Is(err, io.EOF), apierrors.IsResourceExpired(err), apierrors.IsGone(err), errors.As(err, &tooShort):
		logger.V(4).Info("Watch of NodeUtilization ended", "err", err)
		return ""
	case err.Error() == logged:
		return logged
	case apierrors.IsNotFound(err):
		logger.Info("NodeUtilization is not served by this API server: nodes are scored by requests until its CRD is installed", "crd", v1alpha1.NodeUtilizationResource().GroupResource())
	default:
		logger.Error(err, "Cannot watch NodeUtilization: nodes are scored by requests as their measurements grow stale")
	}
	return err.Error()
}

// store turns what the API server sends into Snapshots. It is the reflector's only store: the objects
// themselves are not kept. One goroutine writes, any number read current.
type store struct {
	current atomic.Pointer[Snapshot]
	history *history
	records *records
	metrics *metrics
	now     func() time.Time
	logger  klog.Logger
	server  serverClock

	mu       sync.Mutex // held by writers
	profiles []*Plugin
	rejected sets.Set[string] // nodes whose last NodeUtilization made no sense, so that it is logged once
	skewed   sets.Set[string] // nodes whose clock is off, likewise
	synced   bool
}

var _ cache.ReflectorStore = &store{}

func newStore(logger klog.Logger, now func() time.Time) *store {
	s := &store{
		history: newHistory(), records: newRecords(), metrics: newMetrics(),
		now: now, logger: logger, rejected: sets.New[string](), skewed: sets.New[string](),
	}
	s.current.Store(newSnapshot())
	return s
}

// join adds a profile that reads the store, and says which one it is.
func (s *store) join(p *Plugin) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.profiles = append(s.profiles, p)
	return len(s.profiles) - 1
}

// Add takes in a NodeUtilization, new or changed.
func (s *store) Add(obj any) error {
	u, err := asNodeUtilization(obj)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.server.wrote(writtenAt(u.ManagedFields), s.now())
	current := s.current.Load()
	before := current.View(u.Name)
	after := s.accept(u, before)
	s.replace(current.with(u.Name, after), before, after)
	return nil
}

// Update is Add: views are compared by their own times.
func (s *store) Update(obj any) error { return s.Add(obj) }

// Delete forgets a node.
func (s *store) Delete(obj any) error {
	u, err := asNodeUtilization(obj)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rejected.Delete(u.Name)
	s.skewed.Delete(u.Name)
	current := s.current.Load()
	before := current.View(u.Name)
	s.replace(current.with(u.Name, nil), before, nil)
	return nil
}

// Replace takes in the list of all NodeUtilizations and forgets every other node. What is known of
// the clocks of the nodes in it lives on.
func (s *store) Replace(list []any, _ string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	current := s.current.Load()
	next := newSnapshot()
	next.sequence = current.sequence + 1
	for _, obj := range list {
		u, err := asNodeUtilization(obj)
		if err != nil {
			return err
		}
		if v := s.accept(u, current.View(u.Name)); v != nil {
			next.set(u.Name, v)
		}
	}
	s.current.Store(next)
	current.each(func(name string, before *View) {
		before.replaced(next, s.profiles)
		s.derive(before, next.View(name))
	})
	next.each(func(name string, after *View) {
		if current.View(name) == nil {
			s.derive(nil, after)
		}
	})
	if !s.synced {
		s.synced = true
		s.logger.Info("Reading NodeUtilization", "nodes", len(list))
	}
	return nil
}

// Resync has nothing to do: nothing is derived from the views that could be lost.
func (s *store) Resync() error { return nil }

// replace makes next the current Snapshot, in which one node has the View after instead of before.
func (s *store) replace(next *Snapshot, before, after *View) {
	s.current.Store(next)
	if before != nil {
		before.replaced(next, s.profiles)
	}
	s.derive(before, after)
}

// derive lets what is derived from the Views follow a change of one.
func (s *store) derive(before, after *View) {
	if before == nil && after == nil {
		return
	}
	s.history.replace(before, after)
	now := s.now()
	for _, p := range s.profiles {
		p.waiting.changed(s.logger, before, after, now)
	}
	if after != nil && len(s.profiles) > 0 {
		s.metrics.compare(s.records, after, s.profiles[0].args.MaturityMilliseconds)
	}
}

// accept returns the View of u, or nil if there is nothing in u yet or it makes no sense: the node then
// counts as not measured. before is the node's View until now.
func (s *store) accept(u *v1alpha1.NodeUtilization, before *View) *View {
	if u.Status.ObservedTime.IsZero() {
		return nil // created; its status is written in a second step
	}
	now := s.now()
	v, err := newView(u, now, before, s.server.offset(now), len(s.profiles))
	if err != nil {
		s.metrics.views.WithLabelValues("Refused").Inc()
		if !s.rejected.Has(u.Name) {
			s.rejected.Insert(u.Name)
			s.logger.Error(err, "Ignoring a NodeUtilization that makes no sense: the node is scored by requests", "node", u.Name)
		}
		return nil
	}
	s.metrics.views.WithLabelValues("Taken").Inc()
	s.rejected.Delete(u.Name)
	s.noteSkew(u.Name, v)
	return v
}

// noteSkew tells once of a node whose clock is off. Its measurements count all the same.
func (s *store) noteSkew(node string, v *View) {
	off := v.skew() > notableSkew || v.skew() < -notableSkew
	if off && !s.skewed.Has(node) {
		s.skewed.Insert(node)
		s.logger.Info("The clock of a node differs from the API server's; its measurements count by the latter", "node", node, "behind", v.skew())
	} else if !off {
		s.skewed.Delete(node)
	}
	s.metrics.skewed.Set(float64(s.skewed.Len()))
}

func asNodeUtilization(obj any) (*v1alpha1.NodeUtilization, error) {
	u, ok := obj.(*v1alpha1.NodeUtilization)
	if !ok {
		return nil, fmt.Errorf("taking in a watched object: want a NodeUtilization, got %T", obj)
	}
	return u, nil
}
