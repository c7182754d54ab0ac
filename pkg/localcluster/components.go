package localcluster

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

// component is one supervised process.
type component struct {
	name string
	bin  string
	args []string
	// after names the components that must have been ready once before this one is started.
	after []string
	// node is set on what runs in the node's mount namespace.
	node bool
	// ready answers nil when the component does its work.
	ready func(context.Context) error
}

// components are an instance's processes, in the order in which people think of them.
func (i *Instance) components() ([]component, error) {
	l, p := i.layout(), i.Ports
	client, err := healthClient(l)
	if err != nil {
		return nil, err
	}
	healthy := func(url string) func(context.Context) error {
		return func(ctx context.Context) error { return getOK(ctx, client, url) }
	}
	local := func(port int, path string) string { return fmt.Sprintf("https://127.0.0.1:%d%s", port, path) }
	cs := []component{
		{name: "etcd", bin: "etcd", args: i.etcdArgs(), ready: healthy(local(p.EtcdClient, "/health"))},
		{name: "kube-apiserver", bin: "kube-apiserver", args: i.apiserverArgs(), after: []string{"etcd"}, ready: healthy(local(p.APIServer, "/readyz"))},
		{name: "kube-controller-manager", bin: "kube-controller-manager", args: i.controllerManagerArgs(), after: []string{"kube-apiserver"},
			ready: healthy(local(p.ControllerManager, "/healthz"))},
		{name: "plimsoll-scheduler", bin: "plimsoll-scheduler", args: i.schedulerArgs(), after: []string{"kube-apiserver"},
			ready: healthy(local(p.Scheduler, "/healthz"))},
	}
	if i.SimulatedNodes > 0 {
		cs = append(cs, component{name: "kwok", bin: "kwok", after: []string{"kube-apiserver"},
			args: []string{
				"--config=" + l.config("kwok.yaml"), "--kubeconfig=" + l.componentKubeconfig("kwok"),
				fmt.Sprintf("--server-address=127.0.0.1:%d", p.Kwok), "--tls-cert-file=" + l.pki("kwok.crt"), "--tls-private-key-file=" + l.pki("kwok.key"),
			},
			ready: healthy(fmt.Sprintf("http://127.0.0.1:%d/healthz", p.Kwok))})
	}
	if !i.ControlPlaneOnly {
		cs = append(cs,
			component{name: "containerd", bin: "containerd", node: true, args: []string{"--config", l.config("containerd.toml"), "--log-level", "info"},
				ready: func(ctx context.Context) error { return containerdServing(ctx, l.ContainerdSocket()) }},
			component{name: "kubelet", bin: "kubelet", node: true, after: []string{"kube-apiserver", "containerd"},
				args: []string{
					"--config=" + l.config("kubelet.yaml"), "--kubeconfig=" + l.componentKubeconfig("kubelet"),
					"--hostname-override=" + i.NodeName, "--node-ip=" + i.Network.NodeIP().String(),
				},
				ready: healthy(fmt.Sprintf("http://127.0.0.1:%d/healthz", p.KubeletHealth))})
	}
	for n := range cs {
		cs[n].bin = filepath.Join(i.BinDir, cs[n].bin)
	}
	return cs, nil
}

func (i *Instance) etcdArgs() []string {
	l, p := i.layout(), i.Ports
	client, peer := fmt.Sprintf("https://127.0.0.1:%d", p.EtcdClient), fmt.Sprintf("https://127.0.0.1:%d", p.EtcdPeer)
	args := []string{
		"--name=local", "--data-dir=" + l.path("etcd", "data"),
		"--listen-client-urls=" + client, "--advertise-client-urls=" + client, "--listen-peer-urls=" + peer,
		"--initial-advertise-peer-urls=" + peer, "--initial-cluster=local=" + peer, "--log-level=warn",
		// What is lost in a power cut is a throwaway cluster; the writes would disturb what is measured on it.
		"--unsafe-no-fsync",
	}
	for _, prefix := range []string{"", "peer-"} {
		args = append(args, "--"+prefix+"client-cert-auth", "--"+prefix+"trusted-ca-file="+l.pki("ca.crt"),
			"--"+prefix+"cert-file="+l.pki("etcd.crt"), "--"+prefix+"key-file="+l.pki("etcd.key"))
	}
	return args
}

