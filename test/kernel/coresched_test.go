package kernel

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/plimsoll/plimsoll/pkg/actuate"
	"github.com/plimsoll/plimsoll/pkg/cgroup"
	"github.com/plimsoll/plimsoll/pkg/qos"
	"github.com/plimsoll/plimsoll/pkg/qos/coresched"
)

// coreScheduling skips a test where two tasks cannot be kept from sharing a core, and fails it where the kernel says
// that it was built for that.
func coreScheduling(t testing.TB) {
	t.Helper()
	switch _, err := cgroup.Cookie(0); {
	case errors.Is(err, unix.ENODEV):
		t.Skip("needs core.cookie: a CPU with several threads a core; vmrun -cpus 4 -threads 2 has them")
	case errors.Is(err, unix.EINVAL):
		withoutOption(t, "core.cookie", "CONFIG_SCHED_CORE", "5.14; hack/vm-kernel.sh --from-source builds a kernel that has it")
	case err != nil:
		t.Fatal(err)
	}
}

// lastCore is the CPUs that are threads of the last core.
func lastCore(t *testing.T) string {
	t.Helper()
	cpus, err := cgroup.NewTopology(sysRoot).CPUs()
	if err != nil {
		t.Fatal(err)
	}
	var threads []int
	for _, c := range cpus {
		if c.Core == cpus[len(cpus)-1].Core {
			threads = append(threads, c.ID)
		}
	}
	return qos.FormatCPUs(threads)
}

// apart carries out what strategy coresched wants for some batch containers and a pod that asks or does not.
type apart struct {
	tr         *tree
	strategy   qos.Strategy
	containers []string
}

func newApart(tr *tree, containers ...string) *apart {
	tr.t.Helper()
	strategy, err := coresched.Factory().New([]byte(`{"namespaces":["pay"]}`))
	if err != nil {
		tr.t.Fatal(err)
	}
	return &apart{tr, strategy, containers}
}

func (a *apart) changes(asks bool) []qos.Change {
	a.tr.t.Helper()
	s := qos.State{PodsTold: true, Groups: []qos.Group{{Path: a.tr.burstablePod(), Kind: qos.KindPod, Namespace: "pay", UnsharedCores: asks}}}
	for _, c := range a.containers {
		is, err := a.tr.ReadSetting(c, qos.CoreCookie)
		if err != nil {
			a.tr.t.Fatal(err)
		}
		s.Groups = append(s.Groups, qos.Group{Path: c, Kind: qos.KindBatchContainer, Settings: map[qos.Knob]qos.Setting{qos.CoreCookie: is}})
	}
	return qos.Diff(s, a.strategy.Step(s))
}

// settle carries a plan out, after which nothing may be wanted any more.
func (a *apart) settle(with *actuate.Actuator, asks bool) {
	a.tr.t.Helper()
	for _, r := range with.Apply(a.changes(asks)) {
		if r.Err != nil {
			a.tr.t.Fatal(r.Err)
		}
	}
	if left := a.changes(asks); len(left) > 0 {
		a.tr.t.Errorf("after the plan was carried out this is wanted still: %+v", left)
	}
}

// cookie is what all threads of a group have; it fails the test where they differ.
func (a *apart) cookie(group string) uint64 {
	a.tr.t.Helper()
	spec, err := cgroup.Knob(qos.CoreCookie)
	if err != nil {
		a.tr.t.Fatal(err)
	}
	in := spec.In(a.tr.Mode)
	ids, err := cgroup.ThreadsBelow(a.tr.Dir(in.Controller, group), in.Files[0])
	if err != nil || len(ids) == 0 {
		a.tr.t.Fatalf("threads of %s: %v, %v", group, ids, err)
	}
	first, err := cgroup.Cookie(ids[0])
	if err != nil {
		a.tr.t.Fatal(err)
	}
	for _, id := range ids {
		if c, err := cgroup.Cookie(id); err != nil || c != first {
			a.tr.t.Errorf("thread %d of %s has cookie %d, %v; another has %d", id, group, c, err, first)
		}
	}
	return first
}

