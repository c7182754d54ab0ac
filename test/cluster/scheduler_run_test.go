package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/yaml"
)

// scheduler is a running plimsoll-scheduler.
type scheduler struct {
	log     string // path
	url     string
	process *os.Process
	exited  chan struct{}
}

func (s *scheduler) output(t *testing.T) string {
	t.Helper()
	content, err := os.ReadFile(s.log)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// signingProfile is a second profile of the scheduler under test. It lacks the default spreading
// constraints, with which no pod of a profile is ever signed, whatever the other plugins do.
const signingProfile = "signing"

// observingProfile is a third one, in which LoadAware only looks on.
const observingProfile = "observing"

// startScheduler runs plimsoll-scheduler until the test ends, with the configuration and the rights of
// its manifests, and with two profiles more.
func startScheduler(t *testing.T, cp *controlPlane, flags ...string) *scheduler {
	t.Helper()
	dir := t.TempDir()
	kubeconfig := cp.serviceAccountKubeconfig(t, dir, systemNamespace, "plimsoll-scheduler")
	config := readSchedulerConfig(t, manifests)
	deployed := config["profiles"].([]any)[0].(map[string]any)
	config["profiles"] = append(config["profiles"].([]any), map[string]any{
		"schedulerName": signingProfile,
		"plugins":       deployed["plugins"],
		"pluginConfig": []any{
			map[string]any{"name": "PodTopologySpread", "args": map[string]any{"defaultingType": "List"}},
			map[string]any{"name": "LoadAware", "args": map[string]any{"safeCPUPercent": 60}},
		},
	}, map[string]any{
		"schedulerName": observingProfile,
		"plugins":       deployed["plugins"],
		"pluginConfig":  []any{map[string]any{"name": "LoadAware", "args": map[string]any{"mode": "Observe"}}},
	})

	return runScheduler(t, cp, filepath.Join(cp.bin, "plimsoll-scheduler"), dir, kubeconfig, config, flags...)
}

// runScheduler runs a scheduler until the test ends.
func runScheduler(t *testing.T, cp *controlPlane, binary, dir, kubeconfig string, config map[string]any, flags ...string) *scheduler {
	t.Helper()
	config["clientConnection"] = map[string]any{"kubeconfig": kubeconfig}
	port := freePort(t)
	s := &scheduler{log: filepath.Join(dir, "log"), url: fmt.Sprint("https://127.0.0.1:", port), exited: make(chan struct{})}
	log, err := os.Create(s.log)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close() // the process has its own
	flags = append(flags,
		"--config="+writeYAML(t, dir, "config.yaml", config),
		"--authentication-kubeconfig="+kubeconfig, "--authorization-kubeconfig="+kubeconfig,
		"--bind-address=127.0.0.1", fmt.Sprint("--secure-port=", port),
		"--v=4") // at which it tells about batching
	cmd := exec.Command(binary, flags...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s.process = cmd.Process
	go func() {
		_ = cmd.Wait() // a test that needs it alive finds out by what does not happen
		close(s.exited)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-s.exited:
		case <-time.After(patience):
			t.Error("plimsoll-scheduler does not end on SIGTERM")
			_ = cmd.Process.Kill()
			<-s.exited
		}
		if t.Failed() {
			lines := strings.Split(s.output(t), "\n")
			t.Logf("the end of plimsoll-scheduler's log:\n%s", strings.Join(lines[max(0, len(lines)-200):], "\n"))
		}
	})
	return s
}

