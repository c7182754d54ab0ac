package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestTheGuestHasItsKernelsConfigurationWhereItIsLookedFor(t *testing.T) {
	dir := t.TempDir()
	config := write(t, dir+"/config", "CONFIG_CGROUPS=y\n")
	if got := kernelConfig(dir); got != nil {
		t.Errorf("a kernel of unknown release has a configuration: %+v", got)
	}
	write(t, dir+"/release", "linux-image-6.12.1-cloud-amd64\n")
	want := []packed{{host: config, guest: "/boot/config-6.12.1-cloud-amd64", mode: 0o644}}
	if diff := cmp.Diff(want, kernelConfig(dir), cmp.AllowUnexported(packed{})); diff != "" {
		t.Errorf("configuration (-want +got):\n%s", diff)
	}
	if got := kernelConfig(t.TempDir()); got != nil {
		t.Errorf("a kernel without a configuration has one: %+v", got)
	}
}

func TestAKernelWithANetworkInItselfNeedsNoModuleForIt(t *testing.T) {
	modules := func(config string) []string {
		t.Helper()
		dir := t.TempDir()
		if config != "" {
			write(t, dir+"/config", config)
		}
		var j job
		if _, err := (contents{kernel: dir, network: true, modules: "veth"}).pack(&j, "work"); err != nil {
			t.Fatal(err)
		}
		return j.Modules
	}
	all := []string{"/modules/failover.ko", "/modules/net_failover.ko", "/modules/virtio_net.ko", "/modules/veth.ko"}
	for config, want := range map[string][]string{
		"":                                     all,
		"CONFIG_NET=y\nCONFIG_VIRTIO_NET=m\n":  all,
		"# CONFIG_VIRTIO_NET=y\n":              all,
		"CONFIG_NET=y\nCONFIG_VIRTIO_NET=y\n#": all[3:],
	} {
		if diff := cmp.Diff(want, modules(config)); diff != "" {
			t.Errorf("modules of %q (-want +got):\n%s", config, diff)
		}
	}
}
