package localcluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

const (
	modulePath       = "github.com/plimsoll/plimsoll"
	kubernetesModule = "k8s.io/kubernetes"
	// buildBytes is what a build from an empty cache needs: about 5 GiB of cache and 0.7 GiB of binaries.
	buildBytes = 8 << 30
)

// Part is one binary that an instance runs.
type Part struct {
	// Name is the file's in the bin dir.
	Name string
	// Package is what go build gets.
	Package string
	// Node is set on parts that only a real node needs.
	Node bool
	// kubernetes is set on binaries that report a Kubernetes version.
	kubernetes bool
	// seccomp is set on the one part that needs cgo, to link libseccomp; it is linked statically all the same.
	seccomp bool
	// tags are build tags.
	tags string
}

// Parts lists all binaries, our own last: those are rebuilt often.
func Parts() []Part {
	return []Part{
		{Name: "etcd", Package: "go.etcd.io/etcd/server/v3"},
		{Name: "kube-apiserver", Package: "k8s.io/kubernetes/cmd/kube-apiserver", kubernetes: true},
		{Name: "kube-controller-manager", Package: "k8s.io/kubernetes/cmd/kube-controller-manager", kubernetes: true},
		{Name: "kubelet", Package: "k8s.io/kubernetes/cmd/kubelet", Node: true, kubernetes: true},
		{Name: "containerd", Package: "github.com/containerd/containerd/v2/cmd/containerd", Node: true},
		{Name: "containerd-shim-runc-v2", Package: "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2", Node: true},
		{Name: "runc", Package: "github.com/opencontainers/runc", Node: true, seccomp: true},
		{Name: "ptp", Package: "github.com/containernetworking/plugins/plugins/main/ptp", Node: true},
		{Name: "host-local", Package: "github.com/containernetworking/plugins/plugins/ipam/host-local", Node: true},
		{Name: "kwok", Package: "sigs.k8s.io/kwok/cmd/kwok"},
		{Name: "plimsoll-scheduler", Package: modulePath + "/cmd/plimsoll-scheduler", kubernetes: true},
		{Name: "pause", Package: modulePath + "/cmd/plimsoll-local/pause", Node: true},
		{Name: "plimsoll-local", Package: modulePath + "/cmd/plimsoll-local"},
	}
}

func neededParts(controlPlaneOnly bool) []Part {
	var needed []Part
	for _, p := range Parts() {
		if !p.Node || !controlPlaneOnly {
			needed = append(needed, p)
		}
	}
	return needed
}

func missingParts(binDir string, parts []Part) []Part {
	var missing []Part
	for _, p := range parts {
		if info, err := os.Stat(filepath.Join(binDir, p.Name)); err != nil || info.IsDir() || info.Mode()&0o111 == 0 {
			missing = append(missing, p)
		}
	}
	return missing
}

func partNames(parts []Part) string {
	names := make([]string, len(parts))
	for i, p := range parts {
		names[i] = p.Name
	}
	return strings.Join(names, ", ")
}

// FindSource walks up from each start to the module's source tree. It answers "" when there is none.
func FindSource(starts ...string) string {
	for _, start := range starts {
		start, err := filepath.Abs(start)
		if err != nil {
			continue // no working directory to start from
		}
		for dir := start; ; dir = filepath.Dir(dir) {
			if b, err := os.ReadFile(filepath.Join(dir, "go.mod")); err == nil && bytes.HasPrefix(b, []byte("module "+modulePath+"\n")) {
				return dir
			}
			if dir == filepath.Dir(dir) {
				break
			}
		}
	}
	return ""
}

// ensureParts builds what is missing, when it can.
func ensureParts(ctx context.Context, o Options, p *progress) error {
	missing := missingParts(o.BinDir, neededParts(o.ControlPlaneOnly))
	if len(missing) == 0 {
		return nil
	}
	wd, err := os.Getwd()
	if err != nil {
		wd = ""
	}
	source := FindSource(wd, o.BinDir)
	if source == "" {
		return fmt.Errorf("missing in %s: %s: run `plimsoll-local build` in the source tree, or name the right --bin-dir", o.BinDir, partNames(missing))
	}
	return buildParts(ctx, source, o.BinDir, missing, p)
}

