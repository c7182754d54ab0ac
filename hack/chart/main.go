// Command chart makes the Helm chart in a folder: what is in manifests/chart, and what kustomize makes of the
// overlays observe and enforce, which the chart's template fills values into. So the chart cannot differ from
// the overlays.
package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: chart MANIFESTS OUT")
		os.Exit(2)
	}
	if err := write(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "chart:", err)
		os.Exit(1)
	}
}

func write(manifests, out string) error {
	observe, err := render(filepath.Join(manifests, "overlays", "observe"))
	if err != nil {
		return err
	}
	enforce, err := render(filepath.Join(manifests, "overlays", "enforce"))
	if err != nil {
		return err
	}
	files := map[string][]string{}
	for _, o := range observe {
		if slices.Contains(enforce, o) {
			files["common"] = append(files["common"], o)
		} else {
			files["observe"] = append(files["observe"], o)
		}
	}
	for _, o := range enforce {
		if !slices.Contains(observe, o) {
			files["enforce"] = append(files["enforce"], o)
		}
	}
	if err := os.RemoveAll(out); err != nil {
		return fmt.Errorf("clearing the chart's folder: %w", err)
	}
	if err := os.CopyFS(out, os.DirFS(filepath.Join(manifests, "chart"))); err != nil {
		return fmt.Errorf("copying the chart: %w", err)
	}
	if err := os.Mkdir(filepath.Join(out, "files"), 0o755); err != nil {
		return fmt.Errorf("making the chart's files: %w", err)
	}
	for name, objects := range files {
		text := strings.Join(objects, "\n---\n") + "\n"
		if err := os.WriteFile(filepath.Join(out, "files", name+".yaml"), []byte(text), 0o644); err != nil {
			return fmt.Errorf("writing the chart's files: %w", err)
		}
	}
	return nil
}

// contentHash is what kustomize puts behind the name of a generated ConfigMap. The chart has one name for
// both modes, and restarts pods by an annotation instead.
var contentHash = regexp.MustCompile(`\b(plimsoll-agent|plimsoll-scheduler-config)-[2456789bcdfghkmt]{10}\b`)

// render gives the objects of an overlay as YAML.
func render(overlay string) ([]string, error) {
	options := krusty.MakeDefaultOptions()
	options.Reorder = krusty.ReorderOptionLegacy // namespaces and CRDs first
	resources, err := krusty.MakeKustomizer(options).Run(filesys.MakeFsOnDisk(), overlay)
	if err != nil {
		return nil, fmt.Errorf("rendering %s: %w", overlay, err)
	}
	var objects []string
	for _, r := range resources.Resources() {
		content, err := r.Map()
		if err != nil {
			return nil, fmt.Errorf("rendering %s: %w", r.CurId(), err)
		}
		// Not the resource's own YAML: it keeps folded texts, and gains empty lines in them.
		text, err := yaml.Marshal(content)
		if err != nil {
			return nil, fmt.Errorf("rendering %s: %w", r.CurId(), err)
		}
		if bytes.Contains(text, []byte("\n---\n")) {
			return nil, errors.New("an object contains a line of three dashes, at which the template splits")
		}
		objects = append(objects, strings.TrimSpace(contentHash.ReplaceAllString(string(text), "$1")))
	}
	return objects, nil
}