func (i *Instance) apiserverArgs() []string {
	l, p := i.layout(), i.Ports
	advertise, reconciler := i.Network.NodeIP().String(), "lease"
	if i.ControlPlaneOnly {
		// There are no pods to reach it and no address but 127.0.0.1, which endpoints may not have.
		advertise, reconciler = "127.0.0.1", "none"
	}
	args := append(i.gates(),
		"--bind-address=127.0.0.1", fmt.Sprintf("--secure-port=%d", p.APIServer), "--advertise-address="+advertise,
		"--endpoint-reconciler-type="+reconciler,
		fmt.Sprintf("--etcd-servers=https://127.0.0.1:%d", p.EtcdClient), "--etcd-cafile="+l.pki("ca.crt"),
		"--etcd-certfile="+l.pki("etcd-client.crt"), "--etcd-keyfile="+l.pki("etcd-client.key"),
		"--tls-cert-file="+l.pki("kube-apiserver.crt"), "--tls-private-key-file="+l.pki("kube-apiserver.key"),
		"--client-ca-file="+l.pki("ca.crt"), "--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction",
		"--kubelet-client-certificate="+l.pki("kubelet-client.crt"), "--kubelet-client-key="+l.pki("kubelet-client.key"),
		"--kubelet-certificate-authority="+l.pki("ca.crt"), "--kubelet-preferred-address-types=InternalIP",
		// For servers that extend the API; without it every component complains about its absence each minute.
		"--requestheader-client-ca-file="+l.pki("ca.crt"), "--requestheader-allowed-names="+frontProxyUser,
		"--requestheader-username-headers=X-Remote-User", "--requestheader-group-headers=X-Remote-Group",
		"--requestheader-extra-headers-prefix=X-Remote-Extra-",
		"--proxy-client-cert-file="+l.pki("front-proxy.crt"), "--proxy-client-key-file="+l.pki("front-proxy.key"),
		"--service-account-issuer=https://kubernetes.default.svc", "--service-account-key-file="+l.pki("service-account.pub"),
		"--service-account-signing-key-file="+l.pki("service-account.key"), "--service-cluster-ip-range="+i.Network.ServiceCIDR(),
		"--allow-privileged=true", "--profiling=false")
	if i.RuntimeConfig != "" {
		args = append(args, "--runtime-config="+i.RuntimeConfig)
	}
	return args
}

// gates are the feature gates that are not at their defaults.
func (i *Instance) gates() []string {
	if i.FeatureGates == "" {
		return nil
	}
	return []string{"--feature-gates=" + i.FeatureGates}
}

// servingArgs are what the controller manager and the scheduler have in common.
func (i *Instance) servingArgs(name string, port int) []string {
	l := i.layout()
	return append(i.gates(),
		"--bind-address=127.0.0.1", fmt.Sprintf("--secure-port=%d", port),
		"--tls-cert-file="+l.pki(name+".crt"), "--tls-private-key-file="+l.pki(name+".key"),
		"--authentication-kubeconfig="+l.componentKubeconfig(name), "--authorization-kubeconfig="+l.componentKubeconfig(name))
}

func (i *Instance) controllerManagerArgs() []string {
	l := i.layout()
	return append(i.servingArgs("kube-controller-manager", i.Ports.ControllerManager),
		"--kubeconfig="+l.componentKubeconfig("kube-controller-manager"), "--leader-elect=false", "--use-service-account-credentials=true",
		// The default makes every start wait for seconds while forty controllers get their tokens.
		"--kube-api-qps=500", "--kube-api-burst=1000",
		"--root-ca-file="+l.pki("ca.crt"), "--service-account-private-key-file="+l.pki("service-account.key"),
		"--cluster-signing-cert-file="+l.pki("ca.crt"), "--cluster-signing-key-file="+l.pki("ca.key"))
}

func (i *Instance) schedulerArgs() []string {
	return append(i.servingArgs("plimsoll-scheduler", i.Ports.Scheduler), "--config="+i.layout().config("scheduler.yaml"))
}

// environ is what every component gets. It is made from nothing, so that an instance does not depend on who ran up.
func (i *Instance) environ() []string {
	l := i.layout()
	return []string{
		"PATH=" + i.BinDir + ":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"HOME=" + l.path("home"), "TMPDIR=" + l.path("tmp"), markEnv + "=" + i.Dir,
	}
}

// healthClient trusts the instance's authority and shows the administrator's certificate.
func healthClient(l Layout) (*http.Client, error) {
	ca, err := os.ReadFile(l.pki("ca.crt"))
	if err != nil {
		return nil, fmt.Errorf("reading the authority's certificate: %w", err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	cert, err := tls.LoadX509KeyPair(l.pki("admin.crt"), l.pki("admin.key"))
	if err != nil {
		return nil, fmt.Errorf("reading the administrator's certificate: %w", err)
	}
	return &http.Client{
		Timeout:   5 * time.Second,
		Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}},
	}, nil
}

func getOK(ctx context.Context, c *http.Client, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return fmt.Errorf("making a health request: %w", err)
	}
	resp, err := c.Do(req)
	if err != nil {
		return fmt.Errorf("asking for health: %w", err)
	}
	defer resp.Body.Close()
	// Read to the end, or the connection is not used again.
	if _, err := io.Copy(io.Discard, io.LimitReader(resp.Body, 1<<16)); err != nil {
		return fmt.Errorf("reading from %s: %w", url, err)
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("asking %s: %s", url, resp.Status)
	}
	return nil
}

func unixDialer(socket string) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}
}