// Build makes the named parts, or all of them, from the module at source.
func Build(ctx context.Context, source, binDir string, names []string, out io.Writer) error {
	parts := Parts()
	if len(names) > 0 {
		known := map[string]Part{}
		for _, p := range parts {
			known[p.Name] = p
		}
		parts = nil
		for _, n := range names {
			p, ok := known[n]
			if !ok {
				return fmt.Errorf("no part is called %q: the parts are %s", n, partNames(Parts()))
			}
			parts = append(parts, p)
		}
	}
	return buildParts(ctx, source, binDir, parts, newProgress(out))
}

func buildParts(ctx context.Context, source, binDir string, parts []Part, p *progress) error {
	if _, err := exec.LookPath("go"); err != nil {
		return fmt.Errorf("missing in %s: %s, and there is no go command in PATH to build them: run `plimsoll-local build` as a user who has Go first", binDir, partNames(parts))
	}
	if err := os.MkdirAll(binDir, 0o755); err != nil {
		return fmt.Errorf("making the bin dir: %w", err)
	}
	// With a warm cache a build needs little; all of it missing is the sign of a cold one.
	if len(missingParts(binDir, parts)) == len(Parts()) {
		if err := checkDisk(binDir, buildBytes); err != nil {
			return err
		}
	}
	version, err := moduleVersion(ctx, source, kubernetesModule)
	if err != nil {
		return err
	}
	for i, part := range parts {
		name := fmt.Sprintf("%s built", part.Name)
		step := p.start(fmt.Sprintf("building %s (%d of %d)", part.Name, i+1, len(parts)))
		if err := part.build(ctx, source, binDir, version); err != nil {
			step.fail()
			return err
		}
		step.done(name)
	}
	return nil
}

func (part Part) build(ctx context.Context, source, binDir, kubernetesVersion string) error {
	args, env := part.goBuild(kubernetesVersion)
	if part.seccomp {
		if err := checkSeccompHeaders(ctx); err != nil {
			return err
		}
	}
	// A running binary cannot be overwritten, only replaced.
	tmp := filepath.Join(binDir, "."+part.Name+".new")
	defer os.Remove(tmp)
	cmd := exec.CommandContext(ctx, "go", append(append([]string{"build", "-o", tmp}, args...), part.Package)...)
	cmd.Dir = source
	cmd.Env = append(os.Environ(), env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("building %s: %w\n%s", part.Name, err, bytes.TrimSpace(out))
	}
	if err := os.Rename(tmp, filepath.Join(binDir, part.Name)); err != nil {
		return fmt.Errorf("placing %s: %w", part.Name, err)
	}
	return nil
}

// goBuild is the part's flags and environment.
func (part Part) goBuild(kubernetesVersion string) (args, env []string) {
	ldflags := "-s -w"
	switch {
	case part.seccomp:
		return []string{"-tags", "seccomp netgo osusergo", "-ldflags", ldflags + " -linkmode external -extldflags -static"}, []string{"CGO_ENABLED=1"}
	case part.kubernetes:
		ldflags += " -X k8s.io/component-base/version.gitVersion=" + kubernetesVersion
	}
	return []string{"-tags", part.tags, "-ldflags", ldflags}, []string{"CGO_ENABLED=0"}
}

// moduleVersion reads a module's version from go.mod, where it is pinned.
func moduleVersion(ctx context.Context, source, module string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Version}}", module)
	cmd.Dir = source
	out, err := cmd.Output()
	if err != nil {
		if exit, ok := errors.AsType[*exec.ExitError](err); ok {
			err = fmt.Errorf("%w: %s", err, bytes.TrimSpace(exit.Stderr))
		}
		return "", fmt.Errorf("reading the version of %s from go.mod: %w", module, err)
	}
	return strings.TrimSpace(string(out)), nil
}

// checkSeccompHeaders asks for what runc needs beyond Go: it refuses every container without seccomp.
func checkSeccompHeaders(ctx context.Context) error {
	const remedy = "install them (Debian and Ubuntu: apt-get install gcc libseccomp-dev pkg-config; Fedora: dnf install gcc libseccomp-static libseccomp-devel glibc-static)"
	if _, err := exec.LookPath("gcc"); err != nil {
		return fmt.Errorf("building runc needs gcc and the headers of libseccomp, there is no gcc: %s", remedy)
	}
	if err := exec.CommandContext(ctx, "pkg-config", "--exists", "libseccomp").Run(); err != nil {
		return fmt.Errorf("building runc needs gcc and the headers of libseccomp, pkg-config does not find libseccomp: %s", remedy)
	}
	return nil
}
