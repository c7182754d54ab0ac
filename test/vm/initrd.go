package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"

	"github.com/cavaliergopher/cpio"
)

// packed is a file that goes into the guest: one of the host, or a text.
type packed struct {
	host, guest string
	mode        fs.FileMode
	// text is the content where there is no file of the host.
	text string
}

// filesBelow lists the regular files below a directory, which keep their names in the guest. A
// directory that is not there has none.
func filesBelow(dir string) ([]packed, error) {
	var files []packed
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			files = append(files, packed{host: name, guest: name, mode: 0o644})
		}
		return err
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("listing the files of the guest: %w", err)
	}
	return files, nil
}

// writeInitrd writes the guest's first file system: init is what the kernel starts.
func writeInitrd(to io.Writer, init string, j job, files []packed) error {
	w := cpio.NewWriter(to)
	files = append([]packed{{host: init, guest: "/init", mode: 0o755}}, files...)
	dirs := []string{j.Dir, "/proc", "/sys", "/dev", scratchDir, coverDir}
	for _, f := range files {
		dirs = append(dirs, path.Dir(f.guest))
	}
	for _, d := range withParents(dirs) {
		if err := w.WriteHeader(&cpio.Header{Name: d, Mode: cpio.TypeDir | 0o755, Links: 2}); err != nil {
			return fmt.Errorf("packing directory %s: %w", d, err)
		}
	}
	for _, f := range files {
		if err := pack(w, f); err != nil {
			return fmt.Errorf("packing %s: %w", f.guest, err)
		}
	}
	b, err := json.Marshal(j)
	if err != nil {
		return fmt.Errorf("encoding the job: %w", err)
	}
	if err := w.WriteHeader(&cpio.Header{Name: relative(jobPath), Mode: cpio.TypeReg | 0o644, Size: int64(len(b))}); err != nil {
		return fmt.Errorf("packing the job: %w", err)
	}
	if _, err := w.Write(b); err != nil {
		return fmt.Errorf("packing the job: %w", err)
	}
	if err := w.Close(); err != nil {
		return fmt.Errorf("packing the end: %w", err)
	}
	return nil
}

func pack(w *cpio.Writer, f packed) error {
	if f.host == "" {
		header := &cpio.Header{Name: relative(f.guest), Mode: cpio.TypeReg | cpio.FileMode(f.mode.Perm()), Size: int64(len(f.text))}
		if err := w.WriteHeader(header); err != nil {
			return err
		}
		_, err := io.WriteString(w, f.text)
		return err
	}
	source, err := os.Open(f.host)
	if err != nil {
		return err
	}
	defer func() { _ = source.Close() }() // read-only: nothing can be lost
	info, err := source.Stat()
	if err != nil {
		return err
	}
	header := &cpio.Header{Name: relative(f.guest), Mode: cpio.TypeReg | cpio.FileMode(f.mode.Perm()), Size: info.Size()}
	if err := w.WriteHeader(header); err != nil {
		return err
	}
	_, err = io.Copy(w, source)
	return err
}

// withParents is each directory once, without a leading slash, parents first: the kernel unpacks in order.
func withParents(dirs []string) []string {
	all := map[string]bool{}
	for _, d := range dirs {
		for d = path.Clean("/" + d); d != "/"; d = path.Dir(d) {
			all[relative(d)] = true
		}
	}
	return slices.Sorted(maps.Keys(all))
}

func relative(guest string) string { return path.Clean("/" + guest)[1:] }
