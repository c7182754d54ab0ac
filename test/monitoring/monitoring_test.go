package monitoring

import (
	"encoding/json"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/plimsoll/plimsoll/pkg/history"
	"github.com/plimsoll/plimsoll/pkg/history/sample"
)

const (
	folder = "../../manifests/monitoring"
	docs   = "../../docs/operations.md"
)

// program finds one of Prometheus' programs.
func program(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("there is no %s: hack/install-deps.sh installs it", name)
	}
	return path
}

func TestPromtoolAcceptsTheRulesAndTheirTests(t *testing.T) {
	promtool := program(t, "promtool")
	for _, args := range [][]string{{"check", "rules", "rules.yaml", "alerts.yaml"}, {"test", "rules", "rules_test.yaml"}, {"check", "config", "--syntax-only", scrapeWithoutDiscovery(t)}} {
		cmd := exec.CommandContext(t.Context(), promtool, args...)
		cmd.Dir = folder
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
}

// scrapeWithoutDiscovery is scrape.yaml with a fixed target: Debian's Prometheus is built without the discovery of pods.
func scrapeWithoutDiscovery(t *testing.T) (file string) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(folder, "scrape.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	discovery := regexp.MustCompile(`(?m)^  kubernetes_sd_configs:\n(?:  [- ] .*\n)+`)
	if !discovery.Match(data) {
		t.Fatal("scrape.yaml discovers no pods")
	}
	file = filepath.Join(t.TempDir(), "scrape.yaml")
	if err := os.WriteFile(file, discovery.ReplaceAll(data, []byte("  static_configs: [{targets: [localhost:8470]}]\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestEachAlertLinksToAPartOfARunbookThatIsThere(t *testing.T) {
	text, err := os.ReadFile(docs)
	if err != nil {
		t.Fatal(err)
	}
	anchors := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(string(text), -1) {
		plain := regexp.MustCompile(`[^a-z0-9 -]`).ReplaceAllString(strings.ToLower(m[1]), "")
		anchors[strings.ReplaceAll(plain, " ", "-")] = true
	}
	alerts, err := os.ReadFile(filepath.Join(folder, "alerts.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	links := regexp.MustCompile(`runbook_url: \S+/docs/operations\.md#(\S+)`).FindAllStringSubmatch(string(alerts), -1)
	if n := strings.Count(string(alerts), "- alert:"); len(links) != n || n == 0 {
		t.Fatalf("%d links of %d alerts", len(links), n)
	}
	for _, l := range links {
		if !anchors[l[1]] {
			t.Errorf("%s has no part #%s", docs, l[1])
		}
	}
}

// A real Prometheus, with a history in which each must find something, answers each query of each dashboard.
func TestEachPanelOfEachDashboardFindsSomething(t *testing.T) {
	dir := t.TempDir()
	start := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	if err := sample.Write(t.Context(), dir, sample.Options{Start: start, Nodes: 8, Workloads: 10, Days: 1, Step: 5 * time.Minute}); err != nil {
		t.Fatal(err)
	}
	p := startPrometheus(t, program(t, "prometheus"), dir)
	files, err := filepath.Glob(filepath.Join(folder, "dashboards", "*.json"))
	if err != nil || len(files) != 3 {
		t.Fatalf("dashboards %v, %v, want 3", files, err)
	}
	chosen := strings.NewReplacer("$node", "node-0003", "$namespace", "payments", "$workload", "Deployment/service-000")
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
		if err := json.Unmarshal(data, &d); err != nil || len(d.Panels) == 0 {
			t.Fatalf("%s: %v, %d panels", file, err, len(d.Panels))
		}
		for _, panel := range d.Panels {
			for _, target := range panel.Targets {
				found, err := p.Query(t.Context(), chosen.Replace(target.Expr), start.Add(16*time.Hour+30*time.Minute))
				if err != nil {
					t.Errorf("%s, %s: %v", file, panel.Title, err)
				} else if len(found) == 0 {
					t.Errorf("%s, %s: %s finds nothing", file, panel.Title, target.Expr)
				}
			}
		}
	}
}

// startPrometheus serves a TSDB; it scrapes nothing.
func startPrometheus(t *testing.T, path, dir string) *history.Prometheus {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	config, err := filepath.Abs(filepath.Join(t.TempDir(), "prometheus.yml"))
	if err != nil {
		t.Fatal(err)
	}
	rules, err := filepath.Abs(folder)
	if err != nil {
		t.Fatal(err)
	}
	// The rules are loaded, as in a cluster.
	text := "rule_files: [" + filepath.Join(rules, "rules.yaml") + ", " + filepath.Join(rules, "alerts.yaml") + "]\n"
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var said strings.Builder
	cmd := exec.Command(path, "--config.file="+config, "--storage.tsdb.path="+dir, "--web.listen-address="+address, "--storage.tsdb.retention.time=30y", "--log.level=error")
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); <-tick.C {
		response, err := http.Get("http://" + address + "/-/ready")
		if err != nil {
			continue
		}
		response.Body.Close()
		if response.StatusCode == http.StatusOK {
			p, err := history.NewPrometheus("http://"+address, http.DefaultClient)
			if err != nil {
				t.Fatal(err)
			}
			return p
		}
	}
	t.Fatalf("Prometheus did not become ready:\n%s", said.String())
	return nil
}
