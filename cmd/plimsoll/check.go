package main

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"

	"github.com/plimsoll/plimsoll/pkg/check"
)

func checkCommand() *cobra.Command {
	var files []string
	c := &cobra.Command{
		Use:   "check -f PATH [-f PATH ...]",
		Short: "Find what is wrong with configuration and manifests, without a cluster",
		Long: `Check files before anything reads them, and print every fault with its file, field and what is allowed:

  - AgentConfiguration, with the strategies' own arguments and two strategies that claim one kernel setting
  - KubeSchedulerConfiguration: its fields, the arguments of LoadAware and of the plugins that come with the scheduler
  - pods and what makes pods: unknown fields, the labels and annotations of Plimsoll, and what batch pods ask for
  - ConfigMaps that hold one of the first two

PATH is a file of YAML or JSON, a folder (its files, or, where it has a kustomization.yaml, what that builds), or - for
standard input. Kinds that Plimsoll does not know are named and not judged.

Ends with 0 when nothing is wrong, 1 when something is, and 2 when a path could not be read.`,
		Args: cobra.NoArgs,
	}
	output := outputFlag(c)
	c.Flags().StringArrayVarP(&files, "filename", "f", nil, "a file, a folder, or - for standard input; may be repeated")
	_ = c.MarkFlagFilename("filename", "yaml", "yml", "json")
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := checkOutput(*output); err != nil {
			return err
		}
		if len(files) == 0 {
			return fmt.Errorf("--filename: none given; give a file, a folder, or - for standard input")
		}
		result := check.Result{Problems: []check.Problem{}}
		for _, path := range files {
			if err := checkPath(&result, path, cmd.InOrStdin()); err != nil {
				return fmt.Errorf("--filename: %w", err)
			}
		}
		return showCheck(cmd.OutOrStdout(), result, *output)
	}
	return c
}

// kustomizations are the names that a file of kustomize may have.
func kustomizations() []string {
	return []string{"kustomization.yaml", "kustomization.yml", "Kustomization"}
}

func checkPath(r *check.Result, path string, stdin io.Reader) error {
	if path != "-" {
		info, err := os.Stat(path)
		if err != nil {
			return err
		}
		if info.IsDir() {
			return checkFolder(r, path)
		}
	}
	content, err := readInput(path, stdin)
	if err != nil {
		return err
	}
	r.File(path, content)
	return nil
}

// checkFolder checks what a kustomization builds, or else every file of YAML or JSON below.
func checkFolder(r *check.Result, folder string) error {
	for _, name := range kustomizations() {
		if _, err := os.Stat(filepath.Join(folder, name)); err != nil {
			continue
		}
		built, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), folder)
		if err != nil {
			return fmt.Errorf("building the kustomization %s: %w", folder, err)
		}
		content, err := built.AsYaml()
		if err != nil {
			return fmt.Errorf("building the kustomization %s: %w", folder, err)
		}
		r.File(folder, content)
		return nil
	}
	return filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !slices.Contains([]string{".yaml", ".yml", ".json"}, filepath.Ext(path)) {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		r.File(path, content)
		return nil
	})
}

func showCheck(out io.Writer, r check.Result, output string) error {
	if output == "json" {
		if err := printJSON(out, r); err != nil {
			return fmt.Errorf("writing the result: %w", err)
		}
	} else {
		for _, p := range r.Problems {
			fmt.Fprintln(out, paint(out, red, "problem:"), p)
		}
		if len(r.Unknown) > 0 {
			fmt.Fprintln(out, "not judged:", strings.Join(r.Unknown, ", "))
		}
		verdict := paint(out, green, "nothing is wrong")
		if n := len(r.Problems); n > 0 {
			verdict = paint(out, red, fmt.Sprintf("problems: %d", n))
		}
		fmt.Fprintf(out, "%d documents: %s\n", r.Checked, verdict)
	}
	if len(r.Problems) > 0 {
		return errFound
	}
	return nil
}
