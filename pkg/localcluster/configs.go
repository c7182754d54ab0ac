package localcluster

import (
	"bytes"
	"embed"
	"fmt"
	"os"
	"text/template"

	"golang.org/x/sys/unix"
	nodefast "sigs.k8s.io/kwok/kustomize/stage/node/fast"
	nodeheartbeat "sigs.k8s.io/kwok/kustomize/stage/node/heartbeat-with-lease"
	podfast "sigs.k8s.io/kwok/kustomize/stage/pod/fast"
	"sigs.k8s.io/yaml"
)

//go:embed templates
var templates embed.FS

// PauseImage is the image of pods' sandboxes, made from our own pause binary.
const PauseImage = "localhost/plimsoll/pause:dev"

// SimulatedLabel is on the nodes that kwok runs, and on no other.
const SimulatedLabel = "plimsoll.dev/simulated"

// configValues is what the templates may use.
type configValues struct {
	Ports          Ports
	NodeIP         string
	PodCIDR        string
	PKI            string
	BinDir         string
	CNIDir         string
	CgroupRoot     string
	FailCgroupV1   bool
	RestrictOOM    bool
	PauseImage     string
	SimulatedLabel string
	Stages         []string
}

func (i *Instance) configValues(restrictOOM bool) configValues {
	l := i.layout()
	return configValues{
		Ports: i.Ports, NodeIP: i.Network.NodeIP().String(), PodCIDR: i.Network.PodCIDR(), PKI: l.path("pki"), BinDir: i.BinDir,
		CNIDir: l.path("config", "cni"), CgroupRoot: i.CgroupRoot,
		// Kubelets since 1.35 refuse to start on v1 unless this is false.
		FailCgroupV1: !i.CgroupMode.V1(), RestrictOOM: restrictOOM, PauseImage: PauseImage, SimulatedLabel: SimulatedLabel,
		Stages: []string{
			nodefast.DefaultNodeInit, nodeheartbeat.DefaultNodeHeartbeatWithLease,
			podfast.DefaultPodReady, podfast.DefaultPodComplete, podfast.DefaultPodDelete,
		},
	}
}

// writeConfigs renders every component's file.
func (i *Instance) writeConfigs(schedulerConfig string) error {
	l := i.layout()
	files := map[string]string{"kwok.yaml": l.config("kwok.yaml")}
	restrictOOM := false
	if !i.ControlPlaneOnly {
		files["containerd.toml"] = l.config("containerd.toml")
		files["kubelet.yaml"] = l.config("kubelet.yaml")
		files["cni.conflist"] = l.path("config", "cni", "10-plimsoll.conflist")
		// Lowering a container's score below our own needs a capability that even root may lack.
		restrictOOM = !hasCapability(unix.CAP_SYS_RESOURCE)
	}
	v := i.configValues(restrictOOM)
	for name, path := range files {
		b, err := render(name, v)
		if err != nil {
			return err
		}
		if err := writeFile(path, b, 0o644); err != nil {
			return err
		}
	}
	return i.writeSchedulerConfig(schedulerConfig)
}

func render(name string, v configValues) ([]byte, error) {
	t, err := template.New(name).Option("missingkey=error").ParseFS(templates, "templates/"+name)
	if err != nil {
		return nil, fmt.Errorf("parsing the template of %s: %w", name, err)
	}
	var out bytes.Buffer
	if err := t.Execute(&out, v); err != nil {
		return nil, fmt.Errorf("rendering %s: %w", name, err)
	}
	return out.Bytes(), nil
}

// writeSchedulerConfig takes the given file, or the built-in one, and points it at this instance.
func (i *Instance) writeSchedulerConfig(path string) error {
	b, err := templates.ReadFile("templates/scheduler.yaml")
	if path != "" {
		b, err = os.ReadFile(path)
	}
	if err != nil {
		return fmt.Errorf("reading the scheduler's configuration: %w", err)
	}
	l := i.layout()
	b, err = localSchedulerConfig(b, l.componentKubeconfig("plimsoll-scheduler"))
	if err != nil {
		return fmt.Errorf("reading the scheduler's configuration %s: %w", path, err)
	}
	return writeFile(l.config("scheduler.yaml"), b, 0o644)
}

func localSchedulerConfig(config []byte, kubeconfig string) ([]byte, error) {
	var m map[string]any
	if err := yaml.UnmarshalStrict(config, &m); err != nil {
		return nil, fmt.Errorf("decoding: %w", err)
	}
	if m["kind"] != "KubeSchedulerConfiguration" {
		return nil, fmt.Errorf("kind is %v, want KubeSchedulerConfiguration", m["kind"])
	}
	conn, ok := m["clientConnection"].(map[string]any)
	if !ok {
		conn = map[string]any{}
	}
	conn["kubeconfig"] = kubeconfig
	m["clientConnection"] = conn
	m["leaderElection"] = map[string]any{"leaderElect": false}
	out, err := yaml.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("encoding: %w", err)
	}
	return out, nil
}

func hasCapability(c int) bool {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&hdr, &data[0]); err != nil {
		return false
	}
	return data[c/32].Effective&(1<<(c%32)) != 0
}
