package guard

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func looks(t *testing.T, p *pulse, want int) {
	t.Helper()
	if got, err := p.look(); got != want || err != nil {
		t.Errorf("still for %d looks, %v, want %d", got, err, want)
	}
}

func beats(t *testing.T, h *Heart) {
	t.Helper()
	if err := h.Beat(); err != nil {
		t.Fatal(err)
	}
}

func TestAPulseCountsTheLooksWithoutABeat(t *testing.T) {
	name := filepath.Join(t.TempDir(), "run", "heartbeat")
	p := &pulse{name: name}
	looks(t, p, 1) // no file: no agent yet
	looks(t, p, 2)

	first, err := NewHeart(name, time.Unix(100, 0))
	if err != nil {
		t.Fatal(err)
	}
	beats(t, first)
	looks(t, p, 0)
	looks(t, p, 1)
	beats(t, first)
	beats(t, first)
	looks(t, p, 0)
	looks(t, p, 1)
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}

	// A new agent that beats as often as the one before is heard from its first beat on.
	second, err := NewHeart(name, time.Unix(101, 0))
	if err != nil {
		t.Fatal(err)
	}
	looks(t, p, 2) // it has not beaten
	beats(t, second)
	looks(t, p, 0)
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
	beats(t, second) // where nobody can see it
	looks(t, p, 1)
	if b, err := os.ReadFile(name); err == nil {
		t.Errorf("the file is back: %q", b)
	}
}

func TestAHeartbeatThatCannotBeReadDoesNotBeat(t *testing.T) {
	p := &pulse{name: t.TempDir()} // a folder
	for want := 1; want <= 2; want++ {
		if still, err := p.look(); still != want || err == nil {
			t.Errorf("still for %d looks, %v, want %d and an error", still, err, want)
		}
	}
}

func TestAHeartWithoutAFileBeatsForNobody(t *testing.T) {
	h, err := NewHeart("", time.Unix(1, 0))
	if err != nil {
		t.Fatal(err)
	}
	beats(t, h)
	if err := h.Close(); err != nil {
		t.Error(err)
	}
}

func TestABeatAllocatesNothing(t *testing.T) {
	h, err := NewHeart(filepath.Join(t.TempDir(), "heartbeat"), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(100, func() { _ = h.Beat() }); n > 1 { // the number's box
		t.Errorf("%v allocations a beat, want at most 1", n)
	}
}

func TestOptionsNameEveryFlagThatIsMissing(t *testing.T) {
	err := Run(t.Context(), Options{})
	for _, flag := range []string{"--node-name", "--state-dir", "--heartbeat"} {
		if err == nil || !strings.Contains(err.Error(), flag) {
			t.Errorf("error %v does not name %s", err, flag)
		}
	}
}
