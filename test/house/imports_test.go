package house

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"
)

// A ban says which packages must not reach which others, and what would be lost if they did.
// A pattern is an import path; "/..." at its end takes in the path itself and all below it.
// The patterns of `from` and `except` start at the module's root.
type ban struct {
	from, except []string
	imports      []string
	// direct looks at the package's own import lines only. Otherwise all that it links counts, but for
	// the standard library, which is held to the import lines of this module's packages: fmt needs os, and may.
	direct bool
	why    string
}

// bans are the rules of the architecture. See docs/architecture.md.
func bans() []ban {
	deciding := []string{"pkg/qos/...", "pkg/usage/...", "pkg/planner/..."}
	return []ban{
		{
			from: append([]string{"pkg/freeze/..."}, deciding...),
			imports: []string{"os/...", "net/...", "syscall", "golang.org/x/sys/...",
				"k8s.io/client-go/..."},
			why: "deciding is a function of what was read: it must replay on a laptop what it did on a node, so it touches neither files nor the network",
		},
		{
			from:    deciding,
			imports: []string{"log/...", "k8s.io/klog/...", "k8s.io/component-base/...", "github.com/go-logr/logr/..."},
			why:     "a decision is explained in the Plan it returns, where it is published and audited; a log line beside it would be a second, unchecked explanation",
		},
		{
			from:    deciding,
			imports: []string{"math/rand/...", "crypto/rand"},
			why:     "the same State must give the same Plan",
		},
		{
			from:    []string{"pkg/cgroup/...", "pkg/actuate/...", "pkg/audit/..."},
			imports: []string{"k8s.io/...", "sigs.k8s.io/..."},
			why:     "reading and writing the kernel must be testable, and usable when the API server is away, without any of Kubernetes",
		},
		{
			from:    []string{"cmd/plimsoll-agent/..."},
			imports: []string{"k8s.io/kubernetes/..."},
			why:     "the agent runs on every node, so its memory is paid once a node, and it must join nodes of other minor versions: Kubernetes' internals serve neither",
		},
		{
			from:    []string{"cmd/plimsoll-agent/...", "cmd/plimsoll-scheduler/..."},
			imports: []string{"github.com/prometheus/prometheus/..."},
			why:     "Prometheus as a library is for the planner's command line: what runs in a cluster pays neither its memory nor its dependencies",
		},
		{
			from:    []string{"pkg/loadaware/...", "pkg/api/...", "pkg/check/...", "pkg/fleet/..."},
			imports: []string{"k8s.io/kubernetes/..."},
			why:     "the scheduling framework's interfaces are in k8s.io/kube-scheduler/framework; internals would tie the plugin to one release and its tests to a ten-minute build",
		},
		{
			from:    []string{"..."},
			except:  []string{"pkg/cgroup/...", "pkg/actuate/...", "pkg/audit/...", "pkg/localcluster/...", "examples/...", "test/..."},
			imports: []string{"golang.org/x/sys/unix"},
			direct:  true,
			why:     "the border to the operating system is a few folders, so that what touches the kernel can be found and reviewed",
		},
		{
			from:    []string{"pkg/..."},
			except:  []string{"pkg/localcluster/..."},
			imports: []string{"os/exec"},
			direct:  true,
			why:     "what runs on a production node starts no other program",
		},
	}
}

// goPackage is what `go list` says of a package.
type goPackage struct {
	ImportPath string
	Imports    []string
	Standard   bool
}

type importGraph map[string]goPackage

// readGraph reads the stream of objects that `go list -json` prints.
func readGraph(r io.Reader) (importGraph, error) {
	graph := importGraph{}
	for dec := json.NewDecoder(r); ; {
		var p goPackage
		if err := dec.Decode(&p); err == io.EOF {
			return graph, nil
		} else if err != nil {
			return nil, fmt.Errorf("decoding what go list printed: %w", err)
		}
		graph[p.ImportPath] = p
	}
}

// matches says whether an import path fits a pattern.
func matches(pattern, path string) bool {
	base, below := strings.CutSuffix(pattern, "...")
	if !below {
		return pattern == path
	}
	return path+"/" == base || strings.HasPrefix(path, base)
}

func matchesAny(patterns []string, path string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return matches(p, path) })
}

// local gives a package's path from the module's root, and whether it is of this module.
func local(path string) (string, bool) {
	if path == modulePath {
		return ".", true
	}
	return strings.CutPrefix(path, modulePath+"/")
}

// bannedImports finds every import that a ban forbids, with the chain that leads to it, and every
// pattern that no longer means anything: a ban on nothing would pass for ever.
func bannedImports(graph importGraph, bans []ban) []string {
	var findings []string
	paths := slices.Sorted(maps.Keys(graph))
	for _, b := range bans {
		for _, pattern := range slices.Concat(b.from, b.except) {
			if !slices.ContainsFunc(paths, func(p string) bool { l, ours := local(p); return ours && matches(pattern, l) }) {
				findings = append(findings, fmt.Sprintf("the ban on %s names %s, and there is no such package",
					strings.Join(b.imports, ", "), pattern))
			}
		}
		for _, pattern := range b.imports {
			if !slices.ContainsFunc(paths, func(p string) bool { return matches(pattern, p) }) {
				findings = append(findings, fmt.Sprintf("the ban on %s bans nothing: no package of that path is in the build", pattern))
			}
		}
		for _, path := range paths {
			l, ours := local(path)
			if !ours || !matchesAny(b.from, l) || matchesAny(b.except, l) {
				continue
			}
			if chain := graph.chainTo(path, b); chain != nil {
				findings = append(findings, fmt.Sprintf("%s: %s", strings.Join(chain, " -> "), b.why))
			}
		}
	}
	return findings
}

