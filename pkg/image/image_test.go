package image

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

const testRef = "localhost/plimsoll/tool:dev"

// buildBinary makes a static program; with cgo off that is all that Go makes.
func buildBinary(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	src := filepath.Join(dir, "main.go")
	if err := os.WriteFile(src, []byte("package main\n\nfunc main() {}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	bin := filepath.Join(dir, "tool")
	cmd := exec.Command("go", "build", "-o", bin, src)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("building a program: %v\n%s", err, out)
	}
	return bin
}

// readTar reads a whole archive: names in order, contents by name, and the headers.
func readTar(t *testing.T, r io.Reader) (names []string, contents map[string][]byte, headers map[string]*tar.Header) {
	t.Helper()
	contents, headers = map[string][]byte{}, map[string]*tar.Header{}
	tr := tar.NewReader(r)
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return names, contents, headers
		}
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(tr)
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, h.Name)
		contents[h.Name], headers[h.Name] = b, h
	}
}

func TestArchiveHoldsTheBinaryAndItsConfiguration(t *testing.T) {
	bin := buildBinary(t)
	var archive bytes.Buffer
	if err := Write(&archive, Spec{Ref: testRef, Binary: bin, User: "65532:65532"}); err != nil {
		t.Fatal(err)
	}
	_, files, _ := readTar(t, &archive)
	if diff := cmp.Diff(`{"imageLayoutVersion":"1.0.0"}`, strings.Join(strings.Fields(string(files["oci-layout"])), "")); diff != "" {
		t.Errorf("oci-layout (-want +got):\n%s", diff)
	}
	var index v1.IndexManifest
	if err := json.Unmarshal(files["index.json"], &index); err != nil {
		t.Fatal(err)
	}
	if len(index.Manifests) != 1 {
		t.Fatalf("the index has %d manifests, want 1", len(index.Manifests))
	}
	wantAnnotations := map[string]string{"io.containerd.image.name": testRef, "org.opencontainers.image.ref.name": "dev"}
	if diff := cmp.Diff(wantAnnotations, index.Manifests[0].Annotations); diff != "" {
		t.Errorf("annotations (-want +got):\n%s", diff)
	}
	blob := func(h v1.Hash) []byte { return files["blobs/"+h.Algorithm+"/"+h.Hex] }
	var manifest v1.Manifest
	if err := json.Unmarshal(blob(index.Manifests[0].Digest), &manifest); err != nil {
		t.Fatal(err)
	}
	var config v1.ConfigFile
	if err := json.Unmarshal(blob(manifest.Config.Digest), &config); err != nil {
		t.Fatal(err)
	}
	want := v1.Config{Entrypoint: []string{"/tool"}, User: "65532:65532", WorkingDir: "/", Env: []string{"PATH=/"}}
	if diff := cmp.Diff(want, config.Config); diff != "" {
		t.Errorf("configuration (-want +got):\n%s", diff)
	}
	if config.OS != "linux" || config.Architecture == "" || !config.Created.Equal(time.Unix(0, 0)) {
		t.Errorf("platform and time are %s/%s and %s, want linux, an architecture, and 1970", config.OS, config.Architecture, config.Created)
	}
	names, layer, headers := readTar(t, bytes.NewReader(blob(manifest.Layers[0].Digest)))
	if diff := cmp.Diff([]string{"tool"}, names); diff != "" {
		t.Errorf("files of the layer (-want +got):\n%s", diff)
	}
	wantBytes, err := os.ReadFile(bin)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(layer["tool"], wantBytes) || headers["tool"].Mode != 0o755 || !headers["tool"].ModTime.Equal(time.Unix(0, 0)) {
		t.Errorf("the layer's file differs from the binary, or its mode %o or time %s is wrong", headers["tool"].Mode, headers["tool"].ModTime)
	}
}

func TestSameInputsGiveTheSameBytes(t *testing.T) {
	bin := buildBinary(t)
	spec := Spec{Ref: testRef, Binary: bin, User: "1"}
	var first, second bytes.Buffer
	if err := Write(&first, spec); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(bin, time.Unix(1, 0), time.Unix(2, 0)); err != nil {
		t.Fatal(err)
	}
	if err := Write(&second, spec); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(first.Bytes(), second.Bytes()) {
		t.Error("two archives of the same binary differ")
	}
}

func TestBadInputsAreRefusedWithTheRemedy(t *testing.T) {
	script := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(script, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		spec Spec
		want string
	}{
		"a name without registry":  {Spec{Ref: "tool:dev", Binary: script}, "give it a registry and a tag"},
		"a name without tag":       {Spec{Ref: "localhost/tool", Binary: script}, "give it a registry and a tag"},
		"a name in capitals":       {Spec{Ref: "localhost/Tool:dev", Binary: script}, "must be lowercase"},
		"a script":                 {Spec{Ref: testRef, Binary: script}, "not a Linux executable"},
		"a file that is not there": {Spec{Ref: testRef, Binary: script + "x"}, "no such file"},
		"a dynamic executable":     {Spec{Ref: testRef, Binary: "/bin/sh"}, "CGO_ENABLED=0"},
	} {
		t.Run(name, func(t *testing.T) {
			out := filepath.Join(t.TempDir(), "out.tar")
			err := WriteFile(out, tc.spec)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got error %v, want one that says %q", err, tc.want)
			}
			if _, err := os.Stat(out); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("a file was left: %v", err)
			}
		})
	}
}
