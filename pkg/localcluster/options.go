package localcluster

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"
)

// Defaults of Options.
const (
	DefaultPort     = 6443
	DefaultNodeName = "plimsoll-local"

	// markEnv names the variable that every process of an instance carries; its value is the instance's directory.
	markEnv = "PLIMSOLL_LOCAL_DIR"
	// instanceFile marks a directory as ours. Down deletes no directory that lacks it.
	instanceFile = "instance.json"
	// maxSocketPath is what fits into sun_path with its final zero byte.
	maxSocketPath = 107
)

// Options says what to bring up. The zero value of a field means its default.
type Options struct {
	// Dir holds everything of the instance. Default: DefaultDir().
	Dir string
	// BinDir holds the parts (see Parts). Default: the directory of the running executable.
	BinDir string
	// Port is the API server's on 127.0.0.1; the other components use free ports after it.
	Port int
	// NodeName is the real node's name.
	NodeName string
	// SimulatedNodes is how many nodes kwok pretends to run.
	SimulatedNodes int
	// ControlPlaneOnly leaves out containerd and the kubelet; works without root.
	ControlPlaneOnly bool
	// SchedulerConfig is a KubeSchedulerConfiguration file to use in place of the built-in one.
	// Its clientConnection and leaderElection are set for the instance.
	SchedulerConfig string
	// FeatureGates is Kubernetes' feature gates that are not at their defaults, as its components take them
	// (GenericWorkload=true); RuntimeConfig is the same for the versions of the API that are served.
	FeatureGates, RuntimeConfig string
	// CgroupRoot is the group that holds everything, absolute in each hierarchy. Default: derived from Dir.
	CgroupRoot string
	// Progress receives one line a step. Nil discards them.
	Progress io.Writer
}

// DefaultDir is where an instance lives when nothing else is said.
func DefaultDir() string {
	if os.Geteuid() == 0 {
		return "/var/lib/plimsoll-local"
	}
	if state := os.Getenv("XDG_STATE_HOME"); state != "" {
		return filepath.Join(state, "plimsoll-local")
	}
	home, err := os.UserHomeDir()
	if err != nil {
		home = os.TempDir()
	}
	return filepath.Join(home, ".local", "state", "plimsoll-local")
}

func (o Options) withDefaults() (Options, error) {
	if o.Dir == "" {
		o.Dir = DefaultDir()
	}
	var err error
	if o.Dir, err = canonicalDir(o.Dir); err != nil {
		return o, err
	}
	if o.BinDir == "" {
		exe, err := os.Executable()
		if err != nil {
			return o, fmt.Errorf("finding the running executable: %w", err)
		}
		o.BinDir = filepath.Dir(exe)
	}
	if o.BinDir, err = filepath.Abs(o.BinDir); err != nil {
		return o, fmt.Errorf("making %s absolute: %w", o.BinDir, err)
	}
	if o.SchedulerConfig != "" {
		if o.SchedulerConfig, err = filepath.Abs(o.SchedulerConfig); err != nil {
			return o, fmt.Errorf("making %s absolute: %w", o.SchedulerConfig, err)
		}
	}
	if o.Port == 0 {
		o.Port = DefaultPort
	}
	if o.NodeName == "" {
		o.NodeName = DefaultNodeName
	}
	if o.CgroupRoot == "" {
		o.CgroupRoot = DefaultCgroupRoot(o.Dir)
	}
	if o.Progress == nil {
		o.Progress = io.Discard
	}
	return o, o.validate()
}

func (o Options) validate() error {
	var errs []error
	if o.Port < 1024 || o.Port > 65000 {
		errs = append(errs, fmt.Errorf("--port %d: must be between 1024 and 65000", o.Port))
	}
	if o.SimulatedNodes < 0 || o.SimulatedNodes > 20000 {
		errs = append(errs, fmt.Errorf("--simulated-nodes %d: must be between 0 and 20000", o.SimulatedNodes))
	}
	for _, msg := range validation.IsDNS1123Subdomain(o.NodeName) {
		errs = append(errs, fmt.Errorf("--node-name %q: %s", o.NodeName, msg))
	}
	if !strings.HasPrefix(o.CgroupRoot, "/plimsoll-") || strings.Contains(o.CgroupRoot[1:], "/") {
		errs = append(errs, fmt.Errorf("--cgroup-root %q: must be one name that starts with /plimsoll-, because down removes it with all that is in it", o.CgroupRoot))
	}
	if n := len(Layout{o.Dir}.ContainerdSocket()); n > maxSocketPath {
		errs = append(errs, fmt.Errorf("--dir %s is %d characters too long for the sockets below it: choose a shorter path", o.Dir, n-maxSocketPath))
	}
	return errors.Join(errs...)
}

// canonicalDir makes dir absolute and resolves the links in the part of it that exists, so that
// one directory has one name, one hash and one mark.
func canonicalDir(dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("making %s absolute: %w", dir, err)
	}
	rest := ""
	for p := dir; ; p = filepath.Dir(p) {
		real, err := filepath.EvalSymlinks(p)
		if err == nil {
			return filepath.Join(real, rest), nil
		}
		if !errors.Is(err, fs.ErrNotExist) || p == "/" {
			return "", fmt.Errorf("resolving %s: %w", p, err)
		}
		rest = filepath.Join(filepath.Base(p), rest)
	}
}

func dirHash(dir string) [sha256.Size]byte { return sha256.Sum256([]byte(dir)) }

// DefaultCgroupRoot is the group of the instance in dir, absolute in each hierarchy.
func DefaultCgroupRoot(dir string) string {
	h := dirHash(dir)
	return "/plimsoll-local-" + hex.EncodeToString(h[:4])
}

