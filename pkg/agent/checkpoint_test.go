package agent

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/plimsoll/plimsoll/pkg/api/v1alpha1"
	"github.com/plimsoll/plimsoll/pkg/usage"
)

// aLearnedLoop has eight days of history up to `at`, a workload, and lends something.
func aLearnedLoop(t *testing.T) *loop {
	t.Helper()
	l := newTestLoop(t, newTree(t), v1alpha1.ModeObserve)
	l.lending = enforcing(nil)
	settle(t, l.lending)
	for s := range 100 {
		l.workloads.profiles.Begin(at.Add(time.Duration(10*s) * time.Second))
		l.workloads.profiles.Add(usage.WorkloadSample{Workload: "pay/Deployment/api", Class: "LatencySensitive", MilliCPU: usage.Of(int64(s)), MemoryBytes: usage.Of(1 << 30)})
	}
	l.workloads.profiles.Ended("pay/Deployment/api", time.Hour)
	return l
}

func TestARestartKeepsWhatWasLearned(t *testing.T) {
	before := aLearnedLoop(t)
	dir := t.TempDir()
	saved := at.Add(20 * time.Second)
	content, err := before.checkpoint(saved)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // replacing it too
		if err := writeCheckpoint(dir, content); err != nil {
			t.Fatal(err)
		}
	}
	after := newTestLoop(t, newTree(t), v1alpha1.ModeObserve)
	after.lending = enforcing(nil)
	after.lending.forecaster = nil
	after.restore(dir, saved.Add(3*time.Second))

	before.workloads.profiles.Begin(saved) // which pods run now is seen anew
	if diff := cmp.Diff(before.workloads.profiles.Profiles(9), after.workloads.profiles.Profiles(9)); diff != "" {
		t.Errorf("profiles (-before +after):\n%s", diff)
	}
	want, okWant := before.lending.forecaster.Peak(saved, time.Hour, 990)
	got, okGot := after.lending.forecaster.Peak(saved, time.Hour, 990)
	if diff := cmp.Diff(want, got); diff != "" || !okWant || !okGot || want.ColdStart {
		t.Errorf("forecast (-before +after):\n%s", diff)
	}
	in := aQuietNode(23 * time.Second)
	if got := after.lending.step(in); got == nil || got.MilliCPU.Published != before.lending.cpuLender.Published() {
		t.Errorf("lendable %+v after a restart of 3 s, want the %d of before", got, before.lending.cpuLender.Published())
	}
	files, err := os.ReadDir(dir)
	if err != nil || len(files) != 1 {
		t.Errorf("files %v, %v; want the checkpoint alone", files, err)
	}
}

func TestACheckpointThatIsOfNoUseIsAColdStartThatSaysWhy(t *testing.T) {
	good, err := aLearnedLoop(t).checkpoint(at)
	if err != nil {
		t.Fatal(err)
	}
	seal := func(change func(*Checkpoint)) []byte {
		c, err := decodeCheckpoint(good, at)
		if err != nil {
			t.Fatal(err)
		}
		change(&c)
		b, err := c.Encode()
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	unsigned, err := json.Marshal(Checkpoint{})
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		content []byte
		want    string
	}{
		"none":               {nil, "there is no checkpoint"},
		"empty":              {[]byte{}, "does not begin like a checkpoint"},
		"something else":     {[]byte("\x00\xff\n\n\n"), "does not begin like a checkpoint"},
		"without a header":   {unsigned, "does not begin like a checkpoint"},
		"cut off":            {good[:len(good)-10], "checksum does not fit"},
		"one bit changed":    {bytes.Replace(good, []byte(`"Published"`), []byte(`"Publishee"`), 1), "checksum does not fit"},
		"of a newer version": {bytes.Replace(good, []byte("plimsoll-usage 1 "), []byte("plimsoll-usage 2 "), 1), "version 2, this program reads 1"},
		"stale":              {seal(func(c *Checkpoint) { c.SavedAt = at.Add(-9 * 24 * time.Hour) }), "ago"},
		"from the future":    {seal(func(c *Checkpoint) { c.SavedAt = at.Add(time.Hour) }), "in the future"},
		"a bad forecast":     {seal(func(c *Checkpoint) { c.Forecaster = c.Forecaster[:7] }), "forecast"},
		"bad profiles":       {seal(func(c *Checkpoint) { c.Workloads = []byte(`{"Version":9}`) }), "version 9"},
		"profiles cut off":   {seal(func(c *Checkpoint) { c.Workloads = c.Workloads[:20] }), "workloads snapshot"},
		"a bad capacity":     {seal(func(c *Checkpoint) { c.Capacity = v1alpha1.Resources{} }), "capacity"},
		"a sketch of nonsense": {seal(func(c *Checkpoint) {
			c.Workloads = bytes.Replace(c.Workloads, []byte(`"Sketch":"`), []byte(`"Sketch":"/////w==`), 1)
		}), "workloads snapshot"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if tc.content != nil {
				if err := os.WriteFile(filepath.Join(dir, CheckpointFile), tc.content, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			l := newTestLoop(t, newTree(t), v1alpha1.ModeObserve)
			var said strings.Builder
			l.log = slog.New(slog.NewTextHandler(&said, nil))
			l.restore(dir, at)
			if l.lending.forecaster != nil || len(l.workloads.profiles.Profiles(9)) != 0 || l.lending.cpuLender.Published() != 0 {
				t.Error("something was taken over from it")
			}
			if !strings.Contains(said.String(), "starting without history") || !strings.Contains(said.String(), tc.want) {
				t.Errorf("log %q, want it to say that it starts without history, and %q", said.String(), tc.want)
			}
			l.tick(at) // and it works
		})
	}
}

func TestACheckpointThatCannotBeWrittenLeavesTheOldOne(t *testing.T) {
	dir := t.TempDir()
	if err := writeCheckpoint(dir, []byte("old")); err != nil {
		t.Fatal(err)
	}
	if err := writeCheckpoint(filepath.Join(dir, "absent"), []byte("new")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("writing into a folder that is not there: %v", err)
	}
	// A folder in its place cannot be replaced by a file.
	blocked := t.TempDir()
	if err := os.MkdirAll(filepath.Join(blocked, CheckpointFile, "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := writeCheckpoint(blocked, []byte("new")); err == nil {
		t.Error("a folder was replaced")
	}
	files, err := os.ReadDir(blocked)
	if err != nil || len(files) != 1 {
		t.Errorf("files %v, %v: a temporary file is left", files, err)
	}
	l := newTestLoop(t, newTree(t), v1alpha1.ModeObserve)
	l.restore(blocked, at) // no crash
}

func TestCheckpointsAreWrittenBesideTheLoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := aLearnedLoop(t)
		l.save(at)
		l.save(at.Add(time.Minute))
		if len(l.saver.waiting) != 0 {
			t.Error("a checkpoint is due a minute after the start")
		}
		l.save(at.Add(6 * time.Minute))
		if len(l.saver.waiting) != 1 {
			t.Fatal("no checkpoint is due after six minutes")
		}
		l.save(at.Add(12 * time.Minute)) // the disk is slow: it does not wait
		until, failed := make(chan struct{}), make(chan error, 1)
		go l.saver.run(until, func(err error) { failed <- err })
		synctest.Wait()
		close(until)
		if len(failed) > 0 {
			t.Error(<-failed)
		}
		if c, err := readCheckpoint(l.saver.dir, at.Add(6*time.Minute)); err != nil || len(c.Forecaster) == 0 {
			t.Errorf("checkpoint %d bytes of forecast, %v", len(c.Forecaster), err)
		}
	})
}