// TestBatchSharesNoCoreWithAServiceThatAsks counts who runs on the threads of one core, at equal weight and with cpu.idle.
func TestBatchSharesNoCoreWithAServiceThatAsks(t *testing.T) {
	coreScheduling(t)
	tr := newTree(t)
	e := enforce(tr)
	group := container(tr)
	online := path.Join(tr.burstablePod(), containerID)
	tr.make(online)
	tr.confine(lastCore(t))
	c := oneCore{newApart(tr, group), group, newReader(t, tr.Host), tr.start(online), tr.start(group)}
	if counted := procRoot + "/sys/kernel/sched_schedstats"; get(t, counted) == "0" { // or no idleness is counted
		put(t, counted, "1")
		t.Cleanup(func() { put(t, counted, "0") })
	}
	c.service.tell("procs", 1)
	c.batch.tell("spin", 1)
	c.shares("equal weight, no cookies")
	c.settle(e.Actuator, true)
	if c.cookie(group) == 0 || c.cookie(online) != 0 {
		t.Errorf("batch has cookie %d and the service %d, want one and none", c.cookie(group), c.cookie(online))
	}
	for range 3 {
		if s, b, idle := c.together("equal weight, cookies"); s+b > together || b < 0.1 || idle < 0.2 {
			t.Errorf("at equal weight they run in %.2f and %.2f of the time, and a thread is left idle in %.2f: more than 1 together is at the same time", s, b, idle)
		}
	}
	apply(tr, e) // cpu.idle
	if s, b, _ := c.together("cpu.idle, cookies"); s+b > together || b > 0.4 {
		t.Errorf("with cpu.idle they run in %.2f and %.2f of the time: at the same time, or the service is held up", s, b)
	}

	c.batch.tell("spin", 2)
	if used := c.threadsOfBatch(); used < 1.5 { // it shares the core with itself
		t.Errorf("while the service sleeps batch has %.3f threads, want 2", used)
	}
	c.wakes("cpu.idle, cookies")

	c.settle(e.Actuator, false)
	if c.cookie(group) != 0 {
		t.Errorf("nobody asks any more, and batch has cookie %d", c.cookie(group))
	}
	c.wakes("cpu.idle, no cookies")
	c.settle(e.Actuator, true)
	if _, err := e.Release(); err != nil {
		t.Fatal(err)
	}
	if c.cookie(group) != 0 || c.cookie(online) != 0 {
		t.Errorf("after a release batch has cookie %d and the service %d", c.cookie(group), c.cookie(online))
	}
	c.shares("released")
}

// All of batch has one cookie, whenever its containers and their processes were started and whichever agent gave it.
func TestAllBatchHasTheSameCookie(t *testing.T) {
	coreScheduling(t)
	tr := newTree(t)
	e := enforce(tr)
	first := container(tr)
	inner := path.Join(path.Dir(first), "another", "inner") // a container that made a group of its own
	tr.make(path.Dir(inner))
	tr.make(inner)
	a := newApart(tr, first, path.Dir(inner))
	if got := a.changes(true); len(got) != 0 {
		t.Errorf("for containers without threads this is wanted: %+v", got)
	}
	process := tr.start(first)
	a.settle(e.Actuator, true)
	cookie := a.cookie(first)

	// A process that a runtime starts in the container later has none; its own children do.
	tr.start(first)
	if s, err := tr.ReadSetting(first, qos.CoreCookie); err != nil || s.Value != qos.CookieSome {
		t.Errorf("with a new process the container's cookies are %+v, %v, want %q", s, err, qos.CookieSome)
	}
	a.settle(e.Actuator, true)
	process.tell("spin", 2)
	if got := a.cookie(first); got != cookie || got == 0 {
		t.Errorf("the new process and new threads have cookie %d, want %d", got, cookie)
	}

	// Another agent, which has the journal of the first.
	if err := e.journal.Close(); err != nil {
		t.Fatal(err)
	}
	next := actuate.New(tr.Host, openJournal(t, e.stateDir))
	tr.start(inner)
	a.settle(next, true)
	if got := a.cookie(inner); got != cookie {
		t.Errorf("a container that another agent gave a cookie has %d, want %d", got, cookie)
	}
	if own, err := cgroup.Cookie(0); err != nil || own != 0 {
		t.Errorf("the agent's own thread has cookie %d, %v", own, err)
	}
	if got := next.CookiedGroups(); !got[first] || !got[path.Dir(inner)] || len(got) != 2 {
		t.Errorf("groups that were given cookies: %v", got)
	}
	if _, err := next.Release(); err != nil {
		t.Fatal(err)
	}
	if a.cookie(first) != 0 || a.cookie(inner) != 0 {
		t.Error("a release leaves cookies behind")
	}
}

