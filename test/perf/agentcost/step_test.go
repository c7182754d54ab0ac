package agentcost

import (
	"bufio"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/plimsoll/plimsoll/pkg/api/v1alpha1"
	"github.com/plimsoll/plimsoll/pkg/audit"
	"github.com/plimsoll/plimsoll/pkg/qos"
)

// spinnerVariable makes this test binary a process that is as busy as it is told, or one whose threads wait for one another.
const (
	spinnerVariable = "PLIMSOLL_PERF_SPINNER"
	spins, waits    = "spins", "waits"
)

func TestMain(m *testing.M) {
	switch os.Getenv(spinnerVariable) {
	case spins:
		spinAsTold(os.Stdin)
		return
	case waits:
		waitForOneAnother(os.Stdin)
		return
	}
	os.Exit(m.Run())
}

// spinThreads is more than the CPUs of most machines that this runs on, so that its tasks wait for one another's.
const spinThreads = 4

// spinAsTold spins on spinThreads threads while the last line of its input was "1", and ends with it.
func spinAsTold(orders io.Reader) {
	runtime.GOMAXPROCS(spinThreads + 1)
	var busy atomic.Bool
	wake := make([]chan struct{}, spinThreads)
	for i := range wake {
		wake[i] = make(chan struct{}, 1)
		go func() {
			for range wake[i] {
				for busy.Load() {
				}
			}
		}()
	}
	for lines := bufio.NewScanner(orders); lines.Scan(); {
		busy.Store(lines.Text() == "1")
		for _, w := range wake {
			select {
			case w <- struct{}{}:
			default:
			}
		}
	}
}

// waitForOneAnother wakes twice as many threads as there are CPUs twenty times a second, for a millisecond each, until its
// input ends.
func waitForOneAnother(input io.Reader) {
	threads := 2 * runtime.NumCPU()
	runtime.GOMAXPROCS(threads)
	go func() {
		for range time.Tick(50 * time.Millisecond) {
			for range threads {
				go func() {
					for began := time.Now(); time.Since(began) < time.Millisecond; {
					}
				}()
			}
		}
	}()
	_, _ = io.Copy(io.Discard, input) // it has no other end
}

// startSpinner runs a spinner in a group; the returned function gives it an order.
func startSpinner(tb testing.TB, tr *nodeTree, group string) (order func(busy bool)) {
	tb.Helper()
	input := startSelf(tb, tr, group, spins)
	return func(busy bool) {
		line := "0\n"
		if busy {
			line = "1\n"
		}
		if _, err := io.WriteString(input, line); err != nil {
			tb.Fatal(err)
		}
	}
}

// startSelf runs this binary in a group, as what it is told, with a pipe to it.
func startSelf(tb testing.TB, tr *nodeTree, group, as string) (input io.WriteCloser) {
	tb.Helper()
	self, err := os.Executable()
	if err != nil {
		tb.Fatal(err)
	}
	process := exec.Command(self)
	process.Env = append(os.Environ(), spinnerVariable+"="+as)
	if input, err = process.StdinPipe(); err != nil {
		tb.Fatal(err)
	}
	if err := process.Start(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		_ = process.Process.Kill() // it may have ended
		_ = process.Wait()         // killed: there is no other outcome
	})
	for _, h := range tr.hierarchies {
		if err := os.WriteFile(filepath.Join(h, group, "cgroup.procs"), []byte(strconv.Itoa(process.Process.Pid)), 0); err != nil {
			tb.Fatal(err)
		}
	}
	return input
}

// stepConfig has the quota lowered as by default, and raised again as soon as may be: the benchmark waits for that.
const stepConfig = `apiVersion: ` + v1alpha1.APIVersion + `
kind: AgentConfiguration
strategies:
- name: batchcap
  mode: Enforce
  args: {raiseAfterSeconds: 1, raiseAfterMostSeconds: 1, stepPermille: 1000}
`

// BenchmarkStepToCap measures how long after a service's load steps up, beside batch that takes all it can get, the quota
// of the batch branch is lowered in the kernel: as a user would see it, from outside the agent. One iteration is one step;
// run it with -benchtime 200x. The steps begin at random moments of the agent's tick.
func BenchmarkStepToCap(b *testing.B) {
	tr := newNodeTree(b)
	kubeconfig := controlPlane(b)
	service := populate(b, tr, kubeconfig, 2)[1] // the first is BestEffort
	batch := tr.batchContainer()
	dir := b.TempDir()
	config := filepath.Join(dir, "agent.yaml")
	if err := os.WriteFile(config, []byte(stepConfig), 0o600); err != nil {
		b.Fatal(err)
	}
	startAgent(b, tr, kubeconfig, "--config", config, "--audit-dir", filepath.Join(dir, "audit"))
	startSpinner(b, tr, batch)(true)
	load := startSpinner(b, tr, service)

	capped := func() bool {
		s, err := tr.ReadSetting(tr.BatchBranch(), qos.CPUQuota)
		if err != nil {
			b.Fatal(err)
		}
		return s.Value != "max"
	}
	random := rand.New(rand.NewPCG(1, 2))
	var delays []time.Duration
	for b.Loop() {
		eventually(b, "batch to have no quota", func() bool { return !capped() })
		<-time.After(time.Duration(1000+random.IntN(1000)) * time.Millisecond) // not for a condition: a random moment
		begin := time.Now()
		load(true)
		for !capped() {
			if time.Since(begin) > 10*time.Second {
				b.Fatal("ten seconds after the step batch has no quota")
			}
			<-time.After(time.Millisecond)
		}
		delays = append(delays, time.Since(begin))
		load(false)
	}
	reportDelays(b, delays)
	eventually(b, "the audit log to have every step", func() bool { return capsIn(b, filepath.Join(dir, "audit")) >= len(delays) })
}

// capsIn counts the records of the audit log in which there was no quota and then was one, with the harm that it rested on.
func capsIn(b *testing.B, dir string) (caps int) {
	if _, err := audit.Read(dir, func(r audit.Record) bool {
		hadNone := r.Old != nil && (strings.HasPrefix(*r.Old, "max") || strings.HasPrefix(*r.Old, "-1"))
		if r.Knob == string(qos.CPUQuota) && r.Error == "" && hadNone && r.Inputs["worstExcessPermille"] != "" {
			caps++
		}
		return true
	}); err != nil {
		b.Fatal(err)
	}
	return caps
}

func reportDelays(b *testing.B, delays []time.Duration) {
	slices.Sort(delays)
	at := func(part float64) float64 {
		return delays[min(len(delays)-1, int(part*float64(len(delays))))].Seconds() * 1000
	}
	b.ReportMetric(at(0.5), "p50-ms")
	b.ReportMetric(at(0.9), "p90-ms")
	b.ReportMetric(at(0.99), "p99-ms")
	b.ReportMetric(at(1), "max-ms")
	const widthMs = 25
	bucketOf := func(d time.Duration) int64 { return d.Milliseconds() / widthMs }
	histogram := map[int64]int{}
	for _, d := range delays {
		histogram[bucketOf(d)]++
	}
	for bucket := bucketOf(delays[0]); bucket <= bucketOf(delays[len(delays)-1]); bucket++ {
		b.Logf("%4d to %4d ms: %3d", bucket*widthMs, (bucket+1)*widthMs, histogram[bucket])
	}
}
