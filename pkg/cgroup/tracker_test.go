package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// never is more calls than any test makes.
const never = 1 << 30

func trackedHost(t *testing.T) Host {
	t.Helper()
	h := Host{FSRoot: t.TempDir(), Mode: V2, Driver: Cgroupfs, Kubepods: "/kubepods"}
	groups(t, h.FSRoot, []string{""}, "kubepods/burstable", "kubepods/besteffort/pod"+bestEffort+"/c0ffee")
	return h
}

func newTracker(t *testing.T, h Host, fullEvery int) *Tracker {
	t.Helper()
	tr := NewTracker(h, fullEvery)
	t.Cleanup(tr.Close)
	if !tr.Stats().Watching {
		t.Fatal("inotify cannot be used here")
	}
	return tr
}

// wantTracked compares what the Tracker knows with a scan.
func wantTracked(t *testing.T, tr *Tracker, h Host) {
	t.Helper()
	want, err := h.Scan()
	if err != nil {
		t.Fatal(err)
	}
	got, err := tr.Groups()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("tracked groups (-scanned +tracked):\n%s", diff)
	}
}

func remove(t *testing.T, dir string) {
	t.Helper()
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
}

func TestTheTrackerFollowsWhatComesAndGoes(t *testing.T) {
	h := trackedHost(t)
	tr := newTracker(t, h, never)
	wantTracked(t, tr, h)
	first := tr.Stats()

	wantTracked(t, tr, h)
	if got := tr.Stats(); got != first {
		t.Errorf("stats %+v, after nothing changed %+v", first, got)
	}
	pod := filepath.Join(h.FSRoot, "kubepods/burstable/pod"+burstable)
	for _, step := range []struct {
		what         string
		do           func()
		wantListings int64
	}{
		{"a pod comes", func() { groups(t, pod, []string{""}, "") }, 3}, // the tier, the pod and the batch branch, which is not there
		{"a container comes", func() { groups(t, pod, []string{""}, "beef") }, 2},
		{"a container goes", func() { remove(t, pod+"/beef") }, 2},
		{"a pod is made again", func() { groups(t, pod, []string{""}, "beef"); remove(t, pod); groups(t, pod, []string{""}, "f00d") }, 3},
		{"the batch branch comes", func() { groups(t, h.FSRoot, []string{""}, "kubepods/plimsoll-batch/5f3e") }, 2},
		{"a batch container goes", func() { remove(t, h.FSRoot+"/kubepods/plimsoll-batch/5f3e") }, 1},
		{"a tier goes", func() { remove(t, h.FSRoot+"/kubepods/besteffort") }, 2}, // kubepods, and the tier that is not there
	} {
		before := tr.Stats().Listings
		step.do()
		wantTracked(t, tr, h)
		if got := tr.Stats().Listings - before; got > step.wantListings {
			t.Errorf("%s: %d groups were listed, want at most %d", step.what, got, step.wantListings)
		}
	}
	if got := tr.Stats(); got.FullScans != 1 || got.Corrected != 0 {
		t.Errorf("stats %+v, want one full scan and nothing corrected", got)
	}
	if len(tr.paths) != len(tr.watches) || len(tr.watches) > 5 {
		t.Errorf("%d and %d watches are kept for the groups that are left", len(tr.paths), len(tr.watches))
	}
}

func TestLatestTellsOfNewGroupsAndNeverScansWhole(t *testing.T) {
	h := trackedHost(t)
	tr := newTracker(t, h, 2)
	wantTracked(t, tr, h)
	scans := tr.Stats().FullScans
	for i := range 6 {
		if _, changed, err := tr.Latest(); err != nil || changed {
			t.Fatalf("nothing happened: changed %v, error %v", changed, err)
		}
		groups(t, h.FSRoot, []string{""}, fmt.Sprint("kubepods/burstable/pod", i))
		got, changed, err := tr.Latest()
		if err != nil || !changed {
			t.Fatalf("a group was made: changed %v, error %v", changed, err)
		}
		want, err := h.Scan()
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("groups (-scanned +latest):\n%s", diff)
		}
	}
	if got := tr.Stats().FullScans; got != scans {
		t.Errorf("%d full scans, want %d: twelve looks count for nothing", got, scans)
	}
	tr.Close()
	groups(t, h.FSRoot, []string{""}, "kubepods/burstable/podlast")
	if _, changed, err := tr.Latest(); err != nil || changed {
		t.Errorf("without inotify: changed %v, error %v, want nothing newer than Groups knew", changed, err)
	}
	wantTracked(t, tr, h)
}

