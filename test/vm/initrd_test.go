package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/cavaliergopher/cpio"
	"github.com/google/go-cmp/cmp"
)

func write(t *testing.T, name, text string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o750); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestTheInitrdHoldsEachFileBehindItsDirectories(t *testing.T) {
	dir := t.TempDir()
	program := write(t, dir+"/kernel.test", "program")
	init := write(t, dir+"/vmrun", "init")
	write(t, dir+"/testdata/a/odd name: \\x.txt", "data")
	testdata, err := filesBelow(dir + "/testdata")
	if err != nil {
		t.Fatal(err)
	}
	var archive bytes.Buffer
	wantJob := job{Dir: "/src/pkg", Args: []string{"-test.v"}}
	files := append([]packed{{host: program, guest: programPath, mode: 0o755}}, testdata...)
	if err := writeInitrd(&archive, init, wantJob, files); err != nil {
		t.Fatal(err)
	}

	content := map[string]string{}
	seen := map[string]bool{".": true}
	for r := cpio.NewReader(&archive); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if parent := filepath.Dir(h.Name); !seen[parent] {
			t.Errorf("%s comes before its directory %s", h.Name, parent)
		}
		if seen[h.Name] {
			t.Errorf("%s is there twice", h.Name)
		}
		seen[h.Name] = true
		if h.Mode&cpio.TypeDir == cpio.TypeDir {
			continue
		}
		b, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		content["/"+h.Name] = string(b)
		if executable := h.Name == "init" || h.Name == "program"; executable != (h.Mode.Perm()&0o100 != 0) {
			t.Errorf("%s has mode %o", h.Name, h.Mode.Perm())
		}
	}
	var gotJob job
	if err := json.Unmarshal([]byte(content[jobPath]), &gotJob); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(wantJob, gotJob); diff != "" {
		t.Errorf("job (-want +got):\n%s", diff)
	}
	delete(content, jobPath)
	want := map[string]string{"/init": "init", programPath: "program", dir + "/testdata/a/odd name: \\x.txt": "data"}
	if diff := cmp.Diff(want, content); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	for _, d := range []string{"proc", "sys", "dev", "tmp", "src/pkg", "cover"} {
		if !seen[d] {
			t.Errorf("no directory %s", d)
		}
	}
}

func TestAFileThatIsNotThereIsNamed(t *testing.T) {
	init := write(t, t.TempDir()+"/vmrun", "init")
	err := writeInitrd(io.Discard, init, job{Dir: "/"}, []packed{{host: "/no/such/file", guest: programPath}})
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error %v, want fs.ErrNotExist", err)
	}
	files, err := filesBelow("/no/such/directory")
	if err != nil || len(files) != 0 {
		t.Errorf("a directory that is not there has %v, %v", files, err)
	}
}
