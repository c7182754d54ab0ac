package kernel

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/tools/txtar"

	"github.com/plimsoll/plimsoll/pkg/cgroup"
	"github.com/plimsoll/plimsoll/test/captured"
)

// captureTo makes TestCapture print archives for pkg/cgroup/testdata. It is how a machine without a kubelet,
// such as the virtual one, gives real files under a kubelet's names.
var captureTo = flag.Bool("capture", false, "print an archive of real groups that are named as each of the kubelet's drivers does")

// TestCapture makes groups as the kubelet and two runtimes would name them, with processes in them that really
// use CPU, memory and files, and captures them.
func TestCapture(t *testing.T) {
	for _, driver := range []cgroup.Driver{cgroup.Cgroupfs, cgroup.Systemd} {
		t.Run(string(driver), func(t *testing.T) {
			tr := newTree(t)
			const a, b = "3a0fd6b1-5c1f-4d0e-9a66-0f6d2c9be111", "7b1fd6b1-5c1f-4d0e-9a66-0f6d2c9be222"
			root := filepath.Dir(tr.Kubepods)
			h := tr.Host
			h.Driver, h.Kubepods = driver, root+"/node/kubepods"
			groups := []string{"", "/burstable", "/besteffort", "/pod" + a, "/pod" + a + "/c0ffee01", "/burstable/pod" + b, "/burstable/pod" + b + "/c0ffee02", "/plimsoll-batch", "/plimsoll-batch/c0ffee03"}
			if driver == cgroup.Systemd {
				h.Kubepods = root + "/node/kubepods.slice"
				underscored := strings.NewReplacer("-", "_")
				podA, podB := "/kubepods-pod"+underscored.Replace(a)+".slice", "/kubepods-burstable.slice/kubepods-burstable-pod"+underscored.Replace(b)+".slice"
				groups = []string{"", "/kubepods-burstable.slice", "/kubepods-besteffort.slice", podA, podA + "/cri-containerd-c0ffee01.scope", podB, podB + "/crio-c0ffee02.scope",
					"/kubepods-plimsollbatch.slice", "/kubepods-plimsollbatch.slice/cri-containerd-c0ffee03.scope"}
			}
			tr.make(root + "/node")
			for _, g := range groups {
				tr.make(h.Kubepods + g)
			}
			for i, g := range groups {
				if strings.Contains(g, "c0ffee") {
					p := tr.start(h.Kubepods + g)
					p.tell("hold", (i+1)<<20)
					p.tell("burn", 20_000)
				}
			}
			modes := []cgroup.Mode{tr.Mode}
			if tr.Mode == cgroup.Hybrid {
				modes = append(modes, cgroup.V1) // a host without the v2 hierarchy, as far as files can tell
			}
			for _, h.Mode = range modes {
				capture(t, h, root+"/node/")
			}
		})
	}
}

// capture captures what is below a root of the test's, as if the root were the hierarchy's.
func capture(t *testing.T, h cgroup.Host, root string) {
	t.Helper()
	note := fmt.Sprintf("Captured on %s: Linux %s, cgroup %s. Real groups with real processes, made and named as the driver %s does by TestCapture in test/kernel (run it with -capture); no kubelet ran.",
		time.Now().UTC().Format(time.DateOnly), get(t, procRoot+"/sys/kernel/osrelease"), h.Mode, h.Driver)
	if h.Mode == cgroup.V1 {
		note += " The host has a v2 hierarchy too, which is left out."
	}
	archive, err := captured.Capture(h, note)
	if err != nil {
		t.Fatal(err)
	}
	for i := range archive.Files {
		archive.Files[i].Name = strings.Replace(archive.Files[i].Name, root, "/", 1)
	}
	if len(archive.Files) < 60 {
		t.Errorf("%d files were captured", len(archive.Files))
	}
	if *captureTo {
		fmt.Fprintf(os.Stdout, "BEGIN %s-%s\n%sEND\n", h.Mode, h.Driver, txtar.Format(archive))
	}
}
