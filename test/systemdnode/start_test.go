package systemdnode

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/plimsoll/plimsoll/test/guestimage"
)

const (
	// gateway is where the guest reaches the host's 127.0.0.1.
	gateway = "10.0.2.2"
	nodeIP  = "10.0.2.15"

	socket     = "/run/containerd/containerd.sock"
	pauseImage = "localhost/plimsoll/pause:dev"
	workImage  = "localhost/plimsoll/inside:dev"
	agentImage = "localhost/plimsoll/plimsoll-agent:dev"
)

// files is what is the node's own, by its path.
func files() map[string]string {
	return map[string]string{
		"/etc/containerd/config.toml": `version = 3
root = '/var/lib/containerd'
state = '/run/containerd'
imports = []
disabled_plugins = ['io.containerd.internal.v1.tracing', 'io.containerd.tracing.processor.v1.otlp', 'io.containerd.snapshotter.v1.devmapper',
  'io.containerd.snapshotter.v1.zfs', 'io.containerd.snapshotter.v1.erofs', 'io.containerd.snapshotter.v1.blockfile', 'io.containerd.differ.v1.erofs']
[grpc]
  address = '` + socket + `'
[plugins.'io.containerd.cri.v1.images']
  snapshotter = 'overlayfs'
[plugins.'io.containerd.cri.v1.images'.pinned_images]
  sandbox = '` + pauseImage + `'
[plugins.'io.containerd.cri.v1.runtime']
  disable_apparmor = true
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
  runtime_type = 'io.containerd.runc.v2'
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
  BinaryName = '/bin/runc'
  SystemdCgroup = true
[plugins.'io.containerd.cri.v1.runtime'.cni]
  bin_dirs = ['/bin']
  conf_dir = '/etc/cni/net.d'
  use_internal_loopback = true
[plugins.'io.containerd.nri.v1.nri']
  disable = false
  socket_path = '/var/run/nri/nri.sock'
  plugin_request_timeout = '60s'
  plugin_registration_timeout = '60s'
`,
		"/etc/cni/net.d/10-node.conflist": `{"cniVersion": "1.0.0", "name": "node", "plugins": [{"type": "ptp", "ipMasq": false,
  "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.88.0.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}]}}]}
`,
		"/etc/kubernetes/kubelet.yaml": `apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: ` + nodeIP + `
cgroupDriver: systemd
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}}
authorization: {mode: Webhook}
containerRuntimeEndpoint: unix://` + socket + `
volumePluginDir: /var/lib/kubelet/volume-plugins
resolvConf: ""
makeIPTablesUtilChains: false
runtimeRequestTimeout: 10m
evictionHard: {memory.available: 10Mi, nodefs.available: 1%, nodefs.inodesFree: 1%, imagefs.available: 1%}
`,
		unit("containerd"): `[Service]
ExecStart=/bin/containerd --config /etc/containerd/config.toml --log-level info
Type=notify
Delegate=yes
KillMode=process
Restart=always
OOMScoreAdjust=-999
TasksMax=infinity
StandardError=file:/var/log/containerd.log
`,
		unit("kubelet"): `[Unit]
After=containerd.service
[Service]
ExecStart=/bin/kubelet --config=/etc/kubernetes/kubelet.yaml --bootstrap-kubeconfig=/etc/kubernetes/admin.conf \
  --kubeconfig=/var/lib/kubelet/kubeconfig --hostname-override=` + nodeName + ` --node-ip=` + nodeIP + ` --cert-dir=/var/lib/kubelet/pki
Restart=always
RestartSec=1
StandardError=append:/var/log/kubelet.log
`,
	}
}

func unit(name string) string { return "/etc/systemd/system/" + name + ".service" }

// startServices makes a node of the guest: containerd and the kubelet as services of systemd.
func startServices(t *testing.T) {
	t.Helper()
	for at, options := range map[string]string{"/var/lib": "size=80%", "/var/log": ""} {
		if err := errors.Join(os.MkdirAll(at, 0o755), unix.Mount("tmpfs", at, "tmpfs", 0, options)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("/run", "/var/run"); err != nil {
		t.Fatal(err)
	}
	for name, text := range files() {
		if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, []byte(text), 0o644)); err != nil { //nolint:gosec // others read it
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		if !t.Failed() {
			return
		}
		for _, name := range []string{"containerd", "kubelet"} {
			b, _ := os.ReadFile("/var/log/" + name + ".log")
			t.Logf("the end of what %s said:\n%s", name, b[max(0, len(b)-20_000):])
		}
		logs, _ := filepath.Glob("/var/log/pods/*/*/*.log")
		for _, name := range logs {
			b, _ := os.ReadFile(name)
			t.Logf("the end of %s:\n%s", name, b[max(0, len(b)-5000):])
		}
	})
	systemctl(t, "daemon-reload")
	systemctl(t, "start", "containerd.service")
	guestimage.Import(t, socket, "overlayfs", map[string]string{pauseImage: "/bin/pause", workImage: "/bin/work", agentImage: "/bin/plimsoll-agent"})
	systemctl(t, "start", "kubelet.service")
}

func systemctl(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "/usr/bin/systemctl", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("systemctl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// forward leads connections to an address of the guest's to the API server on the host.
func forward(t *testing.T, from, port string) {
	t.Helper()
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	host, _, err := net.SplitHostPort(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := netlink.AddrReplace(lo, &netlink.Addr{IPNet: &net.IPNet{IP: net.ParseIP(host), Mask: net.CIDRMask(32, 32)}}); err != nil {
		t.Fatal(err)
	}
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", from)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer near.Close()
				far, err := (&net.Dialer{}).DialContext(context.Background(), "tcp", net.JoinHostPort(gateway, port))
				if err != nil {
					return
				}
				defer far.Close()
				go func() { _, _ = io.Copy(far, near); _ = far.Close() }()
				_, _ = io.Copy(near, far)
			}()
		}
	}()
}

// stamp is how long the machine has been up, by its own clock.
func stamp() string {
	b, _ := os.ReadFile("/proc/uptime")
	up, _, _ := strings.Cut(string(b), " ")
	return fmt.Sprintf("[%s s after boot]", up)
}
