package house

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// agentTags is how the agent is built. Without it gRPC links golang.org/x/net/trace and with that html/template, which
// calls methods by name: the linker then keeps every exported method of every type, 20 MB of them, and 11 MiB more are
// resident on each node.
const agentTags = "-tags grpcnotrace"

func TestTheLinkerMayDropWhatTheAgentDoesNotUse(t *testing.T) {
	deps := strings.Fields(output(t, "go", "list", "-deps", "-tags", "grpcnotrace", "./cmd/plimsoll-agent"))
	for _, banned := range []string{"golang.org/x/net/trace", "html/template"} {
		if slices.Contains(deps, banned) {
			t.Errorf("plimsoll-agent links %s, which keeps the linker from dropping methods that nobody calls", banned)
		}
	}
}

// untaggedBuilds gives the lines of a script that build the agent alone and without its tag.
func untaggedBuilds(script string) (lines []string) {
	for line := range strings.SplitSeq(script, "\n") {
		if regexp.MustCompile(`go build .*cmd/plimsoll-agent`).MatchString(line) && !strings.Contains(line, agentTags) {
			lines = append(lines, line)
		}
	}
	return lines
}

func TestTheAgentIsBuiltWithItsTag(t *testing.T) {
	for _, file := range []string{"Makefile", "Dockerfile"} {
		text := read(t, os.DirFS(root), file)
		if !strings.Contains(text, agentTags) {
			t.Errorf("%s does not build the agent with %s", file, agentTags)
		}
		for _, line := range untaggedBuilds(text) {
			t.Errorf("%s: %q lacks %s", file, line, agentTags)
		}
	}
	wantFindings(t, []string{"go build -o x ./cmd/plimsoll-agent"}, untaggedBuilds("go build -o x ./cmd/plimsoll-agent\ngo build -tags grpcnotrace ./cmd/plimsoll-agent\n"))
}
