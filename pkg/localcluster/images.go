package localcluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/plimsoll/plimsoll/pkg/image"
)

// criNamespace is where the kubelet's images live in containerd.
const criNamespace = "k8s.io"

// containerdServing asks the health service, which answers once all plugins are up.
func containerdServing(ctx context.Context, socket string) error {
	conn, err := grpc.NewClient("unix://"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return fmt.Errorf("dialing containerd: %w", err)
	}
	defer conn.Close()
	resp, err := grpc_health_v1.NewHealthClient(conn).Check(ctx, &grpc_health_v1.HealthCheckRequest{})
	if err != nil {
		return fmt.Errorf("asking containerd: %w", err)
	}
	if resp.GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING {
		return fmt.Errorf("asking containerd: %s", resp.GetStatus())
	}
	return nil
}

// Load imports OCI archives, so that pods can use their images without any registry. It answers their names.
func (c *Cluster) Load(ctx context.Context, out io.Writer, archives ...string) ([]string, error) {
	if c.inst.ControlPlaneOnly {
		return nil, errors.New("an instance without a node has nowhere to load images: bring it up without --control-plane-only")
	}
	p := newProgress(out)
	var names []string
	for _, a := range archives {
		step := p.start("loading " + filepath.Base(a))
		f, err := os.Open(a)
		if err != nil {
			step.fail()
			return names, fmt.Errorf("opening an image archive: %w", err)
		}
		loaded, err := loadArchive(ctx, c.inst.layout().ContainerdSocket(), f)
		f.Close()
		if err != nil {
			step.fail()
			return names, fmt.Errorf("loading %s: %w", a, err)
		}
		for _, n := range loaded {
			step.done("image " + n + " loaded")
		}
		names = append(names, loaded...)
	}
	return names, nil
}

func loadArchive(ctx context.Context, socket string, r io.Reader) ([]string, error) {
	client, err := containerd.New(socket)
	if err != nil {
		return nil, fmt.Errorf("connecting to containerd: %w", err)
	}
	defer client.Close()
	ctx = namespaces.WithNamespace(ctx, criNamespace)
	// Without a lease the collector may take an image's content before the image has its name.
	ctx, release, err := client.WithLease(ctx)
	if err != nil {
		return nil, fmt.Errorf("taking a lease: %w", err)
	}
	defer func() { _ = release(context.WithoutCancel(ctx)) }() // it expires by itself
	var imported []images.Image
	if imported, err = client.Import(ctx, r); err != nil {
		return nil, fmt.Errorf("importing: %w", err)
	}
	if len(imported) == 0 {
		return nil, errors.New("importing: the archive names no image")
	}
	var names []string
	for _, img := range imported {
		if err := containerd.NewImage(client, img).Unpack(ctx, "overlayfs"); err != nil {
			return nil, fmt.Errorf("unpacking %s: %w", img.Name, err)
		}
		names = append(names, img.Name)
	}
	return names, nil
}

// loadPause makes and loads the image that every pod's sandbox runs.
func loadPause(ctx context.Context, socket, binary string) error {
	r, w := io.Pipe()
	go func() {
		w.CloseWithError(image.Write(w, image.Spec{Ref: PauseImage, Binary: binary, User: "65535:65535"}))
	}()
	defer r.Close()
	if _, err := loadArchive(ctx, socket, r); err != nil {
		return fmt.Errorf("loading the pause image: %w", err)
	}
	return nil
}