// readSchedulerConfig is the KubeSchedulerConfiguration that is deployed.
func readSchedulerConfig(t *testing.T, manifests string) map[string]any {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(manifests, "base/scheduler/config.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var config map[string]any
	if err := yaml.Unmarshal(content, &config); err != nil {
		t.Fatal(err)
	}
	return config
}

func writeYAML(t *testing.T, dir, name string, v any) string {
	t.Helper()
	content, err := yaml.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// serviceAccountKubeconfig writes a kubeconfig with the rights of a service account.
func (cp *controlPlane) serviceAccountKubeconfig(t *testing.T, dir, namespace, name string) string {
	t.Helper()
	token, err := cp.client.CoreV1().ServiceAccounts(namespace).CreateToken(t.Context(), name, &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	config := clientcmdapi.NewConfig()
	config.Clusters["local"] = &clientcmdapi.Cluster{
		Server:                   cp.config.Host,
		CertificateAuthority:     cp.config.CAFile,
		CertificateAuthorityData: cp.config.CAData,
		InsecureSkipTLSVerify:    cp.config.Insecure,
	}
	config.AuthInfos[name] = &clientcmdapi.AuthInfo{Token: token.Status.Token}
	config.Contexts["local"] = &clientcmdapi.Context{Cluster: "local", AuthInfo: name}
	config.CurrentContext = "local"
	path := filepath.Join(dir, name+".kubeconfig")
	if err := clientcmd.WriteToFile(*config, path); err != nil {
		t.Fatal(err)
	}
	return path
}

// A pod is batched when all plugins of its profile sign it. One that does not would switch batching off.
func testPodsAreSigned(t *testing.T, cp *controlPlane, s *scheduler) {
	p := cp.newNodePair(t, "signed")
	p.schedulerName = signingProfile
	p.pick(t, nil)
	eventually(t, "the order of nodes to be kept for the next pod", func(context.Context) (bool, error) {
		for line := range strings.SplitSeq(s.output(t), "\n") {
			if strings.Contains(line, "OpportunisticBatch set batch information") && strings.Contains(line, signingProfile) {
				return true, nil
			}
		}
		return false, nil
	})
}

func testNothingWasForbidden(t *testing.T, s *scheduler) {
	for line := range strings.SplitSeq(s.output(t), "\n") {
		// What was forbidden to a reader of the record is told of too, and is another test's doing.
		if strings.Contains(strings.ToLower(line), "forbidden") && !strings.Contains(line, `URI="/configz"`) {
			t.Error(line)
		}
	}
}

func testBadArguments(t *testing.T, cp *controlPlane) {
	const args = "profiles[plimsoll-scheduler].pluginConfig[LoadAware].args"
	dir := t.TempDir()
	kubeconfig := cp.serviceAccountKubeconfig(t, dir, systemNamespace, "plimsoll-scheduler")
	tests := map[string]struct {
		args map[string]any
		want []string
	}{
		"an unknown field": {
			map[string]any{"safeCpuPercentage": 70},
			[]string{args, `unknown field "safeCpuPercentage"`},
		},
		"a value out of range": {
			map[string]any{"safeCPUPercent": 101},
			[]string{args + ".safeCPUPercent", "101", "from 1 to 100"},
		},
		"several values out of range": {
			map[string]any{"staleAfterSeconds": 0, "maturityMilliseconds": -1},
			[]string{
				args + ".staleAfterSeconds", "0", "from 2 to 3600",
				args + ".maturityMilliseconds", "-1", "from 0 to 3600000",
			},
		},
		"another kind": {
			map[string]any{"apiVersion": "plimsoll.dev/v1alpha1", "kind": "AgentConfiguration"},
			[]string{args + ".kind", "AgentConfiguration", "LoadAwareArgs"},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			config := readSchedulerConfig(t, manifests)
			config["clientConnection"] = map[string]any{"kubeconfig": kubeconfig}
			config["leaderElection"] = map[string]any{"leaderElect": false}
			profile := config["profiles"].([]any)[0].(map[string]any)
			profile["pluginConfig"].([]any)[0].(map[string]any)["args"] = tt.args
			path := writeYAML(t, t.TempDir(), "bad.yaml", config)

			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			var stderr bytes.Buffer
			cmd := exec.CommandContext(ctx, filepath.Join(cp.bin, "plimsoll-scheduler"), "--config="+path,
				"--authentication-kubeconfig="+kubeconfig, "--authorization-kubeconfig="+kubeconfig,
				"--bind-address=127.0.0.1", fmt.Sprint("--secure-port=", freePort(t)))
			cmd.Stderr = &stderr
			err := cmd.Run()
			var exit *exec.ExitError
			if !errors.As(err, &exit) || exit.ExitCode() <= 0 {
				t.Fatalf("ended with %v, want a non-zero exit status of its own:\n%s", err, stderr.String())
			}
			// All of it on the one line that reports the failure.
			lines := strings.Split(strings.TrimSpace(stderr.String()), "\n")
			last := lines[len(lines)-1]
			// klog quotes the error, and with it the quotes in it.
			last = strings.ReplaceAll(last, `\"`, `"`)
			for _, want := range append(tt.want, path) {
				if !strings.Contains(last, want) {
					t.Errorf("last line = %s\nwant it to contain %q", last, want)
				}
			}
		})
	}
}
