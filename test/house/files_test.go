package house

import (
	"bytes"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

var (
	markdownFence = regexp.MustCompile("(?ms)^[ \t]*(```|~~~).*?^[ \t]*(```|~~~)[ \t]*$")
	markdownCode  = regexp.MustCompile("`[^`\n]*`")
	// markdownLink finds [text](target), [label]: target, and src="target" or href="target" of inline HTML.
	markdownLink = regexp.MustCompile(`(?m)\]\(\s*<?([^)\s>]+)|^\s*\[[^\]]+\]:\s*<?(\S+?)>?\s*$|(?:src|href)="([^"]+)"`)
	// machinePath finds absolute paths that exist only where somebody works.
	machinePath = regexp.MustCompile(`(^|[^A-Za-z0-9_.~>-])(/(work|farm|root|home|Users)/[A-Za-z.][\w./-]*)`)
)

// brokenLinks finds relative links in Markdown files that lead to no file or folder of the repository.
func brokenLinks(fsys fs.FS, files []string) ([]string, error) {
	there := map[string]bool{".": true}
	for _, f := range files {
		for ; f != "."; f = path.Dir(f) {
			there[f] = true
		}
	}
	var findings []string
	for _, name := range files {
		if path.Ext(name) != ".md" {
			continue
		}
		data, err := fs.ReadFile(fsys, name)
		if err != nil {
			return nil, err
		}
		text := markdownCode.ReplaceAll(markdownFence.ReplaceAll(data, nil), nil)
		for _, match := range markdownLink.FindAllSubmatch(text, -1) {
			target := string(bytes.Join(match[1:], nil))
			link, err := url.Parse(target)
			if err != nil {
				findings = append(findings, fmt.Sprintf("%s: the link to %s is not readable: %v", name, target, err))
				continue
			}
			if link.Scheme != "" || link.Host != "" || link.Path == "" {
				continue
			}
			resolved := path.Join(path.Dir(name), link.Path)
			if absolute, ok := strings.CutPrefix(link.Path, "/"); ok {
				resolved = path.Clean(absolute)
			}
			if !there[resolved] {
				findings = append(findings, fmt.Sprintf("%s: the link to %s leads nowhere: there is no %s", name, target, resolved))
			}
		}
	}
	return findings, nil
}

// machinePaths finds paths of somebody's own machine.
func machinePaths(fsys fs.FS, files []string) ([]string, error) {
	var findings []string
	for _, name := range files {
		data, err := fs.ReadFile(fsys, name)
		if err != nil {
			return nil, err
		}
		if bytes.IndexByte(data, 0) >= 0 {
			continue
		}
		for i, line := range strings.Split(string(data), "\n") {
			if match := machinePath.FindStringSubmatch(line); match != nil {
				findings = append(findings, fmt.Sprintf("%s:%d: %s means nothing on another machine", name, i+1, match[2]))
			}
		}
	}
	return findings, nil
}

// shellScripts picks the files that bash would run.
func shellScripts(fsys fs.FS, files []string) ([]string, error) {
	var scripts []string
	for _, name := range files {
		data, err := fs.ReadFile(fsys, name)
		if err != nil {
			return nil, err
		}
		first, _, _ := strings.Cut(string(data), "\n")
		if path.Ext(name) == ".sh" || (strings.HasPrefix(first, "#!") && strings.HasSuffix(first, "sh")) {
			scripts = append(scripts, name)
		}
	}
	return scripts, nil
}

// unpaired finds verify scripts without the update script that mends what they find.
func unpaired(_ fs.FS, files []string) ([]string, error) {
	var findings []string
	for _, name := range files {
		if what, ok := strings.CutPrefix(name, "hack/verify-"); ok && !slices.Contains(files, "hack/update-"+what) {
			findings = append(findings, fmt.Sprintf("%s: there is no hack/update-%s to mend what it finds", name, what))
		}
	}
	return findings, nil
}

// complaint runs a checker on a file and gives what it says when it is not content.
func complaint(t *testing.T, file, checker string, args ...string) []string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), checker, append(args, file)...).CombinedOutput()
	if err != nil {
		return []string{fmt.Sprintf("%s %s: %v\n%s", checker, file, err, out)}
	}
	return nil
}

