package loadaware

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"

	"github.com/plimsoll/plimsoll/pkg/api/v1alpha1"
)

// writtenBy notes who wrote the status when, as the API server does.
func writtenBy(u *v1alpha1.NodeUtilization, manager, subresource string, when time.Time) *v1alpha1.NodeUtilization {
	stamp := metav1.NewTime(when.Truncate(time.Second))
	u.ManagedFields = append(u.ManagedFields, metav1.ManagedFieldsEntry{Manager: manager, Subresource: subresource, Time: &stamp})
	return u
}

// All times are in seconds: observed by the node's clock, written by the API server's, the rest by the scheduler's.
func TestAgeOfAMeasurementGoesByTheAPIServersClock(t *testing.T) {
	type event struct{ observed, written, received float64 }
	tests := map[string]struct {
		events       []event
		serverOffset float64 // of the scheduler's clock from the API server's
		now          float64
		want         float64 // age, within a second
		wantSkew     float64
	}{
		"equal clocks":                       {[]event{{0, 0, 0}}, 0, 7, 7, 0},
		"a clock behind, from the first on":  {[]event{{-300, 0, 0}}, 0, 5, 5, 300},
		"a clock ahead, from the first on":   {[]event{{300, 0, 0}}, 0, 5, 5, -300},
		"an old one that is listed is old":   {[]event{{-300, -300, 0}}, 0, 5, 305, 0},
		"old, and of a clock that is behind": {[]event{{-600, -300, 0}}, 0, 5, 305, 300},
		"old, and of a clock that is ahead":  {[]event{{3300, -300, 0}}, 0, 5, 305, -3600},
		"a clock set back is known at once":  {[]event{{0, 0, 0}, {10, 10, 10}, {-980, 20, 20}}, 0, 25, 5, 1000},
		// The first was written late, as when the API server was away; the second tells the true offset of 0.
		"a late write counts as young until the next": {[]event{{0, 60, 60}, {70, 70, 70}}, 0, 75, 5, 0},
		// The agent could not write for 50 s. The offset of 0 is known, so the measurement is 50 s old.
		"a late write after timely ones is as old as it is": {[]event{{0, 0, 0}, {10, 10, 10}, {20, 70, 70}}, 0, 75, 55, 50},
		// The scheduler's clock is 100 s ahead of everybody's.
		"the scheduler's clock ahead":                       {[]event{{0, 0, 100}}, 100, 105, 5, 0},
		"the scheduler's clock ahead, the node's behind it": {[]event{{-50, 0, 100}}, 100, 105, 5, 50},
		"the scheduler's clock behind":                      {[]event{{0, 0, -100}}, -100, -95, 5, 0},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var v *View
			for _, e := range tt.events {
				u := writtenBy(utilization("n1", at(e.observed), 0), v1alpha1.FieldManager, "status", at(e.written))
				var err error
				offset := time.Duration(tt.serverOffset * float64(time.Second))
				if v, err = newView(u, at(e.received), v, offset, 1); err != nil {
					t.Fatal(err)
				}
			}
			if got := v.age(at(tt.now)).Seconds(); got > tt.want+1.1 || got < tt.want-1.1 {
				t.Errorf("age = %.2f s, want %.0f s within a second", got, tt.want)
			}
			if got := v.skew().Seconds(); got > tt.wantSkew+1 || got < tt.wantSkew-1 {
				t.Errorf("skew = %.2f s, want %.0f s within a second", got, tt.wantSkew)
			}
		})
	}
}

func TestOnlyTheAgentsOwnWriteOfTheStatusTellsTheTime(t *testing.T) {
	u := utilization("n1", at(0), 0)
	writtenBy(u, "kubectl", "status", at(500))
	writtenBy(u, v1alpha1.FieldManager, "", at(600))
	if got := writtenAt(u.ManagedFields); !got.IsZero() {
		t.Errorf("others' writes are taken for the agent's: %v", got)
	}
	writtenBy(u, v1alpha1.FieldManager, "status", at(3))
	if got := writtenAt(u.ManagedFields); !got.Equal(at(3).Truncate(time.Second)) {
		t.Errorf("written at %v, want %v", got, at(3))
	}
}

func TestTheSchedulersClockIsComparedWithTheAPIServers(t *testing.T) {
	c := &serverClock{}
	want := func(what string, now, seconds float64) {
		t.Helper()
		if got := c.offset(at(now)).Seconds(); got > seconds+0.05 || got < seconds-0.05 {
			t.Errorf("%s: the scheduler is %.2f s ahead, want %.2f", what, got, seconds)
		}
	}
	want("before anything is known", 0, 0)
	c.wrote(at(-600), at(0))
	want("a listed object before a response tells nothing", 0, 0)
	c.dated(at(0), at(30.7)) // 30 s ahead, and the stamp is coarse
	want("a response", 31, 30.7)
	c.wrote(at(-600), at(31))
	want("an old object changes nothing", 31, 30.7)
	c.wrote(at(10), at(40.1))
	want("a new one tells it closer", 40.1, 30.1)
	c.dated(at(20), at(51))
	want("a coarse response does not undo it", 51, 30.1)
	c.dated(at(5051), at(5000)) // the scheduler's clock was set
	want("a clock set back is followed at once", 5000, -51)
	// Set forward by 100 s, it is followed by a millisecond a second.
	c.dated(at(5951), at(6000))
	want("a clock set forward is followed slowly", 6000, -50)
}

func TestEachResponseTellsTheAPIServersTime(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Date", at(0).UTC().Format(http.TimeFormat))
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `{"apiVersion":"plimsoll.dev/v1alpha1","kind":"NodeUtilizationList","metadata":{},"items":[]}`)
	}))
	defer server.Close()
	var told []time.Time
	client, err := newRESTClient(&rest.Config{Host: server.URL}, func(date time.Time) { told = append(told, date) })
	if err != nil {
		t.Fatal(err)
	}
	if err := client.Get().Resource("nodeutilizations").Do(t.Context()).Error(); err != nil {
		t.Fatal(err)
	}
	if len(told) != 1 || !told[0].Equal(at(0).Truncate(time.Second)) {
		t.Errorf("told %v, want %v once", told, at(0))
	}
}

func TestANodeWhoseClockIsOffIsToldOfOnce(t *testing.T) {
	now := at(0)
	s := newStore(klog.Background(), func() time.Time { return now })
	publish := func(behind float64) {
		mustAdd(t, s, writtenBy(utilization("n1", now.Add(-time.Duration(behind*float64(time.Second))), 0), v1alpha1.FieldManager, "status", now))
	}
	for _, step := range []struct {
		behind float64
		want   bool
	}{{2, false}, {90, true}, {90, true}, {-90, true}, {1, false}} {
		now = now.Add(10 * time.Second)
		publish(step.behind)
		if got := s.skewed.Has("n1"); got != step.want {
			t.Errorf("%v s behind: told of = %t, want %t", step.behind, got, step.want)
		}
	}
}
