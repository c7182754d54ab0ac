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