// chainTo gives the shortest way from a package to one that b forbids, or nil.
func (g importGraph) chainTo(from string, b ban) []string {
	type step struct {
		path  string
		chain []string
	}
	seen := map[string]bool{from: true}
	for queue := []step{{from, []string{from}}}; len(queue) > 0; queue = queue[1:] {
		at := queue[0]
		_, ours := local(at.path)
		for _, next := range g[at.path].Imports {
			standard := g[next].Standard
			if seen[next] || (standard && !ours) {
				continue
			}
			seen[next] = true
			chain := append(slices.Clone(at.chain), next)
			if matchesAny(b.imports, next) {
				return chain
			}
			if !standard && !b.direct {
				queue = append(queue, step{next, chain})
			}
		}
	}
	return nil
}

func TestNoPackageImportsWhatItsPlaceForbids(t *testing.T) {
	graph, err := readGraph(strings.NewReader(output(t, "go", "list", "-deps", "-json=ImportPath,Imports,Standard", "./...", "std")))
	if err != nil {
		t.Fatal(err)
	}
	report(t, bannedImports(graph, bans()))
}

func TestAForbiddenImportIsFoundWithItsChain(t *testing.T) {
	const listing = `
		{"ImportPath": "github.com/plimsoll/plimsoll/pkg/pure", "Imports": ["fmt", "github.com/plimsoll/plimsoll/pkg/reader"]}
		{"ImportPath": "github.com/plimsoll/plimsoll/pkg/reader", "Imports": ["os", "example.com/lib"]}
		{"ImportPath": "github.com/plimsoll/plimsoll/pkg/clean", "Imports": ["fmt"]}
		{"ImportPath": "example.com/lib", "Imports": ["net", "example.com/logger/v2"]}
		{"ImportPath": "example.com/logger/v2", "Imports": ["os"]}
		{"ImportPath": "fmt", "Imports": ["os"], "Standard": true}
		{"ImportPath": "net", "Imports": ["os"], "Standard": true}
		{"ImportPath": "os", "Standard": true}`
	tests := map[string]struct {
		ban  ban
		want []string
	}{
		"the standard library through a package of ours": {
			ban:  ban{from: []string{"pkg/pure"}, imports: []string{"os/..."}, why: "it must replay"},
			want: []string{modulePath + "/pkg/pure -> " + modulePath + "/pkg/reader -> os: it must replay"},
		},
		"the standard library through someone else's package is theirs": {
			ban: ban{from: []string{"pkg/pure"}, imports: []string{"net"}},
		},
		"the standard library through the standard library is its own": {
			ban: ban{from: []string{"pkg/clean"}, imports: []string{"os"}},
		},
		"someone else's package at any depth": {
			ban: ban{from: []string{"pkg/pure"}, imports: []string{"example.com/logger/..."}, why: "no logs"},
			want: []string{modulePath + "/pkg/pure -> " + modulePath +
				"/pkg/reader -> example.com/lib -> example.com/logger/v2: no logs"},
		},
		"a direct ban looks at import lines only, and spares its exceptions": {
			ban: ban{from: []string{"pkg/..."}, except: []string{"pkg/reader"}, imports: []string{"os"}, direct: true},
		},
		"a direct ban finds the import line": {
			ban:  ban{from: []string{"..."}, except: []string{"pkg/pure"}, imports: []string{"example.com/lib"}, direct: true, why: "direct"},
			want: []string{modulePath + "/pkg/reader -> example.com/lib: direct"},
		},
		"a package that vanished": {
			ban:  ban{from: []string{"pkg/gone"}, imports: []string{"os"}},
			want: []string{"the ban on os names pkg/gone, and there is no such package"},
		},
		"a banned path that nothing has": {
			ban:  ban{from: []string{"pkg/pure"}, imports: []string{"example.com/loger"}},
			want: []string{"the ban on example.com/loger bans nothing: no package of that path is in the build"},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			graph, err := readGraph(strings.NewReader(listing))
			if err != nil {
				t.Fatal(err)
			}
			wantFindings(t, test.want, bannedImports(graph, []ban{test.ban}))
		})
	}
}

func TestAPatternTakesInItsRootAndAllBelow(t *testing.T) {
	f := func(pattern, path string, want bool) {
		t.Helper()
		if got := matches(pattern, path); got != want {
			t.Errorf("matches(%q, %q) = %v, want %v", pattern, path, got, want)
		}
	}
	f("os", "os", true)
	f("os", "os/exec", false)
	f("os/...", "os", true)
	f("os/...", "os/exec", true)
	f("os/...", "ostrich", false)
	f("k8s.io/...", "k8s.io/api/core/v1", true)
	f("k8s.io/kubernetes/...", "k8s.io/kubernetes-extras", false)
	f("...", "anything/at/all", true)
}
