package loadaware

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"

	"github.com/plimsoll/plimsoll/pkg/api/v1alpha1"
)

// full is a NodeUtilization as an agent on a node of 30 pods publishes it.
func full(i int, observed time.Time) *v1alpha1.NodeUtilization {
	u := utilization(fmt.Sprintf("node-%04d.cluster.example", i), observed, int64(1000+i%1000))
	u.TypeMeta = metav1.TypeMeta{APIVersion: v1alpha1.APIVersion, Kind: v1alpha1.KindNodeUtilization}
	u.ResourceVersion = fmt.Sprint(1000 + i)
	u.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: u.Name, UID: types.UID(fmt.Sprint("node ", i))}}
	pressure := int32(12)
	s := &u.Status
	s.WindowMilliseconds = 10_000
	s.Capacity = v1alpha1.Resources{MilliCPU: 8000, MemoryBytes: 32 << 30}
	spread := v1alpha1.Distribution{Mean: 1000, P50: 990, P95: 1400, P99: 1500, Max: 1600}
	for _, class := range []v1alpha1.Class{v1alpha1.ClassSystem, v1alpha1.ClassLatencySensitive, v1alpha1.ClassBatch} {
		c := v1alpha1.ClassUtilization{Class: class, Pods: 10, Resources: v1alpha1.Resources{MilliCPU: 300, MemoryBytes: 1 << 30}, Pressure: &v1alpha1.Pressure{CPUSomePermille: &pressure}}
		for _, w := range []int32{10, 60, 300, 3600} {
			c.Windows = append(c.Windows, v1alpha1.WindowUtilization{WindowSeconds: w, MilliCPU: spread, MemoryBytes: spread})
		}
		s.Classes = append(s.Classes, c)
	}
	for j := range 30 {
		s.Pods = append(s.Pods, v1alpha1.PodUtilization{
			UID: string(uidOf(i, j)), Namespace: "payments", Name: fmt.Sprintf("web-%d-5d4f8c7b9-abcde", j), Class: v1alpha1.ClassLatencySensitive,
			MeasuredMilliseconds: 60_000, Resources: v1alpha1.Resources{MilliCPU: int64(j), MemoryBytes: 100 << 20}, Pressure: &v1alpha1.Pressure{CPUSomePermille: &pressure},
		})
	}
	for j := range 10 {
		s.Workloads = append(s.Workloads, service(fmt.Sprint("payments/Deployment/web-", j), 3, 8, 20, 10, 40))
	}
	s.Forecast = steps(observed.Truncate(15*time.Minute), 15*time.Minute, 96, daily(8, 20, 1000, 3000))
	s.CgroupMode, s.KernelVersion = "v2", "6.18.5"
	s.Strategies = []v1alpha1.StrategyStatus{{Name: "batchidle", Mode: v1alpha1.ModeEnforce}}
	s.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionBatchProtected, Status: metav1.ConditionTrue, Reason: "Applied", Message: "cpu.idle is set"}}
	return u
}

func eventJSON(t testing.TB, kind watch.EventType, object any) []byte {
	t.Helper()
	raw, err := json.Marshal(struct { // in the API server's order
		Type   watch.EventType `json:"type"`
		Object any             `json:"object"`
	}{kind, object})
	if err != nil {
		t.Fatal(err)
	}
	return append(raw, '\n')
}

