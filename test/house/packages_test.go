package house

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// goFiles parses the Go files among files, by folder. Folders named testdata hold input, not code.
func goFiles(fsys fs.FS, files []string, mode parser.Mode) (map[string]map[string]*ast.File, *token.FileSet, error) {
	positions := token.NewFileSet()
	folders := map[string]map[string]*ast.File{}
	for _, name := range files {
		if path.Ext(name) != ".go" || slices.Contains(strings.Split(name, "/"), "testdata") {
			continue
		}
		source, err := fs.ReadFile(fsys, name)
		if err != nil {
			return nil, nil, err
		}
		file, err := parser.ParseFile(positions, name, source, mode)
		if err != nil {
			return nil, nil, err
		}
		folder := path.Dir(name)
		if folders[folder] == nil {
			folders[folder] = map[string]*ast.File{}
		}
		folders[folder][path.Base(name)] = file
	}
	return folders, positions, nil
}

// packageDocs finds folders that do not have exactly one package comment, or one that does not say
// what it is about in its first two words.
func packageDocs(fsys fs.FS, files []string) ([]string, error) {
	folders, _, err := goFiles(fsys, files, parser.PackageClauseOnly|parser.ParseComments)
	if err != nil {
		return nil, err
	}
	var findings []string
	for _, folder := range slices.Sorted(maps.Keys(folders)) {
		var documented []string
		for _, name := range slices.Sorted(maps.Keys(folders[folder])) {
			file := folders[folder][name]
			text := file.Doc.Text()
			if text == "" {
				continue
			}
			documented = append(documented, name)
			want := "Package " + file.Name.Name + " "
			if file.Name.Name == "main" {
				want = "Command " + path.Base(folder) + " "
			}
			if !strings.HasPrefix(text, want) {
				findings = append(findings, fmt.Sprintf("%s/%s: the package comment must start with %q", folder, name, want))
			}
		}
		switch len(documented) {
		case 0:
			findings = append(findings, folder+": no package comment (one followed by an empty line does not count)")
		case 1:
		default:
			findings = append(findings, fmt.Sprintf("%s: %d package comments, want one: %s",
				folder, len(documented), strings.Join(documented, ", ")))
		}
	}
	return findings, nil
}

// packageNames finds packages whose name says nothing about what is in them.
func packageNames(fsys fs.FS, files []string) ([]string, error) {
	folders, _, err := goFiles(fsys, files, parser.PackageClauseOnly)
	if err != nil {
		return nil, err
	}
	empty := []string{"util", "utils", "common", "helper", "helpers", "manager", "types"}
	var findings []string
	for _, folder := range slices.Sorted(maps.Keys(folders)) {
		names := map[string]bool{path.Base(folder): true}
		for _, file := range folders[folder] {
			names[strings.TrimSuffix(file.Name.Name, "_test")] = true
		}
		for _, name := range slices.Sorted(maps.Keys(names)) {
			if slices.Contains(empty, name) {
				findings = append(findings, fmt.Sprintf("%s: a package is called %s: name it after what it is about", folder, name))
			}
		}
	}
	return findings, nil
}

