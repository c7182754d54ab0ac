package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/creack/pty"

	"github.com/plimsoll/plimsoll/pkg/check"
	"github.com/plimsoll/plimsoll/test/golden"
)

const manifests = "../../manifests"

func TestCheckFindsNothingWrongWithWhatIsShipped(t *testing.T) {
	overlays, err := filepath.Glob(manifests + "/overlays/*")
	if err != nil || len(overlays) == 0 {
		t.Fatalf("overlays %v, %v", overlays, err)
	}
	for _, overlay := range append(overlays, manifests+"/base") {
		code, out, problems := plimsoll(t, "check", "-f", overlay)
		if code != exitOK || problems != "" {
			t.Errorf("%s: %d\n%s%s", overlay, code, out, problems)
		}
		// The files within ConfigMaps are looked at, or this would find nothing whatever was in them.
		if strings.HasPrefix(out, "0 documents") {
			t.Errorf("%s: nothing was checked: %s", overlay, out)
		}
	}
}

func TestCheckEndsWith1AndTellsEveryFaultAsTextAndAsJSON(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "agent.yaml")
	write(t, file, "apiVersion: plimsoll.dev/v1alpha1\nkind: AgentConfiguration\ntickMilliseconds: 5\nwindowMilliseconds: 1\n")
	write(t, filepath.Join(dir, "notes.txt"), "not looked at")
	code, out, problems := plimsoll(t, "check", "-f", dir)
	if code != exitFound || problems != "" || !strings.Contains(out, "problem: "+file+": AgentConfiguration: tickMilliseconds: Invalid value: 5: must be from 100 to 60000\n") ||
		!strings.Contains(out, "1 documents: problems: 2\n") {
		t.Errorf("%d, %q, %q", code, out, problems)
	}
	code, out, _ = plimsoll(t, "check", "-o", "json", "-f", file)
	var r check.Result
	if err := json.Unmarshal([]byte(out), &r); err != nil || code != exitFound || len(r.Problems) != 2 || r.Problems[1].Field != "windowMilliseconds" {
		t.Errorf("as JSON: %d, %v, %+v", code, err, r)
	}
	f := func(part string, args ...string) {
		t.Helper()
		if code, _, problems := plimsoll(t, args...); code != exitError || !strings.Contains(problems, part) {
			t.Errorf("%q: %d, %q, want 2 and %q", args, code, problems, part)
		}
	}
	f("--filename: none given", "check")
	f("no such file", "check", "-f", "/nowhere")
}

func TestPlanShowsWhatARecordedStateLeadsTo(t *testing.T) {
	code, out, problems := plimsoll(t, "plan", "--state", "testdata/state.json")
	if code != exitFound || problems != "" {
		t.Fatalf("%d, %q", code, problems)
	}
	golden.Check(t, "testdata/plan.golden", out)
	code, out, _ = plimsoll(t, "plan", "--state", "testdata/state.json", "-o", "json")
	if code != exitFound || !strings.Contains(out, `"from": "0",`) {
		t.Errorf("as JSON: %d, %s", code, out)
	}
	// The same State with the settings as they are wanted.
	data, err := os.ReadFile("testdata/state.json")
	if err != nil {
		t.Fatal(err)
	}
	settled := filepath.Join(t.TempDir(), "settled.json")
	write(t, settled, strings.NewReplacer(`"Value": "0"`, `"Value": "1"`, `"Value": "other"`, `"Value": "rr 1"`).Replace(string(data)))
	if code, out, problems = plimsoll(t, "plan", "--state", settled); code != exitOK || !strings.Contains(out, "nothing to change, 1 settings hold") {
		t.Errorf("a settled State: %d, %q, %q", code, out, problems)
	}
	f := func(part string, args ...string) {
		t.Helper()
		if code, _, problems := plimsoll(t, append([]string{"plan"}, args...)...); code != exitError || !strings.Contains(problems, part) {
			t.Errorf("%q: %d, %q, want 2 and %q", args, code, problems, part)
		}
	}
	f("record-state")
	f("no such file", "--state", "/nowhere")
	f("version: 0: must be 1", "--state", writeIn(t, "{}"))
}

func TestNamesOfTheCommandAsAPluginAndItsManPages(t *testing.T) {
	if code, out, _ := plimsoll(t, "--help"); code != exitOK || !strings.Contains(out, "plimsoll [command]") || !strings.Contains(out, "Exit codes") {
		t.Errorf("help: %d, %s", code, out)
	}
	if got := commandNamed("/usr/bin/kubectl-plimsoll").UsageString(); !strings.Contains(got, "kubectl plimsoll [command]") {
		t.Errorf("as a plugin of kubectl: %s", got)
	}
	dir := t.TempDir()
	if code, _, problems := plimsoll(t, "man", dir); code != exitOK {
		t.Fatal(problems)
	}
	page, err := os.ReadFile(filepath.Join(dir, "plimsoll-audit-verify.1"))
	if err != nil || !strings.Contains(string(page), ".TH \"PLIMSOLL-AUDIT-VERIFY\" \"1\"") {
		t.Errorf("man page: %v\n%s", err, page)
	}
	for shell, part := range map[string]string{"bash": "__start_plimsoll", "zsh": "#compdef plimsoll", "fish": "complete -c plimsoll", "powershell": "Register-ArgumentCompleter -CommandName 'plimsoll'"} {
		if code, out, _ := plimsoll(t, "completion", shell); code != exitOK || !strings.Contains(out, part) {
			t.Errorf("completion of %s: %d, without %q", shell, code, part)
		}
	}
	if code, out, _ := plimsoll(t, "__complete", "explain", ""); code != exitOK || !strings.Contains(out, "throttle\t") || !strings.Contains(out, "eviction\t") {
		t.Errorf("completing explain: %d, %s", code, out)
	}
	if code, out, _ := plimsoll(t, "--version"); code != exitOK || !strings.HasPrefix(out, "plimsoll version ") {
		t.Errorf("--version: %d, %q", code, out)
	}
}

// A terminal is coloured, and one of a person who wants none is not.
func TestNoColorIsHeeded(t *testing.T) {
	_, terminal, err := pty.Open()
	if err != nil {
		t.Skipf("there is no pseudo-terminal to try it on: %v", err)
	}
	defer terminal.Close()
	t.Setenv("NO_COLOR", "")
	if got := paint(terminal, red, "bad"); got != "\x1b[31mbad\x1b[0m" {
		t.Errorf("on a terminal: %q", got)
	}
	t.Setenv("NO_COLOR", "1")
	if got := paint(terminal, red, "bad"); got != "bad" {
		t.Errorf("with NO_COLOR: %q", got)
	}
}

func write(t *testing.T, file, content string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func writeIn(t *testing.T, content string) (file string) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "file")
	write(t, file, content)
	return file
}
