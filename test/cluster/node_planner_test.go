package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/remotecommand"

	"github.com/plimsoll/plimsoll/pkg/history"
	"github.com/plimsoll/plimsoll/pkg/planner"
)

// testPlanner runs the planner's commands on the real node: what they print is what the node does. Its
// numbers are others each time, so they are checked by content and by the tables' shape; TestTop has the goldens.
func (n *node) testPlanner(t *testing.T, batch *corev1.Pod) {
	c := cli{filepath.Join(binDir(t), "plimsoll"), n.cluster.Kubeconfig()}
	name := n.cluster.NodeName()
	want := func(code int, parts []string, args ...string) string {
		t.Helper()
		got, out, problems := c.run(t, args...)
		for _, part := range parts {
			if !strings.Contains(out, part) {
				t.Errorf("plimsoll %v: %q is not in\n%s%s", args, part, out, problems)
			}
		}
		if got != code {
			t.Errorf("plimsoll %v ends with %d, want %d:\n%s%s", args, got, code, out, problems)
		}
		return out
	}
	top := want(0, []string{name, "LENDABLE"}, "top", "-o", "wide")
	checkTable(t, top, "NODE  AGE  CAPACITY  USED  ONLINE  BATCH  LENT  LENDABLE  FORECAST  PRESSURE  MEMORY MiB  USED MiB  ONLINE MiB  BATCH MiB  LENT MiB  LENDABLE MiB  CGROUP  KERNEL  STRATEGIES  HELD BACK")
	explained := want(0, []string{"= COMPUTED", "BatchProtected", "cpu.idle=1", "Applied"}, "explain", "node", name)
	for _, heading := range []string{
		"CLASS  CPU m  MEMORY MiB  WAITED FOR CPU permille", "LENDING  SAFE LINE  - SYSTEM  - FORECAST PEAK  - MARGIN  = COMPUTED  PUBLISHED  LENT  OF IT UNUSED",
		"SINCE THE AGENT STARTED  SECONDS", "CONDITION  STATUS  WHY", "CHANGED  BY  GROUP  SETTING  OUTCOME  WHY",
	} {
		checkTable(t, explained, heading)
	}
	t.Log(top, explained)
	want(1, []string{"publishes no NodeUtilization"}, "explain", "node", "no-such-node")

	dir := filepath.Join(t.TempDir(), "history")
	begin := time.Now().Add(-time.Second)
	want(0, nil, "record", "--history", dir, "--interval", "1s", "--count", "4", "--pool-label", "kubernetes.io/os")
	cmd := exec.CommandContext(t.Context(), c.program, "report", "--history", dir, "--step", "1s", "--from", begin.UTC().Format(time.RFC3339), "-o", "json")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("plimsoll report: %v", err)
	}
	var r planner.Report
	if err := json.Unmarshal(out, &r); err != nil {
		t.Fatal(err)
	}
	if len(r.Nodes) != 1 || r.Nodes[0].Name != name || r.Nodes[0].Pool != "linux" || r.Fleet.CPUHours.Used <= 0 || r.Fleet.CPUHours.Batch <= 0 || r.Fleet.CPUHours.Used > 1.05*r.Fleet.CPUHours.Capacity { // a busy node is read as up to some permille more than it has
		t.Errorf("the report of the node: %+v", r.Fleet)
	}
	if h := r.Fleet.Harm; h.ThrottledPodMinutes == nil || h.BatchThrottledMinutes == nil || h.Evictions == nil {
		t.Errorf("the harm on the node is not known: %+v: %q", h, r.Remarks)
	}
	found := ""
	for _, w := range r.Workloads {
		if w.Pool == "Batch" && w.CPUHours.Used > 0 {
			found = w.Name
		}
	}
	if found != "default/Pod/"+batch.Name {
		t.Errorf("the batch workload is %q, want that of pod %s", found, batch.Name)
	}
	n.testRecordedState(t, c)
	n.testScraped(t)
}