// Ports are those of one instance, all on 127.0.0.1 except the kubelet's, which is on the node's address.
type Ports struct {
	APIServer         int `json:"apiserver"`
	EtcdClient        int `json:"etcdClient"`
	EtcdPeer          int `json:"etcdPeer"`
	ControllerManager int `json:"controllerManager"`
	Scheduler         int `json:"scheduler"`
	Kubelet           int `json:"kubelet"`
	KubeletHealth     int `json:"kubeletHealth"`
	Kwok              int `json:"kwok"`
}

// text lists them for people.
func (p Ports) text(controlPlaneOnly bool) string {
	s := fmt.Sprintf("API server %d, etcd %d and %d, controller manager %d, scheduler %d", p.APIServer, p.EtcdClient, p.EtcdPeer, p.ControllerManager, p.Scheduler)
	if !controlPlaneOnly {
		s += fmt.Sprintf(", kubelet %d and %d", p.Kubelet, p.KubeletHealth)
	}
	return s
}

// Instance is what an up has decided, kept in Dir/instance.json from before the first change to the
// machine on, so that down can undo all of it.
type Instance struct {
	Dir              string            `json:"dir"`
	BinDir           string            `json:"binDir"`
	NodeName         string            `json:"nodeName"`
	SimulatedNodes   int               `json:"simulatedNodes"`
	ControlPlaneOnly bool              `json:"controlPlaneOnly"`
	FeatureGates     string            `json:"featureGates,omitempty"`
	RuntimeConfig    string            `json:"runtimeConfig,omitempty"`
	Ports            Ports             `json:"ports"`
	Network          Network           `json:"network"`
	CgroupMode       CgroupMode        `json:"cgroupMode,omitempty"`
	CgroupRoot       string            `json:"cgroupRoot,omitempty"`
	Sysctls          map[string]string `json:"sysctls,omitempty"`
	// RootControllers are the cgroup v2 controllers that up switched on for the root's children.
	RootControllers []string `json:"rootControllers,omitempty"`
}

func (i *Instance) layout() Layout { return Layout{i.Dir} }

func (i *Instance) save() error {
	b, err := json.MarshalIndent(i, "", "  ")
	if err != nil {
		return fmt.Errorf("encoding the instance: %w", err)
	}
	return writeFile(filepath.Join(i.Dir, instanceFile), append(b, '\n'), 0o644)
}

func loadInstance(dir string) (*Instance, error) {
	b, err := os.ReadFile(filepath.Join(dir, instanceFile))
	if err != nil {
		return nil, fmt.Errorf("reading the instance: %w", err)
	}
	var inst Instance
	if err := json.Unmarshal(b, &inst); err != nil {
		return nil, fmt.Errorf("decoding %s: %w", filepath.Join(dir, instanceFile), err)
	}
	return &inst, nil
}

// writeFile replaces path in one step: a reader, or a kill, never leaves half a file.
func writeFile(path string, data []byte, mode fs.FileMode) error {
	tmp := path + ".tmp"
	if err := os.WriteFile(tmp, data, mode); err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	if err := os.Rename(tmp, path); err != nil {
		return fmt.Errorf("replacing %s: %w", path, err)
	}
	return nil
}

// Layout names the files below an instance's directory.
type Layout struct{ Dir string }

func (l Layout) path(elem ...string) string {
	return filepath.Join(append([]string{l.Dir}, elem...)...)
}

// Kubeconfig is the cluster administrator's.
func (l Layout) Kubeconfig() string { return l.path("kubeconfig") }

// Log is where a component's output goes.
func (l Layout) Log(component string) string { return l.path("logs", component+".log") }

// ContainerdSocket is containerd's gRPC socket as the host sees it; on the node it is at the usual place.
func (l Layout) ContainerdSocket() string {
	return l.path("node", "run", "containerd", "containerd.sock")
}

// NRISocket is where NRI plugins connect, as the host sees it.
func (l Layout) NRISocket() string { return l.path("node", "run", "nri", "nri.sock") }

func (l Layout) controlSocket() string               { return l.path("control.sock") }
func (l Layout) config(name string) string           { return l.path("config", name) }
func (l Layout) pki(name string) string              { return l.path("pki", name) }
func (l Layout) componentKubeconfig(n string) string { return l.path("config", n+".kubeconfig") }

// dirs are made by up; the first must stay the parent of all others.
func (l Layout) dirs() []string {
	return []string{
		l.Dir, l.path("pki"), l.path("config"), l.path("config", "cni"), l.path("logs"), l.path("tmp"),
		l.path("home"), l.path("etcd"), l.path("node"), l.path("node", "run"), l.path("node", "log"), l.path("node", "varlib"),
	}
}

// Network is the instance's private block of addresses, a /16 of 10/8 named by its second octet.
type Network struct {
	Block int `json:"block"`
}

func (n Network) addr(c, d byte) netip.Addr { return netip.AddrFrom4([4]byte{10, byte(n.Block), c, d}) }

// ServiceCIDR holds the cluster IPs of services.
func (n Network) ServiceCIDR() string { return n.addr(0, 0).String() + "/24" }

// ServiceIP is the kubernetes service's.
func (n Network) ServiceIP() netip.Addr { return n.addr(0, 1) }

// PodCIDR holds the addresses of pods with a network namespace of their own.
func (n Network) PodCIDR() string { return n.addr(1, 0).String() + "/24" }

// NodeIP is the node's.
func (n Network) NodeIP() netip.Addr { return n.addr(2, 1) }