func TestTheFastDecoderMakesTheSameViewAsTheOrdinaryOne(t *testing.T) {
	original := full(7, at(0))
	d := newEventDecoder(io.NopCloser(bytes.NewReader(eventJSON(t, watch.Modified, original))))
	kind, object, err := d.Decode()
	if err != nil || kind != watch.Modified {
		t.Fatalf("kind %q, error %v", kind, err)
	}
	got, want := object.(*v1alpha1.NodeUtilization), original
	if got.ResourceVersion != want.ResourceVersion {
		t.Errorf("resource version = %q, want %q", got.ResourceVersion, want.ResourceVersion)
	}
	gotView, err := newView(got, at(0), nil, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	wantView, err := newView(want, at(0), nil, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	compare := cmp.Options{cmp.AllowUnexported(View{}, podUse{}, forecast{}, workload{}, clockOffset{}), cmp.FilterPath(func(p cmp.Path) bool { return p.Last().String() == ".died" }, cmp.Ignore()), cmp.Transformer("pods", func(m map[types.UID]podUse) string { return fmt.Sprint(m) })}
	if d := cmp.Diff(wantView, gotView, compare); d != "" {
		t.Errorf("view (-want +got):\n%s", d)
	}
	if _, _, err := d.Decode(); !errors.Is(err, io.EOF) {
		t.Errorf("after the last event: %v, want io.EOF", err)
	}
}

func TestTheDecoderSurvivesWhatItDoesNotUnderstand(t *testing.T) {
	const head = `{"type":"MODIFIED","object":{"metadata":{"name":"n1","uid":"u","resourceVersion":"5"},"status":`
	tests := map[string]struct {
		in        string
		wantType  watch.EventType
		wantName  string
		wantKnown bool
		wantError string
	}{
		"a number beyond its type":  {head + `{"observedTime":"2026-01-02T03:04:05.000000Z","node":{"milliCPU":1e400}}}}`, watch.Modified, "n1", false, ""},
		"a word for a number":       {head + `{"observedTime":"2026-01-02T03:04:05.000000Z","node":{"milliCPU":"NaN"}}}}`, watch.Modified, "n1", false, ""},
		"a fraction":                {head + `{"observedTime":"2026-01-02T03:04:05.000000Z","node":{"milliCPU":1.5}}}}`, watch.Modified, "n1", false, ""},
		"a time that is none":       {head + `{"observedTime":"yesterday"}}}`, watch.Modified, "n1", false, ""},
		"fields of a later version": {head + `{"observedTime":"2026-01-02T03:04:05.000000Z","node":{"milliCPU":1,"gpu":2},"later":[{}]}}}`, watch.Modified, "n1", true, ""},
		"a null status":             {head + `null}}`, watch.Modified, "n1", false, ""},
		"a bookmark":                {`{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"9","annotations":{"k8s.io/initial-events-end":"true"}}}}`, watch.Bookmark, "", false, ""},
		"an object that is none":    {`{"type":"ADDED","object":[1]}`, "", "", false, "NodeUtilization"},
		"half an event":             {`{"type":"ADDED","obj`, "", "", false, "decoding an event"},
		"an event that is none":     {`[]`, "", "", false, "decoding an event"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			kind, object, err := newEventDecoder(io.NopCloser(strings.NewReader(tt.in))).Decode()
			if tt.wantError != "" {
				if err == nil || !strings.Contains(err.Error(), tt.wantError) {
					t.Fatalf("error = %v, want one with %q", err, tt.wantError)
				}
				return
			}
			if err != nil || kind != tt.wantType {
				t.Fatalf("type %q, error %v; want %q", kind, err, tt.wantType)
			}
			u := object.(*v1alpha1.NodeUtilization)
			if u.Name != tt.wantName || u.Status.ObservedTime.IsZero() == tt.wantKnown || u.ResourceVersion == "" {
				t.Errorf("object = %+v", u)
			}
		})
	}
	kind, object, err := newEventDecoder(io.NopCloser(strings.NewReader(`{"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired","status":"Failure"}}`))).Decode()
	if status, ok := object.(*metav1.Status); err != nil || kind != watch.Error || !ok || status.Code != http.StatusGone {
		t.Errorf("an error of the server: %q, %+v, %v", kind, object, err)
	}
}

// roundTripper answers a list with nothing and a watch with events that never end before n of them.
type roundTripper struct{ body io.ReadCloser }

func (r roundTripper) RoundTrip(request *http.Request) (*http.Response, error) {
	body := r.body
	if request.URL.Query().Get("watch") == "" {
		body = io.NopCloser(strings.NewReader(`{"kind":"NodeUtilizationList","apiVersion":"plimsoll.dev/v1alpha1","metadata":{"resourceVersion":"1"},"items":[]}`))
	} else if request.URL.Query().Get("sendInitialEvents") != "" {
		return &http.Response{StatusCode: http.StatusUnprocessableEntity, Body: io.NopCloser(strings.NewReader("")), Header: http.Header{}, Request: request}, nil
	}
	return &http.Response{StatusCode: http.StatusOK, Body: body, Header: http.Header{"Content-Type": {"application/json"}}, Request: request}, nil
}

// One iteration is one NodeUtilization of 30 pods from the bytes of the watch to the snapshot, with 5,000
// nodes known: the reflector, the decoder, the View, the history of its workloads. TLS is not in it.
func BenchmarkWatchToSnapshotOf5000Nodes(b *testing.B) {
	const nodes = 5000
	bed := newTestbed(b, nil)
	reader, writer := io.Pipe()
	config := &rest.Config{Host: "http://127.0.0.1", Transport: roundTripper{reader}, QPS: -1}
	client, err := newRESTClient(config, func(time.Time) {})
	if err != nil {
		b.Fatal(err)
	}
	var events [][]byte
	for i := range nodes {
		events = append(events, eventJSON(b, watch.Modified, full(i, at(0))))
		mustAdd(b, bed.store, full(i, at(-1)))
	}
	ctx, cancel := context.WithCancel(klog.NewContext(b.Context(), klog.Background()))
	defer cancel()
	go follow(ctx, client, bed.store)
	b.ReportAllocs()
	b.SetBytes(int64(len(events[0])))
	i := 0
	for b.Loop() {
		if _, err := writer.Write(events[i%nodes]); err != nil {
			b.Fatal(err)
		}
		i++
	}
	// The last one arrives when its node's measurement is the one that was sent: at(0) and not at(-1).
	last := fmt.Sprintf("node-%04d.cluster.example", (i-1)%nodes)
	for !bed.snapshot.Load().View(last).observed.Equal(at(0)) {
		runtime.Gosched()
	}
}