// testRecordedState has the agent record its State, and replays it: the node is as its strategies want it.
func (n *node) testRecordedState(t *testing.T, c cli) {
	agent, err := n.agentPod(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	request := n.client.CoreV1().RESTClient().Post().Resource("pods").Namespace(agent.Namespace).Name(agent.Name).SubResource("exec").
		VersionedParams(&corev1.PodExecOptions{Container: "agent", Command: []string{"/plimsoll-agent", "record-state"}, Stdout: true, Stderr: true}, scheme.ParameterCodec)
	executor, err := remotecommand.NewSPDYExecutor(n.config, http.MethodPost, request.URL())
	if err != nil {
		t.Fatal(err)
	}
	var out, problems bytes.Buffer
	if err := executor.StreamWithContext(t.Context(), remotecommand.StreamOptions{Stdout: &out, Stderr: &problems}); err != nil {
		t.Fatalf("record-state: %v\n%s", err, problems.String())
	}
	file := filepath.Join(t.TempDir(), "state.json")
	if err := os.WriteFile(file, out.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	planned, err := exec.CommandContext(t.Context(), c.program, "plan", "--state", file).CombinedOutput()
	t.Logf("%s", planned)
	if err != nil || !strings.Contains(string(planned), "node "+n.cluster.NodeName()) || !strings.Contains(string(planned), "strategy batchidle, mode Enforce: nothing to change") {
		t.Errorf("replaying the node's State: %v\n%s", err, planned)
	}
}

// testScraped has a real Prometheus scrape the real agent, and asks it each recording rule that needs no more.
func (n *node) testScraped(t *testing.T) {
	program, err := exec.LookPath("prometheus")
	if err != nil {
		t.Log("not covered: scraping the agent with a real Prometheus: hack/install-deps.sh installs it")
		return
	}
	monitoring, err := filepath.Abs(filepath.Join(manifests, "monitoring"))
	if err != nil {
		t.Fatal(err)
	}
	rules, err := os.ReadFile(filepath.Join(monitoring, "rules.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	// Recorded each second, so that there is something to see soon.
	soon := filepath.Join(t.TempDir(), "rules.yaml")
	if err := os.WriteFile(soon, bytes.Replace(rules, []byte("interval: 5m"), []byte("interval: 1s"), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(t.TempDir(), "prometheus.yml")
	text := fmt.Sprintf("rule_files: [%s, %s/alerts.yaml]\nscrape_configs:\n- job_name: plimsoll-agent\n  scrape_interval: 1s\n  static_configs: [{targets: ['127.0.0.1:8470'], labels: {node: n1, pool: p}}]\n", soon, monitoring)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	address := fmt.Sprintf("127.0.0.1:%d", freePort(t))
	cmd := exec.Command(program, "--config.file="+config, "--storage.tsdb.path="+t.TempDir(), "--web.listen-address="+address, "--log.level=error")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	p, err := history.NewPrometheus("http://"+address, http.DefaultClient)
	if err != nil {
		t.Fatal(err)
	}
	asked := 0
	for _, m := range regexp.MustCompile(`(?m)^    expr: (max by .*plimsoll_.*)$`).FindAllStringSubmatch(string(rules), -1) {
		asked++
		eventually(t, "the real agent to give something to "+m[1], func(ctx context.Context) (bool, error) {
			found, err := p.Query(ctx, m[1], time.Now())
			return err == nil && len(found) > 0 && found[0].Labels["node"] == "n1", nil
		})
	}
	if asked < 5 {
		t.Errorf("only %d rules of agents' own metrics", asked)
	}
	testPanels(t, p, filepath.Join(monitoring, "dashboards"))
}

// testPanels asks each query of each dashboard of what was scraped from the real agent. What pods ask for and what
// workloads use comes from kube-state-metrics and the kubelets, which are not scraped here: those queries find nothing.
func testPanels(t *testing.T, p *history.Prometheus, folder string) {
	files, err := filepath.Glob(filepath.Join(folder, "*.json"))
	if err != nil {
		t.Fatal(err)
	}
	found, empty := 0, 0
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var d struct {
			Panels []struct {
				Title   string
				Targets []struct{ Expr string }
			}
		}
		if err := json.Unmarshal(data, &d); err != nil {
			t.Fatal(err)
		}
		for _, panel := range d.Panels {
			for _, target := range panel.Targets {
				query := strings.ReplaceAll(target.Expr, "$node", "n1")
				if strings.Contains(query, "_requested{") || strings.Contains(query, "workload_") {
					empty++
					if series, err := p.Query(t.Context(), query, time.Now()); err != nil || len(series) > 0 {
						t.Errorf("%s: %s: %v, %v, want nothing", panel.Title, query, series, err)
					}
					continue
				}
				found++
				eventually(t, "something in "+panel.Title+": "+query, func(ctx context.Context) (bool, error) {
					series, err := p.Query(ctx, query, time.Now())
					return err == nil && len(series) > 0, nil
				})
			}
		}
	}
	if found < 20 || empty != 8 {
		t.Errorf("%d queries found something and %d nothing, want 20 or more and 8", found, empty)
	}
}
