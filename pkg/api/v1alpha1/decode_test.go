package v1alpha1

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/util/validation/field"
)

func TestEveryFaultOfAFileIsToldAtOnce(t *testing.T) {
	_, err := ParseAgentConfiguration([]byte(`
apiVersion: plimsoll.dev/v1alpha1
kind: AgentConfiguration
tickMilis: 5
tickMilliseconds: 5
publish: {heartbeat: 3}
runtimeHook: {mode: Off}
lending: {mode: Always}
`))
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{`"tickMilis"`, `"publish.heartbeat"`, "tickMilliseconds: Invalid value: 5: must be from 100 to 60000", "lending.mode"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not tell of %s: %v", want, err)
		}
	}
	if strings.Contains(err.Error(), "runtimeHook.mode") {
		t.Errorf("what is right is told of: %v", err)
	}
	_, err = ParseLoadAwareArgs([]byte("apiVersion: plimsoll.dev/v1alpha1\nkind: LoadAwareArgs\nsaveCPUPercent: 3\nfreshSeconds: 0\n"), field.NewPath("args"))
	if err == nil || !strings.Contains(err.Error(), `"saveCPUPercent"`) || !strings.Contains(err.Error(), "args.freshSeconds") {
		t.Errorf("arguments with two faults: %v", err)
	}
}

// An unquoted Off is a boolean to YAML 1.1, as "no" is in the list of countries.
func TestModesMayBeWrittenWithoutQuotes(t *testing.T) {
	for written, want := range map[string]Mode{"Off": ModeOff, `"Off"`: ModeOff, "Observe": ModeObserve, "Enforce": ModeEnforce} {
		c, err := ParseAgentConfiguration([]byte("apiVersion: plimsoll.dev/v1alpha1\nkind: AgentConfiguration\n" +
			"runtimeHook: {mode: " + written + "}\nstrategies: [{name: batchidle, mode: " + written + "}]\n"))
		if err != nil {
			t.Errorf("mode %s: %v", written, err)
			continue
		}
		if c.RuntimeHook.Mode != want || c.Strategies[0].Mode != want {
			t.Errorf("mode %s became %s and %s, want %s", written, c.RuntimeHook.Mode, c.Strategies[0].Mode, want)
		}
	}
}

func TestAListOfStrategiesReplacesTheDefaultOne(t *testing.T) {
	head := "apiVersion: plimsoll.dev/v1alpha1\nkind: AgentConfiguration\n"
	for file, want := range map[string]int{head: 3, head + "strategies: []\n": 0, head + "strategies: [{name: other}]\n": 1} {
		c, err := ParseAgentConfiguration([]byte(file))
		if err != nil {
			t.Fatal(err)
		}
		if len(c.Strategies) != want {
			t.Errorf("%q: %d strategies, want %d", file, len(c.Strategies), want)
		}
		for _, s := range c.Strategies {
			if s.Mode != ModeObserve {
				t.Errorf("%q: strategy %s is in mode %s, want Observe unless told otherwise", file, s.Name, s.Mode)
			}
		}
	}
}