// weakTests finds tests that skip without a word, and tests that wait for time instead of for a
// condition. A file that imports testing/synctest may sleep: time is fake there, and costs none.
func weakTests(fsys fs.FS, files []string) ([]string, error) {
	tests := slices.DeleteFunc(slices.Clone(files), func(f string) bool { return !strings.HasSuffix(f, "_test.go") })
	folders, positions, err := goFiles(fsys, tests, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	var findings []string
	for _, folder := range slices.Sorted(maps.Keys(folders)) {
		for _, name := range slices.Sorted(maps.Keys(folders[folder])) {
			file := folders[folder][name]
			fakeTime := slices.ContainsFunc(file.Imports, func(i *ast.ImportSpec) bool { return i.Path.Value == `"testing/synctest"` })
			ast.Inspect(file, func(n ast.Node) bool {
				call, ok := n.(*ast.CallExpr)
				if !ok {
					return true
				}
				method, ok := call.Fun.(*ast.SelectorExpr)
				if !ok {
					return true
				}
				receiver, _ := method.X.(*ast.Ident)
				at := positions.Position(call.Pos())
				switch {
				case method.Sel.Name == "SkipNow", method.Sel.Name == "Skip" && len(call.Args) == 0:
					findings = append(findings, fmt.Sprintf("%s:%d: a skip must say what is missing", at.Filename, at.Line))
				case method.Sel.Name == "Sleep" && receiver != nil && receiver.Name == "time" && !fakeTime:
					findings = append(findings, fmt.Sprintf("%s:%d: a test must wait for a condition, not for time to pass", at.Filename, at.Line))
				}
				return true
			})
		}
	}
	return findings, nil
}

type treeRule func(fs.FS, []string) ([]string, error)

func keep(t *testing.T, rule treeRule) {
	t.Helper()
	findings, err := rule(os.DirFS(root), sourceFiles(t))
	if err != nil {
		t.Fatal(err)
	}
	report(t, findings)
}

func TestEachFolderHasOnePackageComment(t *testing.T) { keep(t, packageDocs) }

func TestPackagesAreNamedAfterWhatTheyAreAbout(t *testing.T) { keep(t, packageNames) }

func TestNoTestSkipsInSilenceOrSleeps(t *testing.T) { keep(t, weakTests) }

func TestBrokenPackageRulesAreFound(t *testing.T) {
	f := func(name string, rule treeRule, tree map[string]string, want ...string) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			fsys := fstest.MapFS{}
			for file, text := range tree {
				fsys[file] = &fstest.MapFile{Data: []byte(text)}
			}
			got, err := rule(fsys, slices.Sorted(maps.Keys(tree)))
			if err != nil {
				t.Fatal(err)
			}
			wantFindings(t, want, got)
		})
	}
	f("good comments", packageDocs, map[string]string{
		"pkg/a/a.go":          "// Package a is good.\npackage a\n",
		"pkg/a/b.go":          "package a\n",
		"pkg/a/a_test.go":     "package a_test\n",
		"cmd/tool/main.go":    "// Command tool is good.\npackage main\n",
		"test/c/c_test.go":    "// Package c has tests only.\npackage c\n",
		"pkg/a/testdata/x.go": "package x\n",
	})
	f("no comment", packageDocs, map[string]string{"pkg/a/a.go": "package a\n"},
		"pkg/a: no package comment (one followed by an empty line does not count)")
	f("a comment cut off by an empty line", packageDocs, map[string]string{"pkg/a/a.go": "// Package a is cut off.\n\npackage a\n"},
		"pkg/a: no package comment (one followed by an empty line does not count)")
	f("a build constraint is no comment", packageDocs, map[string]string{"pkg/a/a.go": "//go:build linux\npackage a\n"},
		"pkg/a: no package comment (one followed by an empty line does not count)")
	f("two comments", packageDocs, map[string]string{
		"pkg/a/a.go": "// Package a is one.\npackage a\n",
		"pkg/a/b.go": "// Package a is two.\npackage a\n",
	}, "pkg/a: 2 package comments, want one: a.go, b.go")
	f("a comment about something else", packageDocs, map[string]string{
		"cmd/tool/main.go": "// Package main runs.\npackage main\n",
	}, `cmd/tool/main.go: the package comment must start with "Command tool "`)

	f("empty names", packageNames, map[string]string{
		"pkg/util/a.go":     "package strutil\n",
		"pkg/b/b.go":        "package common\n",
		"pkg/types/tree.go": "package types\n",
		"pkg/good/good.go":  "package good\n",
	},
		"pkg/b: a package is called common: name it after what it is about",
		"pkg/types: a package is called types: name it after what it is about",
		"pkg/util: a package is called util: name it after what it is about")

	f("weak tests", weakTests, map[string]string{
		"pkg/a/a.go":         "package a\nfunc f() { time.Sleep(1) }\n",
		"pkg/a/fake_test.go": "package a\nimport \"testing/synctest\"\nfunc f() { time.Sleep(1) }\n",
		"pkg/a/a_test.go": "package a\nfunc g(t T) {\n\tt.Skip()\n\tt.SkipNow()\n\ttime.Sleep(1)\n" +
			"\tt.Skip(\"no PSI\")\n\tother.Sleep(1)\n}\n",
	},
		"pkg/a/a_test.go:3: a skip must say what is missing",
		"pkg/a/a_test.go:4: a skip must say what is missing",
		"pkg/a/a_test.go:5: a test must wait for a condition, not for time to pass")
}
