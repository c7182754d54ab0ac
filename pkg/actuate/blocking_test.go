package actuate

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/plimsoll/plimsoll/pkg/qos"
)

// stuck is a group whose memory.reclaim is a pipe: opening it to write blocks until somebody reads, as
// the kernel does until memory is reclaimed.
type stuck struct {
	t    *testing.T
	fifo string
}

func stuckGroup(t *testing.T, a *Actuator, group string) stuck {
	t.Helper()
	dir := a.host.Dir("", group)
	if err := os.MkdirAll(dir, 0o750); err != nil {
		t.Fatal(err)
	}
	s := stuck{t, filepath.Join(dir, "memory.reclaim")}
	if err := unix.Mkfifo(s.fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	return s
}

// read lets the write end, and gives what was written.
func (s stuck) read() string {
	s.t.Helper()
	b, err := os.ReadFile(s.fifo)
	if err != nil {
		s.t.Fatal(err)
	}
	return string(b)
}

func reclaim(group string, bytes int) qos.Change {
	return qos.Change{Group: group, Knob: qos.MemoryReclaim, Value: fmt.Sprint(bytes)}
}

// finishedSoon waits for n results.
func finishedSoon(t *testing.T, a *Actuator, n int) []Result {
	t.Helper()
	var all []Result
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(10 * time.Second); len(all) < n; <-tick.C {
		if all = append(all, a.Finished()...); time.Now().After(end) {
			t.Fatalf("%d results after 10 s, want %d", len(all), n)
		}
	}
	return all
}

func TestAWriteThatBlocksDoesNotHoldUpTheCaller(t *testing.T) {
	h := host(t)
	a := New(h, open(t, t.TempDir()))
	s := stuckGroup(t, a, branch)

	results := a.Apply([]qos.Change{reclaim(branch, 8192), change("1")})
	if len(results) != 2 {
		t.Fatalf("results %+v, want two", results)
	}
	for _, r := range results {
		if pending := r.Change.Knob == qos.MemoryReclaim; r.Err != nil || r.Pending != pending || !r.Written {
			t.Errorf("result %+v, want the reclaim pending and cpu.idle written", r)
		}
	}
	wantValue(t, h, branch, "1")
	if r := a.Apply([]qos.Change{reclaim(branch, 4096)})[0]; !errors.Is(r.Err, ErrBusy) || r.Pending || r.Written {
		t.Errorf("a second write to the busy group: %+v, want ErrBusy", r)
	}
	if got := a.Finished(); len(got) != 0 {
		t.Errorf("finished %+v, want nothing yet", got)
	}
	if got := s.read(); got != "8192" {
		t.Errorf("the kernel got %q, want 8192", got)
	}
	got := finishedSoon(t, a, 1)[0]
	if got.Err != nil || got.Pending || got.Change.Group != branch {
		t.Errorf("result %+v, want the reclaim without an error", got)
	}
	if r := a.Apply([]qos.Change{reclaim(branch, 4096)})[0]; r.Err != nil || !r.Pending {
		t.Errorf("after the first has ended: %+v, want it pending", r)
	}
	s.read()
	finishedSoon(t, a, 1)
}

func TestNoMoreThanSoManyWritesBlockAtOnce(t *testing.T) {
	a := New(host(t), open(t, t.TempDir()))
	var groups []stuck
	var changes []qos.Change
	for i := range mostBlocked + 3 {
		group := fmt.Sprintf("%s/%02d", branch, i)
		groups = append(groups, stuckGroup(t, a, group))
		changes = append(changes, reclaim(group, 4096))
	}
	pending, busy := 0, 0
	for _, r := range a.Apply(changes) {
		switch {
		case r.Pending:
			pending++
		case errors.Is(r.Err, ErrBusy):
			busy++
		}
	}
	if pending != mostBlocked || busy != 3 {
		t.Errorf("%d pending and %d refused, want %d and 3", pending, busy, mostBlocked)
	}
	for _, g := range groups[:mostBlocked] {
		g.read()
	}
	finishedSoon(t, a, mostBlocked)
}

func TestClosingDoesNotWaitForEver(t *testing.T) {
	a := New(host(t), open(t, t.TempDir()))
	s := stuckGroup(t, a, branch)
	a.Apply([]qos.Change{reclaim(branch, 4096)})
	begin := time.Now()
	_, err := a.Close(20 * time.Millisecond)
	wantError(t, err, "memory.reclaim of "+branch, "not done after 20ms")
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("closing took %v", took)
	}
	s.read()
}

func TestClosingWaitsForWhatEnds(t *testing.T) {
	a := New(host(t), open(t, t.TempDir()))
	s := stuckGroup(t, a, branch)
	a.Apply([]qos.Change{reclaim(branch, 4096)})
	read := make(chan error, 1)
	go func() {
		_, err := os.ReadFile(s.fifo)
		read <- err
	}()
	results, err := a.Close(10 * time.Second)
	if err := <-read; err != nil {
		t.Fatal(err)
	}
	if err != nil || len(results) != 1 || results[0].Err != nil {
		t.Errorf("results %+v, %v, want one without an error", results, err)
	}
}
