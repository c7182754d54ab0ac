package batchcap

import (
	"fmt"
	"testing"

	"github.com/plimsoll/plimsoll/pkg/qos"
	"github.com/plimsoll/plimsoll/test/traces"
)

func TestTraces(t *testing.T) {
	traces.Runner{
		Factory:  Factory(),
		Settings: map[string]map[qos.Knob]string{traces.Branch: {qos.CPUQuota: "max"}},
		Say: func(c qos.Change) string {
			if c.Value == "max" {
				return "no quota"
			}
			return fmt.Sprintf("at most %d mCPU", milliCPUOf(c.Value))
		},
	}.Run(t)
}
