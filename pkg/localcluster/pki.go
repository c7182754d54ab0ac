package localcluster

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"time"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// certYears is how long certificates last. Nothing renews them: an instance is made anew in seconds.
const certYears = 10

// frontProxyUser is who the API server is to the servers that extend it.
const frontProxyUser = "plimsoll-local:front-proxy"

// identity is one certificate to make.
type identity struct {
	file   string // name below pki, without .crt and .key
	user   string // common name
	groups []string
	hosts  []string // names and addresses it serves; empty for a client
	client bool
}

// kubeletClientUser is whom the API server is to kubelets.
const kubeletClientUser = "plimsoll-local:kube-apiserver"

// kwokUser is who kwok is.
const kwokUser = "plimsoll-local:kwok"

func (i *Instance) identities() []identity {
	local := []string{"localhost", "127.0.0.1"}
	api := append([]string{"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"}, local...)
	api = append(api, i.Network.ServiceIP().String(), i.Network.NodeIP().String())
	ids := []identity{
		{file: "etcd", user: "etcd", hosts: local, client: true}, // its peer listener dials itself
		{file: "etcd-client", user: "kube-apiserver", client: true},
		{file: "kube-apiserver", user: "kube-apiserver", hosts: api},
		{file: "kubelet-client", user: kubeletClientUser, client: true},
		{file: "front-proxy", user: frontProxyUser, client: true},
		{file: "admin", user: "plimsoll-local:admin", groups: []string{"system:masters"}, client: true},
		{file: "kube-controller-manager", user: "system:kube-controller-manager", hosts: local, client: true},
		{file: "plimsoll-scheduler", user: "system:kube-scheduler", hosts: local, client: true},
		{file: "kwok", user: kwokUser, hosts: local, client: true},
	}
	if !i.ControlPlaneOnly {
		ids = append(ids,
			identity{file: "kubelet", user: "system:node:" + i.NodeName, groups: []string{"system:nodes"}, client: true},
			identity{file: "kubelet-serving", user: "system:node:" + i.NodeName, groups: []string{"system:nodes"}, hosts: append(local, i.NodeName, i.Network.NodeIP().String())})
	}
	return ids
}

type authority struct {
	cert *x509.Certificate
	key  crypto.Signer
	now  time.Time
}

// writePKI makes an authority of the instance's own and all certificates and kubeconfigs.
func (i *Instance) writePKI(now time.Time) error {
	l := i.layout()
	ca, err := newAuthority(now)
	if err != nil {
		return err
	}
	if err := writePair(l.pki("ca"), ca.cert.Raw, ca.key); err != nil {
		return err
	}
	for _, id := range i.identities() {
		if err := ca.issue(id, l.pki(id.file)); err != nil {
			return err
		}
	}
	// Service account tokens are signed with RSA: the one kind that every client library verifies.
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return fmt.Errorf("making the service account key: %w", err)
	}
	if err := writeKey(l.pki("service-account.key"), key); err != nil {
		return err
	}
	pub, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return fmt.Errorf("encoding the service account key: %w", err)
	}
	if err := writePEM(l.pki("service-account.pub"), "PUBLIC KEY", pub, 0o644); err != nil {
		return err
	}
	return i.writeKubeconfigs()
}

func (i *Instance) writeKubeconfigs() error {
	l := i.layout()
	if err := i.writeKubeconfig(l.Kubeconfig(), "admin"); err != nil {
		return err
	}
	users := []string{"kube-controller-manager", "plimsoll-scheduler", "kwok"}
	if !i.ControlPlaneOnly {
		users = append(users, "kubelet")
	}
	for _, u := range users {
		if err := i.writeKubeconfig(l.componentKubeconfig(u), u); err != nil {
			return err
		}
	}
	return nil
}

func (i *Instance) writeKubeconfig(path, id string) error {
	l := i.layout()
	read := map[string][]byte{}
	for _, f := range []string{"ca.crt", id + ".crt", id + ".key"} {
		b, err := os.ReadFile(l.pki(f))
		if err != nil {
			return fmt.Errorf("reading a certificate: %w", err)
		}
		read[f] = b
	}
	const name = "plimsoll-local"
	cfg := clientcmdapi.NewConfig()
	cfg.Clusters[name] = &clientcmdapi.Cluster{Server: i.server(), CertificateAuthorityData: read["ca.crt"]}
	cfg.AuthInfos[id] = &clientcmdapi.AuthInfo{ClientCertificateData: read[id+".crt"], ClientKeyData: read[id+".key"]}
	cfg.Contexts[name] = &clientcmdapi.Context{Cluster: name, AuthInfo: id}
	cfg.CurrentContext = name
	if err := clientcmd.WriteToFile(*cfg, path); err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return nil
}

func (i *Instance) server() string { return fmt.Sprintf("https://127.0.0.1:%d", i.Ports.APIServer) }

func newAuthority(now time.Time) (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making the authority's key: %w", err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "plimsoll-local"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.AddDate(certYears, 0, 0),
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature, BasicConstraintsValid: true, IsCA: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("making the authority's certificate: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("reading back the authority's certificate: %w", err)
	}
	return &authority{cert: cert, key: key, now: now}, nil
}

func (ca *authority) issue(id identity, path string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("making the key of %s: %w", id.file, err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return fmt.Errorf("making the serial number of %s: %w", id.file, err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: id.user, Organization: id.groups},
		NotBefore: ca.now.Add(-time.Hour), NotAfter: ca.now.AddDate(certYears, 0, 0), KeyUsage: x509.KeyUsageDigitalSignature,
	}
	if id.client {
		tmpl.ExtKeyUsage = append(tmpl.ExtKeyUsage, x509.ExtKeyUsageClientAuth)
	}
	if len(id.hosts) > 0 {
		tmpl.ExtKeyUsage = append(tmpl.ExtKeyUsage, x509.ExtKeyUsageServerAuth)
	}
	for _, h := range id.hosts {
		if ip := net.ParseIP(h); ip != nil {
			tmpl.IPAddresses = append(tmpl.IPAddresses, ip)
		} else {
			tmpl.DNSNames = append(tmpl.DNSNames, h)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, ca.cert, key.Public(), ca.key)
	if err != nil {
		return fmt.Errorf("making the certificate of %s: %w", id.file, err)
	}
	return writePair(path, der, key)
}

func writePair(path string, der []byte, key crypto.Signer) error {
	if err := writePEM(path+".crt", "CERTIFICATE", der, 0o644); err != nil {
		return err
	}
	return writeKey(path+".key", key)
}

func writeKey(path string, key crypto.Signer) error {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return fmt.Errorf("encoding %s: %w", path, err)
	}
	return writePEM(path, "PRIVATE KEY", der, 0o600)
}

func writePEM(path, kind string, der []byte, mode os.FileMode) error {
	return writeFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), mode)
}
