package batchidle

import (
	"testing"

	"github.com/plimsoll/plimsoll/pkg/qos"
	"github.com/plimsoll/plimsoll/test/traces"
)

func TestTraces(t *testing.T) {
	traces.Runner{
		Factory:  Factory(),
		Settings: map[string]map[qos.Knob]string{traces.Branch: {qos.CPUIdle: "0", qos.CPUWeight: "100"}},
		Say:      func(c qos.Change) string { return string(c.Knob) + " " + c.Value },
	}.Run(t)
}
