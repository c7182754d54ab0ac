package captured

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"

	"github.com/plimsoll/plimsoll/pkg/cgroup"
)

func TestAnArchiveHoldsWhatTheNodeHas(t *testing.T) {
	root := t.TempDir()
	for name, text := range map[string]string{
		"proc/stat":                               "cpu 1 2\nintr 1 2 3 4 5 6 7 8 9 10 11 12 13\n",
		"cgroup/kubepods/poda/cpu.stat":           "usage_usec 1\n",
		"cgroup/kubepods/poda/cpu.max":            "max 100000\n",
		"cgroup/kubepods/poda/secret.of.somebody": "x\n",
		"cgroup/kubepods/cpu.weight":              "79\n",
		"cgroup/system.slice/cpu.weight":          "100\n",
	} {
		file := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got, err := Capture(cgroup.Host{ProcRoot: root + "/proc", FSRoot: root + "/cgroup", Mode: cgroup.V2, Kubepods: "/kubepods"}, "a\nnode")
	if err != nil {
		t.Fatal(err)
	}
	want := "a node\n-- proc/stat --\ncpu 1 2\nintr 1 2 3 4 5 6 7 8 9 10 11\n-- cgroup/kubepods/cpu.weight --\n79\n" +
		"-- cgroup/kubepods/poda/cpu.max --\nmax 100000\n-- cgroup/kubepods/poda/cpu.stat --\nusage_usec 1\n"
	if diff := cmp.Diff(want, string(txtar.Format(got))); diff != "" {
		t.Errorf("archive (-want +got):\n%s", diff)
	}
}
