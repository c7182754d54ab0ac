package house

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

var (
	makeTarget       = regexp.MustCompile(`^([A-Za-z0-9_-]+)\s*:([^=]|$)`)
	dockerfileTarget = regexp.MustCompile(`(?mi)^FROM\s.*\sAS\s+(plimsoll\S*)\s*$`)
)

// makeTargets gives the names of a Makefile's targets, and those that tell `make help` nothing.
// Targets with a slash are files, and nobody's command.
func makeTargets(makefile string) (all, silent []string) {
	for line := range strings.SplitSeq(makefile, "\n") {
		match := makeTarget.FindStringSubmatch(line)
		if match == nil {
			continue
		}
		all = append(all, match[1])
		if _, help, _ := strings.Cut(line, "## "); strings.TrimSpace(help) == "" {
			silent = append(silent, match[1])
		}
	}
	return all, silent
}

func TestEachMakeTargetIsListedByHelp(t *testing.T) {
	all, silent := makeTargets(read(t, os.DirFS(root), "Makefile"))
	for _, target := range silent {
		t.Errorf("Makefile: target %s has no help line: add '## what it does' behind it", target)
	}
	help := output(t, "make", "--no-print-directory", "help")
	for _, target := range all {
		if !regexp.MustCompile(`(?m)^\s*` + target + `\s+\S`).MatchString(help) {
			t.Errorf("make help does not list %s:\n%s", target, help)
		}
	}
	if alone := output(t, "make", "--no-print-directory"); alone != help {
		t.Errorf("make alone prints something other than make help:\n%s", alone)
	}
}

func TestAMakeTargetWithoutHelpIsFound(t *testing.T) {
	all, silent := makeTargets("VAR := x\n.PHONY: good\ngood: dep ## Does good.\n\techo: x\nbad: good\nempty: ## \nbin/file: x\n")
	wantFindings(t, []string{"good", "bad", "empty"}, all)
	wantFindings(t, []string{"bad", "empty"}, silent)
}

// images finds image targets of the Dockerfile that build nothing, and commands that have no image.
// Commands in notInAnImage run on a person's machine only.
func images(fsys fs.FS, notInAnImage ...string) ([]string, error) {
	dockerfile, err := fs.ReadFile(fsys, "Dockerfile")
	if err != nil {
		return nil, err
	}
	commands, err := fs.ReadDir(fsys, "cmd")
	if err != nil {
		return nil, err
	}
	var findings, targets []string
	for _, match := range dockerfileTarget.FindAllStringSubmatch(string(dockerfile), -1) {
		target := match[1]
		targets = append(targets, target)
		if info, err := fs.Stat(fsys, "cmd/"+target); err != nil || !info.IsDir() {
			findings = append(findings, fmt.Sprintf("Dockerfile: there is no cmd/%s for the target %s", target, target))
		}
		if !strings.Contains(string(dockerfile), "./cmd/"+target+"\n") {
			findings = append(findings, fmt.Sprintf("Dockerfile: no stage builds ./cmd/%s", target))
		}
	}
	for _, c := range commands {
		if c.IsDir() && !slices.Contains(targets, c.Name()) && !slices.Contains(notInAnImage, c.Name()) {
			findings = append(findings, fmt.Sprintf("Dockerfile: cmd/%s has no target", c.Name()))
		}
	}
	return findings, nil
}

func TestEachCommandHasAnImageTarget(t *testing.T) {
	findings, err := images(os.DirFS(root), "plimsoll", "plimsoll-local")
	if err != nil {
		t.Fatal(err)
	}
	report(t, findings)
}

func TestImageTargetsAndCommandsThatDisagreeAreFound(t *testing.T) {
	got, err := images(fstest.MapFS{
		"Dockerfile": {Data: []byte("FROM golang AS build-good\nRUN go build ./cmd/plimsoll-good\n" +
			"FROM scratch AS plimsoll-good\nFROM scratch AS plimsoll-gone\n")},
		"cmd/plimsoll-good/main.go":  {},
		"cmd/plimsoll-new/main.go":   {},
		"cmd/plimsoll-local/main.go": {},
	}, "plimsoll-local")
	if err != nil {
		t.Fatal(err)
	}
	wantFindings(t, []string{
		"Dockerfile: there is no cmd/plimsoll-gone for the target plimsoll-gone",
		"Dockerfile: no stage builds ./cmd/plimsoll-gone",
		"Dockerfile: cmd/plimsoll-new has no target",
	}, got)
}

// moduleFile is what `go mod edit -json` says of a go.mod.
type moduleFile struct {
	Require []struct{ Path, Version string }
	Replace []struct {
		Old, New struct{ Path, Version string }
	}
}