func TestAFullScanCorrectsWhatNoEventToldOf(t *testing.T) {
	h := trackedHost(t)
	tr := newTracker(t, h, 3)
	wantTracked(t, tr, h)
	tier := filepath.Join(h.FSRoot, "kubepods/besteffort")
	tr.listed["/kubepods/besteffort"], tr.groups.Pods = nil, nil // as if an event had been lost
	for range 2 {
		if g, err := tr.Groups(); err != nil || len(g.Pods) != 0 {
			t.Fatalf("groups %+v, %v, want what is remembered", g, err)
		}
	}
	wantTracked(t, tr, h)
	if got := tr.Stats(); got.Corrected != 1 || got.FullScans != 2 {
		t.Errorf("stats %+v, want one correction in two full scans (of %s)", got, tier)
	}
}

func TestDroppedEventsMakeAFullScan(t *testing.T) {
	h := trackedHost(t)
	tr := newTracker(t, h, never)
	wantTracked(t, tr, h)
	b, err := os.ReadFile("/proc/sys/fs/inotify/max_queued_events")
	if err != nil {
		t.Fatal(err)
	}
	most, ok := parseUint(b)
	if !ok || most > 1<<20 {
		t.Skipf("needs fs.inotify.max_queued_events of at most 1048576: it is %q", b)
	}
	// Equal events behind one another are one, so two groups take turns.
	for i := range int(most)/2 + 100 {
		groups(t, h.FSRoot, []string{""}, "kubepods/burstable/pod"+fmt.Sprint(i%2))
		remove(t, filepath.Join(h.FSRoot, "kubepods/burstable/pod"+fmt.Sprint(i%2)))
	}
	groups(t, h.FSRoot, []string{""}, "kubepods/burstable/pod"+burstable+"/c0ffee")
	wantTracked(t, tr, h)
	if got := tr.Stats(); got.Overflows != 1 || got.FullScans != 2 {
		t.Errorf("stats %+v, want an overflow and a second full scan", got)
	}
	wantTracked(t, tr, h)
}

func TestWithoutInotifyEveryCallScans(t *testing.T) {
	h := trackedHost(t)
	tr := newTracker(t, h, never)
	tr.Close()
	wantTracked(t, tr, h)
	groups(t, h.FSRoot, []string{""}, "kubepods/burstable/pod"+burstable+"/c0ffee")
	wantTracked(t, tr, h)
	if got := tr.Stats(); got.Watching || got.FullScans != 2 {
		t.Errorf("stats %+v, want two full scans", got)
	}
}

func TestATrackerThatKnowsNothingSaysSoAndRecovers(t *testing.T) {
	h := trackedHost(t)
	tr := newTracker(t, h, never)
	wantTracked(t, tr, h)
	kubepods := filepath.Join(h.FSRoot, "kubepods")
	if err := os.Rename(kubepods, kubepods+".away"); err != nil {
		t.Fatal(err)
	}
	remove(t, filepath.Join(kubepods+".away", "burstable"))
	if g, err := tr.Groups(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("groups %+v, %v, want fs.ErrNotExist", g, err)
	}
	if err := os.Rename(kubepods+".away", kubepods); err != nil {
		t.Fatal(err)
	}
	wantTracked(t, tr, h)
}

// Whatever comes and goes, in whatever order, the Tracker knows what a scan finds.
func TestTheTrackerAgreesWithAScanAfterAnyChanges(t *testing.T) {
	h := trackedHost(t)
	tr := newTracker(t, h, never)
	random := rand.New(rand.NewPCG(1, 2))
	names := []string{
		"kubepods/poda", "kubepods/poda/c0", "kubepods/burstable", "kubepods/burstable/podb", "kubepods/burstable/podb/c1",
		"kubepods/burstable/podb/c2", "kubepods/plimsoll-batch", "kubepods/plimsoll-batch/c3", "kubepods/besteffort/podd/c4",
	}
	for range 400 {
		for range 1 + random.IntN(6) {
			dir := filepath.Join(h.FSRoot, names[random.IntN(len(names))])
			if random.IntN(2) == 0 {
				remove(t, dir)
			} else if err := os.MkdirAll(dir, 0o750); err != nil {
				t.Fatal(err)
			}
		}
		wantTracked(t, tr, h)
		if t.Failed() {
			return
		}
	}
	if got := tr.Stats().FullScans; got != 1 {
		t.Errorf("%d full scans, want 1", got)
	}
}

func TestTheTrackerTellsOfNewGroupsWithoutBeingAsked(t *testing.T) {
	h := trackedHost(t)
	tr := newTracker(t, h, never)
	wantTracked(t, tr, h)
	changes := tr.Changes(t.Context(), time.Millisecond)
	for _, container := range []string{"beef", "f00d"} {
		groups(t, h.FSRoot, []string{""}, "kubepods/besteffort/pod"+bestEffort+"/"+container)
		// Told of events that were taken already it looks in vain, as often as that may be.
		for changed := false; !changed; {
			select {
			case <-changes:
			case <-time.After(10 * time.Second):
				t.Fatalf("nothing was told of %s", container)
			}
			var err error
			if _, changed, err = tr.Latest(); err != nil {
				t.Fatal(err)
			}
		}
		wantTracked(t, tr, h)
	}
}
