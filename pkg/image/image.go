// Package image makes OCI archives of static binaries, without a container engine and without root.
//
// An image has one layer with one file, and the same inputs give the same bytes: no time, no owner
// and no compression level gets in. It is no builder: there is no base image and no shell inside.
//
// The trap: a binary that is linked dynamically makes an image whose container cannot start, so such a
// binary is refused. Sizes are bytes.
package image

import (
	"archive/tar"
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/distribution/reference"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Spec says what an image holds.
type Spec struct {
	// Ref is the image's name, with a registry and a tag: localhost/plimsoll/pause:dev.
	Ref string
	// Binary is the path of a static ELF executable. It is /NAME in the image, and its entry point.
	Binary string
	// Name is what the binary is called in the image. Default: the file's name.
	Name string
	// User is "uid" or "uid:gid"; empty is root.
	User string
}

// epoch is every file's time.
func epoch() time.Time { return time.Unix(0, 0).UTC() }

// Write writes an image as an OCI layout in a tar stream.
func Write(w io.Writer, s Spec) error {
	ref, err := parseRef(s.Ref)
	if err != nil {
		return err
	}
	if s.Name == "" {
		s.Name = filepath.Base(s.Binary)
	}
	img, err := build(s)
	if err != nil {
		return fmt.Errorf("making image %s: %w", s.Ref, err)
	}
	dir, err := os.MkdirTemp("", "plimsoll-image-")
	if err != nil {
		return fmt.Errorf("making a folder for the layout: %w", err)
	}
	defer os.RemoveAll(dir)
	p, err := layout.Write(dir, empty.Index)
	if err != nil {
		return fmt.Errorf("starting the layout of %s: %w", s.Ref, err)
	}
	err = p.AppendImage(img, layout.WithPlatform(platform(img)), layout.WithAnnotations(map[string]string{
		"io.containerd.image.name":          ref.String(),
		"org.opencontainers.image.ref.name": ref.Tag(),
	}))
	if err != nil {
		return fmt.Errorf("writing the layout of %s: %w", s.Ref, err)
	}
	return writeTar(w, dir)
}

// parseRef wants the full name, because that is what pods must then ask for: a short one would mean
// docker.io to containerd.
func parseRef(s string) (reference.NamedTagged, error) {
	ref, err := reference.ParseNormalizedNamed(s)
	if err != nil {
		return nil, fmt.Errorf("image name %q: %w", s, err)
	}
	tagged, ok := ref.(reference.NamedTagged)
	if !ok || ref.String() != s {
		return nil, fmt.Errorf("image name %q: give it a registry and a tag, like localhost/name:dev", s)
	}
	return tagged, nil
}

// WriteFile is Write to a file, which appears only when it is whole.
func WriteFile(path string, s Spec) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-")
	if err != nil {
		return fmt.Errorf("making %s: %w", path, err)
	}
	defer os.Remove(f.Name())
	err = errors.Join(Write(f, s), f.Chmod(0o644), f.Close())
	if err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return fmt.Errorf("placing %s: %w", path, err)
	}
	return nil
}

func build(s Spec) (v1.Image, error) {
	bin, err := os.ReadFile(s.Binary)
	if err != nil {
		return nil, fmt.Errorf("reading the binary: %w", err)
	}
	arch, err := staticArch(bin)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", s.Binary, err)
	}
	var layer bytes.Buffer
	tw := tar.NewWriter(&layer)
	hdr := &tar.Header{Typeflag: tar.TypeReg, Name: s.Name, Mode: 0o755, Size: int64(len(bin)), ModTime: epoch()}
	if err := tw.WriteHeader(hdr); err != nil {
		return nil, fmt.Errorf("writing the layer: %w", err)
	}
	if _, err := tw.Write(bin); err != nil {
		return nil, fmt.Errorf("writing the layer: %w", err)
	}
	if err := tw.Close(); err != nil {
		return nil, fmt.Errorf("writing the layer: %w", err)
	}
	// Not compressed: it travels no further than to this machine's containerd.
	img := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	img, err = mutate.AppendLayers(img, static.NewLayer(layer.Bytes(), types.OCIUncompressedLayer))
	if err != nil {
		return nil, fmt.Errorf("adding the layer: %w", err)
	}
	cf, err := img.ConfigFile()
	if err != nil {
		return nil, fmt.Errorf("reading the configuration: %w", err)
	}
	cf = cf.DeepCopy()
	cf.OS, cf.Architecture, cf.Created = "linux", arch, v1.Time{Time: epoch()}
	cf.Config = v1.Config{Entrypoint: []string{"/" + s.Name}, User: s.User, WorkingDir: "/", Env: []string{"PATH=/"}}
	img, err = mutate.ConfigFile(img, cf)
	if err != nil {
		return nil, fmt.Errorf("setting the configuration: %w", err)
	}
	return img, nil
}

// staticArch answers the architecture of a static executable, in Go's words.
func staticArch(bin []byte) (string, error) {
	f, err := elf.NewFile(bytes.NewReader(bin))
	if err != nil {
		return "", fmt.Errorf("not a Linux executable: %w", err)
	}
	if slices.ContainsFunc(f.Progs, func(p *elf.Prog) bool { return p.Type == elf.PT_INTERP }) {
		return "", errors.New("it is linked dynamically: build it with CGO_ENABLED=0")
	}
	switch f.Machine {
	case elf.EM_X86_64:
		return "amd64", nil
	case elf.EM_AARCH64:
		return "arm64", nil
	}
	return "", fmt.Errorf("architecture %s is not supported: build for amd64 or arm64", f.Machine)
}

func platform(img v1.Image) v1.Platform {
	p := v1.Platform{OS: "linux"}
	if cf, err := img.ConfigFile(); err == nil {
		p.Architecture = cf.Architecture
	}
	return p
}

// writeTar writes the files of dir in the order of their names.
func writeTar(w io.Writer, dir string) error {
	tw := tar.NewWriter(w)
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		hdr := &tar.Header{Typeflag: tar.TypeReg, Name: filepath.ToSlash(rel), Mode: 0o644, Size: int64(len(b)), ModTime: epoch()}
		if err := tw.WriteHeader(hdr); err != nil {
			return err
		}
		_, err = tw.Write(b)
		return err
	})
	if err != nil {
		return fmt.Errorf("writing the archive: %w", err)
	}
	if err := tw.Close(); err != nil {
		return fmt.Errorf("finishing the archive: %w", err)
	}
	return nil
}
