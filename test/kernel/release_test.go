package kernel

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/plimsoll/plimsoll/pkg/actuate"
	"github.com/plimsoll/plimsoll/pkg/audit"
	"github.com/plimsoll/plimsoll/pkg/cgroup"
	"github.com/plimsoll/plimsoll/pkg/qos"
)

// settled waits for the writes that may block.
func settled(t testing.TB, a *actuate.Actuator) []actuate.Result {
	t.Helper()
	results, err := a.Close(30 * time.Second)
	if err != nil {
		t.Fatal(err)
	}
	return results
}

// released releases as a process does that knows only the journal.
func released(t testing.TB, host cgroup.Host, stateDir string) []actuate.Result {
	t.Helper()
	j := openJournal(t, stateDir)
	results, err := actuate.New(host, j).Release()
	if err != nil {
		t.Errorf("release: %v", err)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	return results
}

func TestReleaseAfterRandomPlansRestoresEveryKnobExactly(t *testing.T) {
	tr, groups := batchTree(t)
	foreign(tr, groups[1])
	before := snapshot(t, tr.Host, groups)
	stateDir := t.TempDir()
	written, refused := counts{}, counts{}
	for seed := range uint64(60) {
		p, err := newPlanner(tr.Host, groups, seed)
		if err != nil {
			t.Fatal(err)
		}
		j := openJournal(t, stateDir)
		a := actuate.New(tr.Host, j)
		for range 1 + p.random.IntN(4) {
			for _, r := range append(a.Apply(p.plan()), settled(t, a)...) {
				switch {
				case r.Err != nil:
					refused[r.Change.Knob]++
				case r.Written && !r.Pending:
					written[r.Change.Knob]++
				}
			}
		}
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
		released(t, tr.Host, stateDir)
		if diff := cmp.Diff(before, snapshot(t, tr.Host, groups)); diff != "" {
			t.Fatalf("seed %d: after the release (-want +got):\n%s", seed, diff)
		}
		if again := released(t, tr.Host, stateDir); len(again) != 0 {
			t.Errorf("seed %d: a second release did %+v, want nothing", seed, again)
		}
	}
	t.Logf("written: %v", written)
	t.Logf("refused: %v", refused)
	p, err := newPlanner(tr.Host, groups, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range cgroup.Knobs() {
		if _, err := tr.ReadRaw(groups[1], k.Knob); err == nil && !k.Action && written[k.Knob] == 0 && p.value(k.Knob) != "" && k.Knob != "cpuset.mems" {
			t.Errorf("%s was never written: this test says nothing about it", k.Knob) // of mems there is one value only
		}
	}
}

// A cpuset of v1 is born empty, and cannot go back to that with containers in it.
func TestReleaseFillsACpusetThatWasEmptyAndIsInUse(t *testing.T) {
	tr := newTree(t)
	if tr.Mode == cgroup.V2 {
		t.Skip("needs cgroup v1: a cpuset of v2 may be empty")
	}
	stateDir := t.TempDir()
	j := openJournal(t, stateDir)
	a := actuate.New(tr.Host, j)
	if err := a.EnsureBatchBranch(); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(tr.Dir("cpuset", tr.BatchBranch()), "cpuset.cpus")
	above := get(t, filepath.Join(tr.Dir("cpuset", tr.Kubepods), "cpuset.cpus"))
	if got := get(t, file); got != "" {
		t.Fatalf("a new branch has the CPUs %q, want none", got)
	}
	mems := filepath.Join(tr.Dir("cpuset", tr.BatchBranch()), "cpuset.mems")
	put(t, mems, get(t, filepath.Join(tr.Dir("cpuset", tr.Kubepods), "cpuset.mems")))
	set := func() {
		t.Helper()
		if r := a.Apply([]qos.Change{{Group: tr.BatchBranch(), Knob: qos.CPUSetCPUs, Value: "0"}})[0]; r.Err != nil {
			t.Fatal(r.Err)
		}
	}
	set()
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	group := tr.BatchBranch() + "/" + containerID
	for _, h := range tr.hierarchies { // not tr.make, which would fill the branch
		if err := os.MkdirAll(filepath.Join(h, group), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	tr.made = append(tr.made, group)
	for _, f := range []string{"cpuset.cpus", "cpuset.mems"} {
		put(t, filepath.Join(tr.Dir("cpuset", group), f), "0")
	}
	tr.start(group)
	released(t, tr.Host, stateDir)
	if got := get(t, file); got != above {
		t.Errorf("after the release the branch has the CPUs %q, want those above, %q", got, above)
	}
	if again := released(t, tr.Host, stateDir); len(again) != 0 {
		t.Errorf("a second release did %+v, want nothing", again)
	}
}

// kills is how often the agent is killed.
const kills = 200

// plannerVariable makes this test binary an agent of random plans: the state directory, the kubelet's
// cgroup root and a seed.
const plannerVariable = "PLIMSOLL_TEST_PLANNER"

// planForEver releases what the process before it left, says so, waits for a line, and then applies
// random plans until it is killed. It keeps an audit log.
func planForEver(arguments string, in io.Reader, out io.Writer) error {
	fields := strings.Fields(arguments)
	stateDir, root := fields[0], fields[1]
	seed, err := strconv.ParseUint(fields[2], 10, 64)
	if err != nil {
		return err
	}
	host, err := cgroup.Detect(procRoot, fsRoot, root)
	if err != nil {
		return err
	}
	boot, err := actuate.BootID(procRoot)
	if err != nil {
		return err
	}
	journal, err := actuate.OpenJournal(stateDir, boot)
	if err != nil {
		return err
	}
	log, err := audit.Open(audit.Options{Dir: filepath.Join(stateDir, "audit"), MaxFileBytes: 64 << 10, Now: time.Now})
	if err != nil {
		return err
	}
	a := actuate.New(host, journal)
	results, err := a.Release()
	if err != nil {
		return err
	}
	fmt.Fprintln(out, "released", len(results))
	if _, err := bufio.NewReader(in).ReadString('\n'); err != nil {
		return fmt.Errorf("waiting for the word to begin: %w", err)
	}
	branch := host.BatchBranch()
	p, err := newPlanner(host, []string{branch, branch + "/" + containerID, branch + "/77aa"}, seed)
	if err != nil {
		return err
	}
	fmt.Fprintln(out, "applying")
	for {
		for _, r := range append(a.Apply(p.plan()), a.Finished()...) {
			log.Append(audit.Entry{Time: time.Now(), Kind: audit.KindWrite, Group: r.Change.Group, Knob: string(r.Change.Knob), New: &r.Change.Value})
		}
	}
}

// agent is a process that applies random plans.
type agent struct {
	t     testing.TB
	c     *exec.Cmd
	input io.WriteCloser
	lines *bufio.Scanner
}

func startAgent(tr *tree, stateDir string, seed int) agent {
	t := tr.t
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	a := agent{t: t, c: exec.Command(self)}
	a.c.Env = append(os.Environ(), fmt.Sprintf("%s=%s %s %d", plannerVariable, stateDir, filepath.Dir(tr.Kubepods), seed))
	a.c.Stderr = os.Stderr
	if a.input, err = a.c.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	output, err := a.c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	a.lines = bufio.NewScanner(output)
	if err := a.c.Start(); err != nil {
		t.Fatal(err)
	}
	return a
}

// says waits for the next line.
func (a agent) says() string {
	a.t.Helper()
	if !a.lines.Scan() {
		a.t.Fatalf("the agent ended: %v", a.c.Wait())
	}
	return a.lines.Text()
}

func (a agent) kill() {
	a.t.Helper()
	if err := a.c.Process.Kill(); err != nil {
		a.t.Fatal(err)
	}
	_ = a.c.Wait() // killed: there is no other outcome
}

func TestAnAgentThatIsKilledAtAnyInstantLeavesWhatAReleaseRestores(t *testing.T) {
	tr, groups := batchTree(t)
	foreign(tr, groups[1])
	before := snapshot(t, tr.Host, groups)
	stateDir := t.TempDir()
	random := rand.New(rand.NewPCG(3, 4))
	var untouched, journaled, written int
	for i := range kills {
		a := startAgent(tr, stateDir, i)
		if got := a.says(); !strings.HasPrefix(got, "released") {
			t.Fatalf("the agent says %q, want released", got)
		}
		if diff := cmp.Diff(before, snapshot(t, tr.Host, groups)); diff != "" {
			a.kill()
			t.Fatalf("kill %d: after the release (-want +got):\n%s", i, diff)
		}
		journal := inodeOf(t, filepath.Join(stateDir, "journal.json"))
		if _, err := fmt.Fprintln(a.input, "go"); err != nil {
			t.Fatal(err)
		}
		a.says()
		instant := time.Duration(random.Int64N(int64(12 * time.Millisecond)))
		if i%2 == 0 { // at any instant; else just after the journal was written, which a few of the others hit
			<-time.After(instant)
		} else {
			for end := time.Now().Add(time.Second); inodeOf(t, filepath.Join(stateDir, "journal.json")) == journal && time.Now().Before(end); {
				runtime.Gosched()
			}
			for end := time.Now().Add(instant / 100); time.Now().Before(end); {
				runtime.Gosched()
			}
		}
		a.kill()

		changed := !cmp.Equal(before, snapshot(t, tr.Host, groups))
		j := openJournal(t, stateDir)
		switch remembered := len(j.Originals()) > 0; {
		case changed && !remembered:
			t.Fatalf("kill %d: the kernel was written before the journal", i)
		case changed:
			written++
		case remembered:
			journaled++
		default:
			untouched++
		}
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d kills: %d before anything, %d between the journal and the kernel, %d after something was written", kills, untouched, journaled, written)
	if journaled == 0 || written == 0 {
		t.Error("no kill came between the journal and the kernel, or none after it: this test shows nothing")
	}
	released(t, tr.Host, stateDir)
	if diff := cmp.Diff(before, snapshot(t, tr.Host, groups)); diff != "" {
		t.Errorf("after the last release (-want +got):\n%s", diff)
	}
	wantAuditLog(t, filepath.Join(stateDir, "audit"))
}

// inodeOf is 0 where there is no file.
func inodeOf(t testing.TB, file string) uint64 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(file, &st); err != nil && !errors.Is(err, unix.ENOENT) {
		t.Fatal(err)
	}
	return st.Ino
}

// wantAuditLog opens the log once more, since the last agent of all may have been killed in a line, and
// wants it intact.
func wantAuditLog(t *testing.T, dir string) {
	t.Helper()
	log, err := audit.Open(audit.Options{Dir: dir, MaxFileBytes: 64 << 10, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	report, err := audit.Verify(dir)
	if err != nil || report.Records == 0 {
		t.Fatalf("audit log %+v, %v", report, err)
	}
	t.Logf("audit log: %d records in %d files, notes %v", report.Records, report.Files, report.Notes)
	for _, p := range report.Problems {
		t.Errorf("audit log: %s", p)
	}
}
