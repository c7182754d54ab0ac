package actuate

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestEveryThreadOfThisProcessAsksForShortSlices(t *testing.T) {
	if err := AskForShortSlices("/proc"); errors.Is(err, ErrNoSlices) {
		t.Skip(err)
	} else if err != nil {
		t.Fatal(err)
	}
	ids, err := ownThreads("/proc")
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range ids {
		attr, err := unix.SchedGetAttr(id, 0)
		if errors.Is(err, unix.ESRCH) {
			continue
		}
		if err != nil || attr.Policy != unix.SCHED_NORMAL || attr.Runtime != uint64(OwnSlice) {
			t.Errorf("thread %d has %+v, %v, want slices of %v", id, attr, err, OwnSlice)
		}
	}
	if len(ids) == 0 {
		t.Error("no thread was found")
	}
}

func TestThreadsThatCannotBeListedAreAnError(t *testing.T) {
	root := t.TempDir()
	if err := os.MkdirAll(filepath.Join(root, "self/task/x1"), 0o755); err != nil {
		t.Fatal(err)
	}
	for folder, want := range map[string]string{root + "/nowhere": "no such file", root: `"x1"`} {
		err := AskForShortSlices(folder)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "this process's threads") {
			t.Errorf("error %v, want one with %q", err, want)
		}
	}
}