func readModuleFile(t *testing.T, path string) moduleFile {
	t.Helper()
	var m moduleFile
	if err := json.Unmarshal([]byte(output(t, "go", "mod", "edit", "-json", path)), &m); err != nil {
		t.Fatalf("decoding %s: %v", path, err)
	}
	return m
}

// staging finds staging modules of Kubernetes that go.mod does not replace with the release that
// belongs to its k8s.io/kubernetes. kubernetes is that module's own go.mod.
func staging(ours, kubernetes moduleFile) []string {
	const mend = "run hack/update-k8s.sh VERSION"
	want := ""
	for _, r := range ours.Require {
		if r.Path == "k8s.io/kubernetes" {
			want = "v0." + strings.TrimPrefix(r.Version, "v1.")
		}
	}
	if want == "" {
		return []string{"go.mod does not require k8s.io/kubernetes"}
	}
	var findings []string
	replaced := map[string]bool{}
	for _, r := range ours.Replace {
		if !strings.HasPrefix(r.Old.Path, "k8s.io/") {
			continue
		}
		replaced[r.Old.Path] = true
		if r.New.Path != r.Old.Path || r.New.Version != want {
			findings = append(findings, fmt.Sprintf("go.mod: %s is replaced with %s %s, want %s: %s", r.Old.Path, r.New.Path, r.New.Version, want, mend))
		}
	}
	for _, r := range kubernetes.Replace {
		if strings.HasPrefix(r.New.Path, "./staging/") && !replaced[r.Old.Path] {
			findings = append(findings, fmt.Sprintf("go.mod: %s is not replaced: %s", r.Old.Path, mend))
		}
	}
	return findings
}

func TestKubernetesModulesAreOfOneRelease(t *testing.T) {
	kubernetes := strings.TrimSpace(output(t, "go", "list", "-m", "-f", "{{.GoMod}}", "k8s.io/kubernetes"))
	report(t, staging(readModuleFile(t, "go.mod"), readModuleFile(t, kubernetes)))
}

func TestKubernetesModulesOfTwoReleasesAreFound(t *testing.T) {
	write := func(name, text string) moduleFile {
		t.Helper()
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return readModuleFile(t, path)
	}
	kubernetes := write("kubernetes.mod", "module k8s.io/kubernetes\n"+
		"replace k8s.io/api => ./staging/src/k8s.io/api\nreplace k8s.io/kms => ./staging/src/k8s.io/kms\n")
	ours := write("ours.mod", "module example.com/m\nrequire k8s.io/kubernetes v1.37.2\n"+
		"replace k8s.io/api => k8s.io/api v0.37.1\nreplace example.com/x => example.com/y v1.0.0\n")
	wantFindings(t, []string{
		"go.mod: k8s.io/api is replaced with k8s.io/api v0.37.1, want v0.37.2: run hack/update-k8s.sh VERSION",
		"go.mod: k8s.io/kms is not replaced: run hack/update-k8s.sh VERSION",
	}, staging(ours, kubernetes))
	wantFindings(t, []string{"go.mod does not require k8s.io/kubernetes"}, staging(moduleFile{}, kubernetes))
}

// verifyGenerated runs the script on a tree and gives what it says when the tree is stale.
func verifyGenerated(t *testing.T, tree string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), filepath.Join(root, "hack/verify-generated.sh"), tree)
	out, err := cmd.CombinedOutput()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	if err == nil {
		return ""
	}
	return string(out)
}

func TestGeneratedFilesAreUpToDate(t *testing.T) {
	if said := verifyGenerated(t, root); said != "" {
		t.Error(said)
	}
}

func TestAStaleGeneratedFileIsFound(t *testing.T) {
	const deepcopy = "pkg/api/v1alpha1/zz_generated.deepcopy.go"
	tree := t.TempDir()
	for name, text := range map[string]string{
		deepcopy:                        read(t, os.DirFS(root), deepcopy) + "// edited by hand\n",
		"pkg/gone/zz_generated.left.go": "package gone\n",
		"manifests/base/crd/plimsoll.dev_dropped.yaml": "kind: CustomResourceDefinition\n",
		"manifests/base/crd/kustomization.yaml":        "not generated\n",
	} {
		if err := os.MkdirAll(filepath.Join(tree, filepath.Dir(name)), 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(tree, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	said := verifyGenerated(t, tree)
	for _, want := range []string{
		"-// edited by hand",
		"manifests/base/crd/plimsoll.dev_nodeutilizations.yaml: missing",
		"pkg/gone/zz_generated.left.go: nothing generates this file any more",
		"manifests/base/crd/plimsoll.dev_dropped.yaml: nothing generates this file any more",
		"run hack/update-generated.sh",
	} {
		if !strings.Contains(said, want) {
			t.Errorf("hack/verify-generated.sh does not say %q:\n%s", want, said)
		}
	}
}