// A cookie that was there before is not Plimsoll's: the thread keeps it when others are given one, and after a release.
func TestCookiesOfOthersStay(t *testing.T) {
	coreScheduling(t)
	tr := newTree(t)
	e := enforce(tr)
	group := container(tr)
	a := newApart(tr, group)
	owner := tr.start(group)
	const wholeProcess = unix.PR_SCHED_CORE_SCOPE_THREAD_GROUP
	if err := unix.Prctl(unix.PR_SCHED_CORE, unix.PR_SCHED_CORE_CREATE, uintptr(owner.pid), wholeProcess, 0); err != nil {
		t.Fatal(err)
	}
	theirs := a.cookie(group)
	other := tr.start(group)
	a.settle(e.Actuator, true)
	given, err := cgroup.Cookie(other.pid)
	if err != nil || given == 0 || given == theirs {
		t.Errorf("the process without a cookie was given %d, %v; want one, and not the other's %d", given, err, theirs)
	}
	if len(e.CookiedGroups()) != 0 {
		t.Errorf("groups that had no cookies before: %v, want none", e.CookiedGroups())
	}
	if _, err := e.Release(); err != nil {
		t.Error(err)
	}
	if now, err := cgroup.Cookie(owner.pid); err != nil || now != theirs {
		t.Errorf("the process that had cookie %d has %d, %v", theirs, now, err)
	}
}

// An agent's pod is root without capabilities: what the manifests give it for cookies is CAP_SYS_PTRACE, and that is
// enough. Here another user stands for it, who may do as little.
func TestACookieNeedsTheRightToTrace(t *testing.T) {
	coreScheduling(t)
	tr := newTree(t)
	target := tr.start(container(tr))
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		capabilities []uintptr
		want         string
	}{
		"without any":         {nil, "CAP_SYS_PTRACE"},
		"with CAP_SYS_NICE":   {[]uintptr{unix.CAP_SYS_NICE}, "CAP_SYS_PTRACE"},
		"with CAP_SYS_PTRACE": {[]uintptr{unix.CAP_SYS_PTRACE}, "0"},
	} {
		t.Run(name, func(t *testing.T) {
			c := exec.CommandContext(t.Context(), self)
			c.Env = append(os.Environ(), processVariable+"=1")
			c.SysProcAttr = &unix.SysProcAttr{Credential: &syscall.Credential{Uid: 1000, Gid: 1000}, AmbientCaps: tc.capabilities}
			c.Stdin = strings.NewReader(fmt.Sprintf("cookie %d\n", target.pid))
			out, err := c.CombinedOutput()
			if lines := strings.Split(strings.TrimSpace(string(out)), "\n"); err != nil || len(lines) != 2 || !strings.Contains(lines[1], tc.want) {
				t.Errorf("it says %q, %v; want %q", out, err, tc.want)
			}
		})
	}
}