func TestMarkdownLinksLeadSomewhere(t *testing.T) { keep(t, brokenLinks) }

func TestNoFileNamesAPathOfOneMachine(t *testing.T) { keep(t, machinePaths) }

func TestEachVerifyScriptHasAnUpdateScript(t *testing.T) { keep(t, unpaired) }

func TestShellScriptsParse(t *testing.T) {
	scripts, err := shellScripts(os.DirFS(root), sourceFiles(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range scripts {
		report(t, complaint(t, filepath.Join(root, name), "bash", "-n"))
	}
}

func TestShellcheckIsContentWithTheScripts(t *testing.T) {
	if _, err := exec.LookPath("shellcheck"); err != nil {
		t.Skip("shellcheck is not installed: apt-get install shellcheck")
	}
	scripts, err := shellScripts(os.DirFS(root), sourceFiles(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range scripts {
		report(t, complaint(t, filepath.Join(root, name), "shellcheck", "--external-sources"))
	}
}

func TestAScriptThatDoesNotParseIsFound(t *testing.T) {
	script := filepath.Join(t.TempDir(), "broken.sh")
	if err := os.WriteFile(script, []byte("#!/usr/bin/env bash\nif true; then\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := complaint(t, script, "bash", "-n"); len(got) != 1 {
		t.Errorf("complaints about a script with an open if: %q, want one", got)
	}
}

func TestBrokenFileRulesAreFound(t *testing.T) {
	// Put together here, so that this file does not break the rule itself.
	elsewhere := "/" + "work/main"
	f := func(name string, rule treeRule, tree map[string]string, want ...string) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			fsys := fstest.MapFS{}
			var files []string
			for file, text := range tree {
				fsys[file] = &fstest.MapFile{Data: []byte(text)}
				files = append(files, file)
			}
			slices.Sort(files)
			got, err := rule(fsys, files)
			if err != nil {
				t.Fatal(err)
			}
			wantFindings(t, want, got)
		})
	}
	f("links", brokenLinks, map[string]string{
		"README.md": "[a](docs/a.md) [b](docs/b.md#top) [c](https://example.com/x) [d](#here) [e](docs/)\n" +
			"[ref]: docs/gone.md\n`[code](no.md)`\n```\n[fenced](no.md)\n```\n<img src=\"docs/pic.png\">\n",
		"docs/a.md": "[up](../README.md) [root](/README.md) [out](../../other.md)\n",
	},
		"README.md: the link to docs/b.md#top leads nowhere: there is no docs/b.md",
		"README.md: the link to docs/gone.md leads nowhere: there is no docs/gone.md",
		"README.md: the link to docs/pic.png leads nowhere: there is no docs/pic.png",
		"docs/a.md: the link to ../../other.md leads nowhere: there is no ../other.md")
	f("machine paths", machinePaths, map[string]string{
		"a.sh":   "cd " + elsewhere + "\n",
		"b.go":   "package b\n\nconst dir = \"" + elsewhere + "\"\n",
		"c.md":   "see https://example.com" + elsewhere + ", <root>" + elsewhere + " and /var/lib/plimsoll\n",
		"binary": "\x00 " + elsewhere,
	},
		"a.sh:1: "+elsewhere+" means nothing on another machine",
		"b.go:3: "+elsewhere+" means nothing on another machine")
	f("scripts in pairs", unpaired, map[string]string{
		"hack/verify-a.sh": "", "hack/update-a.sh": "", "hack/verify-b.sh": "",
	}, "hack/verify-b.sh: there is no hack/update-b.sh to mend what it finds")
	f("what counts as a script", shellScripts, map[string]string{
		".ci/run": "#!/usr/bin/env bash\n", "hack/x.sh": "", "tool.py": "#!/usr/bin/env python3\n", "a.go": "package a\n",
	}, ".ci/run", "hack/x.sh")
}
