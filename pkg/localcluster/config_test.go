package localcluster

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/pelletier/go-toml/v2"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/yaml"
)

func testInstance(t *testing.T) *Instance {
	t.Helper()
	i := &Instance{
		Dir: filepath.Join(t.TempDir(), "c"), BinDir: "/opt/plimsoll/bin", NodeName: "worker", SimulatedNodes: 3,
		Ports:      Ports{APIServer: 6443, EtcdClient: 6444, EtcdPeer: 6445, ControllerManager: 6446, Scheduler: 6447, Kubelet: 6448, KubeletHealth: 6449, Kwok: 6450},
		Network:    Network{Block: 99},
		CgroupMode: CgroupHybrid, CgroupRoot: "/plimsoll-local-test",
	}
	for _, d := range i.layout().dirs() {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return i
}

func TestCertificatesAreWhatEachSideAsksFor(t *testing.T) {
	i := testInstance(t)
	now := time.Now()
	if err := i.writePKI(now); err != nil {
		t.Fatal(err)
	}
	read := func(name string) *x509.Certificate {
		t.Helper()
		b, err := os.ReadFile(i.layout().pki(name + ".crt"))
		if err != nil {
			t.Fatal(err)
		}
		block, _ := pem.Decode(b)
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	pool := x509.NewCertPool()
	pool.AddCert(read("ca"))
	for name, tc := range map[string]struct {
		user, group string
		names       []string // what it must serve
		client      bool
	}{
		"etcd":                    {user: "etcd", names: []string{"127.0.0.1", "localhost"}, client: true},
		"etcd-client":             {user: "kube-apiserver", client: true},
		"kube-apiserver":          {user: "kube-apiserver", names: []string{"127.0.0.1", "localhost", "10.99.0.1", "10.99.2.1", "kubernetes.default.svc"}},
		"kubelet-client":          {user: kubeletClientUser, client: true},
		"front-proxy":             {user: frontProxyUser, client: true},
		"admin":                   {user: "plimsoll-local:admin", group: "system:masters", client: true},
		"kube-controller-manager": {user: "system:kube-controller-manager", names: []string{"127.0.0.1"}, client: true},
		"plimsoll-scheduler":      {user: "system:kube-scheduler", names: []string{"127.0.0.1"}, client: true},
		"kwok":                    {user: kwokUser, names: []string{"127.0.0.1"}, client: true},
		"kubelet":                 {user: "system:node:worker", group: "system:nodes", client: true},
		"kubelet-serving":         {user: "system:node:worker", group: "system:nodes", names: []string{"10.99.2.1", "127.0.0.1", "worker"}},
	} {
		t.Run(name, func(t *testing.T) {
			c := read(name)
			if c.Subject.CommonName != tc.user || (tc.group != "") != slices.Contains(c.Subject.Organization, tc.group) {
				t.Errorf("subject is %s, want user %q in group %q", c.Subject, tc.user, tc.group)
			}
			check := func(usage x509.ExtKeyUsage, want bool) {
				_, err := c.Verify(x509.VerifyOptions{Roots: pool, KeyUsages: []x509.ExtKeyUsage{usage}, CurrentTime: now.AddDate(9, 0, 0)})
				if (err == nil) != want {
					t.Errorf("usage %v: %v, want valid: %t", usage, err, want)
				}
			}
			check(x509.ExtKeyUsageClientAuth, tc.client)
			check(x509.ExtKeyUsageServerAuth, len(tc.names) > 0)
			for _, n := range tc.names {
				if err := c.VerifyHostname(n); err != nil {
					t.Errorf("does not serve %s: %v", n, err)
				}
			}
			info, err := os.Stat(i.layout().pki(name + ".key"))
			if err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("its key has mode %v (%v), want 0600", info.Mode(), err)
			}
		})
	}
	cfg, err := clientcmd.BuildConfigFromFlags("", i.layout().Kubeconfig())
	if err != nil || cfg.Host != "https://127.0.0.1:6443" {
		t.Errorf("kubeconfig names %v (%v)", cfg, err)
	}
}

func TestConfigurationsFitTheInstance(t *testing.T) {
	i := testInstance(t)
	if err := i.writeConfigs(""); err != nil {
		t.Fatal(err)
	}
	read := func(name string) map[string]any {
		t.Helper()
		b, err := os.ReadFile(i.layout().config(name))
		if err != nil {
			t.Fatal(err)
		}
		var m map[string]any
		if strings.HasSuffix(name, ".toml") {
			err = toml.Unmarshal(b, &m)
		} else {
			err = yaml.UnmarshalStrict(b, &m)
		}
		if err != nil {
			t.Fatalf("decoding %s: %v", name, err)
		}
		return m
	}
	kubelet := read("kubelet.yaml")
	for key, want := range map[string]any{
		"failCgroupV1": false, "cgroupRoot": "/plimsoll-local-test", "address": "10.99.2.1", "port": float64(6448), "readOnlyPort": float64(0),
		"authorization": map[string]any{"mode": "Webhook"}, "cgroupDriver": "cgroupfs", "failSwapOn": false,
	} {
		if diff := cmp.Diff(want, kubelet[key]); diff != "" {
			t.Errorf("kubelet.yaml %s (-want +got):\n%s", key, diff)
		}
	}
	plugins, ok := read("containerd.toml")["plugins"].(map[string]any)
	if !ok {
		t.Fatal("containerd.toml has no plugins")
	}
	nri, ok := plugins["io.containerd.nri.v1.nri"].(map[string]any)
	if !ok || nri["disable"] != false || nri["socket_path"] != "/var/run/nri/nri.sock" {
		t.Errorf("NRI is not on at its usual place: %v", nri)
	}
	if cni := read("cni/10-plimsoll.conflist"); !strings.Contains(fmt.Sprint(cni), "10.99.1.0/24") {
		t.Errorf("the pods' network is not the instance's: %v", cni)
	}
	var profiles []any
	scheduler := read("scheduler.yaml")
	for _, p := range scheduler["profiles"].([]any) {
		profiles = append(profiles, p.(map[string]any)["schedulerName"])
	}
	if diff := cmp.Diff([]any{"default-scheduler", "plimsoll-scheduler"}, profiles); diff != "" {
		t.Errorf("scheduler profiles (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]any{"kubeconfig": i.layout().componentKubeconfig("plimsoll-scheduler")}, scheduler["clientConnection"]); diff != "" {
		t.Errorf("scheduler clientConnection (-want +got):\n%s", diff)
	}
	stages, err := os.ReadFile(i.layout().config("kwok.yaml"))
	if err != nil || strings.Count(string(stages), "kind: Stage") != 5 {
		t.Errorf("kwok.yaml has %d stages (%v), want 5", strings.Count(string(stages), "kind: Stage"), err)
	}
}

func TestTheKubeletIsToldAboutCgroupV1OnlyThere(t *testing.T) {
	for mode, want := range map[CgroupMode]string{CgroupV1: "failCgroupV1: false", CgroupHybrid: "failCgroupV1: false", CgroupV2: "failCgroupV1: true"} {
		i := testInstance(t)
		i.CgroupMode = mode
		b, err := render("kubelet.yaml", i.configValues(false))
		if err != nil || !strings.Contains(string(b), want) {
			t.Errorf("%s: kubelet.yaml does not say %q (%v)", mode, want, err)
		}
	}
}

func TestASchedulerConfigurationOfOnesOwnIsPointedAtTheInstance(t *testing.T) {
	got, err := localSchedulerConfig([]byte("kind: KubeSchedulerConfiguration\nparallelism: 4\nclientConnection: {qps: 7, kubeconfig: elsewhere}\nleaderElection: {leaderElect: true}\n"), "/k")
	if err != nil {
		t.Fatal(err)
	}
	want := "clientConnection:\n  kubeconfig: /k\n  qps: 7\nkind: KubeSchedulerConfiguration\nleaderElection:\n  leaderElect: false\nparallelism: 4\n"
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("configuration (-want +got):\n%s", diff)
	}
	for name, bad := range map[string]string{"another kind": "kind: Pod\n", "no YAML": "{", "a key twice": "kind: KubeSchedulerConfiguration\nkind: KubeSchedulerConfiguration\n"} {
		if _, err := localSchedulerConfig([]byte(bad), "/k"); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}

func TestPartsAreUnmodifiedUpstreamWithTheVersionOfGoMod(t *testing.T) {
	seen := map[string]bool{}
	for _, p := range Parts() {
		if seen[p.Name] {
			t.Errorf("%s is listed twice", p.Name)
		}
		seen[p.Name] = true
		args, env := p.goBuild("v1.2.3")
		if got, want := slices.Contains(env, "CGO_ENABLED=1"), p.Name == "runc"; got != want {
			t.Errorf("%s: cgo is %t, want %t", p.Name, got, want)
		}
		if got, want := strings.Contains(strings.Join(args, " "), "gitVersion=v1.2.3"), strings.HasPrefix(p.Name, "kube") || p.Name == "plimsoll-scheduler"; got != want {
			t.Errorf("%s: version given: %t, want %t", p.Name, got, want)
		}
	}
	if got := partNames(missingParts(t.TempDir(), neededParts(true))); strings.Contains(got, "kubelet") || !strings.Contains(got, "kube-apiserver") {
		t.Errorf("a control plane needs %s", got)
	}
}
