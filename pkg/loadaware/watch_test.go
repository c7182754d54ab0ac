package loadaware

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
	"k8s.io/klog/v2/ktesting"

	"github.com/plimsoll/plimsoll/pkg/api/v1alpha1"
)

// fakeAPI serves NodeUtilization once installed is set, and 404 before.
type fakeAPI struct {
	mu        sync.Mutex
	installed bool
	requests  int
	items     []v1alpha1.NodeUtilization
	events    chan v1alpha1.NodeUtilization
}

func (f *fakeAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	installed, items := f.installed, f.items
	f.requests++
	f.mu.Unlock()
	query := r.URL.Query()
	switch {
	case r.URL.Path != "/apis/plimsoll.dev/v1alpha1/nodeutilizations":
		http.Error(w, "unexpected path "+r.URL.Path, http.StatusTeapot)
	case !installed:
		http.NotFound(w, r)
	case query.Get("watch") == "":
		w.Header().Set("Content-Type", "application/json")
		list := v1alpha1.NodeUtilizationList{Items: items}
		list.APIVersion, list.Kind, list.ResourceVersion = v1alpha1.APIVersion, "NodeUtilizationList", "10"
		_ = json.NewEncoder(w).Encode(list)
	case query.Get("sendInitialEvents") != "":
		http.Error(w, "streaming lists are off", http.StatusUnprocessableEntity)
	default:
		w.Header().Set("Content-Type", "application/json")
		w.(http.Flusher).Flush()
		for {
			select {
			case u := <-f.events:
				raw, _ := json.Marshal(u)
				fmt.Fprintf(w, `{"type":"MODIFIED","object":%s}`+"\n", raw)
				w.(http.Flusher).Flush()
			case <-r.Context().Done():
				return
			}
		}
	}
}

func typed(u *v1alpha1.NodeUtilization, resourceVersion string) v1alpha1.NodeUtilization {
	u.TypeMeta = metav1.TypeMeta{APIVersion: v1alpha1.APIVersion, Kind: v1alpha1.KindNodeUtilization}
	u.ResourceVersion = resourceVersion
	return *u
}

func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	err := wait.PollUntilContextTimeout(t.Context(), 5*time.Millisecond, 30*time.Second, true, func(context.Context) (bool, error) {
		return condition(), nil
	})
	if err != nil {
		t.Fatalf("waiting for %s: %v", what, err)
	}
}

func TestWatchStartsBeforeTheKindExistsAndPicksItUp(t *testing.T) {
	api := &fakeAPI{events: make(chan v1alpha1.NodeUtilization)}
	server := httptest.NewServer(api)
	defer server.Close()
	client, err := newRESTClient(&rest.Config{Host: server.URL, ContentConfig: rest.ContentConfig{ContentType: "application/vnd.kubernetes.protobuf"}}, func(time.Time) {})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(klog.NewContext(t.Context(), klog.Background()))
	s := newStore(klog.Background(), time.Now)
	var wg sync.WaitGroup
	wg.Go(func() { follow(ctx, client, s) })
	defer wg.Wait()
	defer cancel()

	eventually(t, "a refused request", func() bool {
		api.mu.Lock()
		defer api.mu.Unlock()
		return api.requests > 0
	})
	if v := s.current.Load().View("n1"); v != nil {
		t.Fatalf("view before the kind exists = %+v", v)
	}
	api.mu.Lock()
	api.installed = true
	api.items = []v1alpha1.NodeUtilization{typed(utilization("n1", time.Now(), 700), "9")}
	api.mu.Unlock()
	eventually(t, "the listed node", func() bool { return s.current.Load().View("n1").onlineMilliCPU() == 700 })

	api.events <- typed(utilization("n1", time.Now(), 900), "11")
	eventually(t, "the changed node", func() bool { return s.current.Load().View("n1").onlineMilliCPU() == 900 })
}

func TestFailuresOfTheWatchAreLoggedOnce(t *testing.T) {
	logger := ktesting.NewLogger(t, ktesting.NewConfig(ktesting.BufferLogs(true)))
	buffer := logger.GetSink().(ktesting.Underlier).GetBuffer()
	missing := fmt.Errorf("failed to list: %w", apierrors.NewNotFound(v1alpha1.NodeUtilizationResource().GroupResource(), ""))
	down := errors.New("connection refused")

	logged := ""
	for _, err := range []error{missing, missing, missing, down, down, missing, nil, io.EOF, missing} {
		logged = logOnce(logger, err, logged)
	}
	out := buffer.String()
	if got, want := strings.Count(out, "is not served by this API server"), 3; got != want {
		t.Errorf("the missing kind is logged %d times, want %d:\n%s", got, want, out)
	}
	if got, want := strings.Count(out, "Cannot watch NodeUtilization"), 1; got != want {
		t.Errorf("the failure is logged %d times, want %d:\n%s", got, want, out)
	}
}
