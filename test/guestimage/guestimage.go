// Package guestimage puts images into the containerd of a guest, which has no registry: each is one static binary.
package guestimage

import (
	"os"
	"path/filepath"
	"testing"

	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/namespaces"

	"github.com/plimsoll/plimsoll/pkg/image"
)

// Import makes an image of each binary and imports it, by its reference, for the kubelet's containers. The binaries
// are files; snapshotter is containerd's name for it.
func Import(t *testing.T, socket, snapshotter string, binaryOf map[string]string) {
	t.Helper()
	client, err := containerd.New(socket)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx := namespaces.WithNamespace(t.Context(), "k8s.io")
	for ref, binary := range binaryOf {
		archive := filepath.Join(t.TempDir(), "image.tar")
		if err := image.WriteFile(archive, image.Spec{Ref: ref, Binary: binary}); err != nil {
			t.Fatal(err)
		}
		f, err := os.Open(archive)
		if err != nil {
			t.Fatal(err)
		}
		imported, err := client.Import(ctx, f)
		if err != nil || len(imported) != 1 {
			t.Fatalf("importing %s: %v, %v", ref, imported, err)
		}
		if err := containerd.NewImage(client, imported[0]).Unpack(ctx, snapshotter); err != nil {
			t.Fatal(err)
		}
		_ = f.Close()          // read-only
		_ = os.Remove(archive) // memory of the guest's
	}
}
