package kernel

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/plimsoll/plimsoll/pkg/actuate"
	"github.com/plimsoll/plimsoll/pkg/api/v1alpha1"
	"github.com/plimsoll/plimsoll/pkg/audit"
	"github.com/plimsoll/plimsoll/pkg/guard"
	"github.com/plimsoll/plimsoll/pkg/qos"
	"github.com/plimsoll/plimsoll/pkg/qos/batchidle"
)

// guarded is a guard that runs, and the heart of an agent that it listens to.
type guarded struct {
	t     *testing.T
	heart *guard.Heart
	// beating says whether the agent's loop goes round.
	mu      sync.Mutex
	beating bool
	state   string
	end     func() error
}

func startGuard(t *testing.T, tr *tree, stateDir string, mode v1alpha1.Mode, strategies ...string) *guarded {
	t.Helper()
	g := &guarded{t: t, beating: true, state: stateDir}
	heartbeat := filepath.Join(t.TempDir(), "heartbeat")
	var err error
	if g.heart, err = guard.NewHeart(heartbeat, time.Now()); err != nil {
		t.Fatal(err)
	}
	config := v1alpha1.DefaultAgentConfiguration()
	config.Strategies = []v1alpha1.StrategyConfiguration{{Name: batchidle.Name, Mode: mode}}
	for _, name := range strategies {
		config.Strategies = append(config.Strategies, v1alpha1.StrategyConfiguration{Name: name, Mode: mode})
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	var log bytes.Buffer
	go func() {
		ended <- guard.Run(ctx, guard.Options{
			NodeName: "node-1", ProcRoot: procRoot, CgroupRoot: fsRoot, KubeletCgroupRoot: filepath.Dir(tr.Kubepods),
			StateDir: stateDir, HeartbeatFile: heartbeat, Config: config, Log: slog.New(slog.NewTextHandler(&log, nil)),
		})
	}()
	beats := time.NewTicker(50 * time.Millisecond)
	stop := make(chan struct{})
	go func() {
		for {
			select {
			case <-stop:
				return
			case <-beats.C:
				g.beat()
			}
		}
	}()
	g.end = sync.OnceValue(func() error {
		close(stop)
		beats.Stop()
		cancel()
		err := <-ended
		t.Logf("the guard's log:\n%s", log.String())
		return err
	})
	t.Cleanup(func() { _ = g.end() })
	return g
}

func (g *guarded) beat() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.beating {
		return
	}
	if err := g.heart.Beat(); err != nil {
		g.t.Error(err)
	}
}

func (g *guarded) setBeating(b bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.beating = b
}

// leaveLoose writes cpu.idle of the branch as the agent does, journaled, and then takes the protection away as
// an agent might that has lent more.
func leaveLoose(t *testing.T, tr *tree, stateDir string) {
	t.Helper()
	j := openJournal(t, stateDir)
	a := actuate.New(tr.Host, j)
	for _, value := range []string{"1", "0"} {
		if r := a.Apply([]qos.Change{{Group: tr.BatchBranch(), Knob: qos.CPUIdle, Value: value}})[0]; r.Err != nil {
			t.Fatal(r.Err)
		}
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestTheGuardTakesBackWhatAStoppedAgentHasLent(t *testing.T) {
	tr := newTree(t)
	enforce(tr)
	stateDir := t.TempDir()
	leaveLoose(t, tr, stateDir)
	g := startGuard(t, tr, stateDir, v1alpha1.ModeEnforce)

	quiet := time.Now().Add(2500 * time.Millisecond)
	eventually(t, "a time longer than the guard's patience", func() bool {
		if got := get(t, idleFile(tr)); got != "0" {
			t.Fatalf("cpu.idle is %s while the agent's loop goes round, want 0", got)
		}
		return time.Now().After(quiet)
	})
	g.setBeating(false)
	stopped := time.Now()
	idle := func() bool { return get(t, idleFile(tr)) == "1" }
	eventually(t, "cpu.idle=1 after the agent stopped", idle)
	t.Logf("held back %v after the last beat", time.Since(stopped).Round(time.Millisecond))

	put(t, idleFile(tr), "0")
	eventually(t, "cpu.idle=1 again: somebody changed it while the agent was stopped", idle)

	g.setBeating(true)
	back := time.Now().Add(500 * time.Millisecond)
	eventually(t, "the guard to hear the agent again", func() bool { return time.Now().After(back) })
	put(t, idleFile(tr), "0") // the agent lends again
	quiet = time.Now().Add(1500 * time.Millisecond)
	eventually(t, "a time in which a guard that acts would have acted", func() bool {
		if idle() {
			t.Fatal("cpu.idle is 1 though the agent is back")
		}
		return time.Now().After(quiet)
	})

	g.setBeating(false) // both are told to end
	if err := g.end(); err != nil {
		t.Fatal(err)
	}
	if !idle() {
		t.Error("the guard ended and left what was lent")
	}
	report, err := audit.Verify(guard.AuditDir(stateDir))
	if err != nil || len(report.Problems) > 0 || report.Records != 3 {
		t.Errorf("the guard's audit log: %+v, %v, want three records and no problem", report, err)
	}
	// A release knows of every knob that the guard wrote.
	released(t, tr.Host, stateDir)
	if _, err := os.Stat(idleFile(tr)); !os.IsNotExist(err) {
		t.Errorf("the branch after a release: %v, want it gone", err)
	}
}

// Nothing that a release would not restore is written, and nothing at all by a strategy that observes.
func TestTheGuardNeverBegins(t *testing.T) {
	tr := newTree(t)
	enforce(tr)
	for name, tc := range map[string]struct {
		mode     v1alpha1.Mode
		journals bool
	}{
		"the agent has never written the knob": {v1alpha1.ModeEnforce, false},
		"the strategy observes":                {v1alpha1.ModeObserve, true},
	} {
		t.Run(name, func(t *testing.T) {
			stateDir := t.TempDir()
			if tc.journals {
				leaveLoose(t, tr, stateDir)
			}
			put(t, idleFile(tr), "0")
			g := startGuard(t, tr, stateDir, tc.mode)
			g.setBeating(false)
			if err := g.end(); err != nil {
				t.Fatal(err)
			}
			if got := get(t, idleFile(tr)); got != "0" {
				t.Errorf("cpu.idle is %s, want it left at 0", got)
			}
		})
	}
}

func TestAGuardSaysThatTheJournalIsDamaged(t *testing.T) {
	tr := newTree(t)
	enforce(tr)
	stateDir := t.TempDir()
	if err := os.WriteFile(filepath.Join(stateDir, "journal.json"), []byte(`{"version":2,"orig`), 0o600); err != nil {
		t.Fatal(err)
	}
	boot, err := actuate.BootID(procRoot)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := actuate.ReadJournal(stateDir, boot); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("reading a damaged journal: %v", err)
	}
}
