package localcluster

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/plimsoll/plimsoll/pkg/image"
)

// nonroot is the user that images run as when nothing needs more.
const nonroot = "65532:65532"

// ProjectImage is one of this project's images: localhost/plimsoll/NAME:dev.
type ProjectImage struct {
	Name    string
	Package string
	User    string
	// tags are build tags.
	tags string
}

// Ref is the image's full name.
func (p ProjectImage) Ref() string { return "localhost/plimsoll/" + p.Name + ":dev" }

// ProjectImages lists them all.
func ProjectImages() []ProjectImage {
	return []ProjectImage{
		// Root: it writes to cgroups that belong to root. Its manifest takes away what it does not need.
		// Its gRPC client is built without golang.org/x/net/trace: test/house says why.
		{Name: "plimsoll-agent", Package: "./cmd/plimsoll-agent", tags: "grpcnotrace"},
		{Name: "plimsoll-scheduler", Package: "./cmd/plimsoll-scheduler", User: nonroot},
		{Name: "payments", Package: "./examples/payments", User: nonroot},
		{Name: "loadgen", Package: "./examples/loadgen", User: nonroot},
		{Name: "batch", Package: "./examples/batch", User: nonroot},
	}
}

// BuildImages builds the binaries of the named project images, or of all, from the module at source
// and writes an archive of each to outDir. It answers their paths.
func BuildImages(ctx context.Context, source, outDir string, names []string, out io.Writer) ([]string, error) {
	p := newProgress(out)
	if err := os.MkdirAll(outDir, 0o755); err != nil {
		return nil, fmt.Errorf("making the folder for images: %w", err)
	}
	version, err := moduleVersion(ctx, source, kubernetesModule)
	if err != nil {
		return nil, err
	}
	images, err := namedImages(names)
	if err != nil {
		return nil, err
	}
	var archives []string
	for _, pi := range images {
		step := p.start("making image " + pi.Name)
		bin, err := os.MkdirTemp("", "plimsoll-build-")
		if err != nil {
			return nil, fmt.Errorf("making a folder to build in: %w", err)
		}
		archive := filepath.Join(outDir, pi.Name+".tar")
		part := Part{Name: pi.Name, Package: pi.Package, kubernetes: pi.Name == "plimsoll-scheduler", tags: pi.tags}
		if err = part.build(ctx, source, bin, version); err == nil {
			err = image.WriteFile(archive, image.Spec{Ref: pi.Ref(), Binary: filepath.Join(bin, pi.Name), User: pi.User})
		}
		os.RemoveAll(bin)
		if err != nil {
			step.fail()
			return nil, err
		}
		step.done("image " + pi.Ref() + " made")
		archives = append(archives, archive)
	}
	return archives, nil
}

func namedImages(names []string) ([]ProjectImage, error) {
	all := ProjectImages()
	if len(names) == 0 {
		return all, nil
	}
	var chosen []ProjectImage
	for _, n := range names {
		i := slices.IndexFunc(all, func(p ProjectImage) bool { return p.Name == n })
		if i < 0 {
			var known []string
			for _, p := range all {
				known = append(known, p.Name)
			}
			return nil, fmt.Errorf("no image is called %q: there are %s", n, strings.Join(known, ", "))
		}
		chosen = append(chosen, all[i])
	}
	return chosen, nil
}
