package systemdnode

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// groupsBelow is a group and those below it, each with what may be written to it, without what counts.
func groupsBelow(t *testing.T, dir string) []string {
	t.Helper()
	var all []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil //nolint:nilerr // it has vanished
		}
		if d.IsDir() {
			all = append(all, path+"/")
			return nil
		}
		switch name := d.Name(); {
		case strings.HasSuffix(name, ".pressure"), strings.HasSuffix(name, ".peak"), name == "cgroup.procs", name == "cgroup.threads":
			return nil
		}
		info, err := d.Info()
		if err != nil || info.Mode().Perm()&0o600 != 0o600 {
			return nil //nolint:nilerr // it has vanished
		}
		if b, err := os.ReadFile(path); err == nil {
			all = append(all, path+"="+strings.TrimSpace(string(b)))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func resources(cpu, memory string) corev1.ResourceList {
	list := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu)}
	if memory != "" {
		list[corev1.ResourceMemory] = resource.MustParse(memory)
	}
	return list
}
