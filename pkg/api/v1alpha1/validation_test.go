package v1alpha1

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func TestBadFreezeWindowsAreNamedWithTheirRange(t *testing.T) {
	c := DefaultAgentConfiguration()
	c.Lending.FreezeWindows = []FreezeWindow{{Name: "a", DurationSeconds: 59, LendPermille: 1000, RampSeconds: 86_401}, {Name: "a", DurationSeconds: 60}, {DurationSeconds: 60}}
	got := ValidateAgentConfiguration(c).ToAggregate()
	for _, want := range []string{
		"lending.freezeWindows[0].durationSeconds", "60 to 2678400", "lending.freezeWindows[0].lendPermille", "lending.freezeWindows[0].rampSeconds",
		"lending.freezeWindows[1].name", "lending.freezeWindows[2].name",
	} {
		if got == nil || !strings.Contains(got.Error(), want) {
			t.Errorf("%v, want it to say %q", got, want)
		}
	}
}

func TestDefaultsAreValid(t *testing.T) {
	if errs := ValidateAgentConfiguration(DefaultAgentConfiguration()); len(errs) > 0 {
		t.Error(errs.ToAggregate())
	}
	if errs := ValidateLoadAwareArgs(DefaultLoadAwareArgs(), field.NewPath("args")); len(errs) > 0 {
		t.Error(errs.ToAggregate())
	}
}

func TestDefaultsAreNotSharedBetweenCallers(t *testing.T) {
	a := DefaultAgentConfiguration()
	a.Strategies[0].Name = "changed"
	if got := DefaultAgentConfiguration().Strategies[0].Name; got == "changed" {
		t.Error("changing one caller's defaults changes the next one's")
	}
}

// limit is a number with its allowed range, as the field's comment states it.
type limit[T any] struct {
	path      string
	low, high int64
	set       func(c *T, v int64)
}

func checkLimits[T any](t *testing.T, limits []limit[T], defaults func() *T, validate func(*T) field.ErrorList) {
	t.Helper()
	for _, l := range limits {
		for _, ok := range []int64{l.low, l.high} {
			c := defaults()
			l.set(c, ok)
			if errs := validate(c); len(errs) > 0 {
				t.Errorf("%s of %d: %v", l.path, ok, errs.ToAggregate())
			}
		}
		for _, bad := range []int64{l.low - 1, l.high + 1} {
			c := defaults()
			l.set(c, bad)
			errs := validate(c)
			want := fmt.Sprintf("%s: Invalid value: %d: must be from %d to %d", l.path, bad, l.low, l.high)
			if len(errs) != 1 || errs[0].Error() != want {
				t.Errorf("%s of %d: %v, want %q", l.path, bad, errs.ToAggregate(), want)
			}
		}
	}
}

func TestEachNumberOfTheAgentsFileHasItsRange(t *testing.T) {
	// So wide that changing one of them alone is no fault of another: the window is bounded by the
	// tick, the heartbeat by the interval.
	wide := func() *AgentConfiguration {
		c := DefaultAgentConfiguration()
		c.WindowMilliseconds = 3_600_000
		c.Publish.HeartbeatMilliseconds, c.Publish.AverageIntervalMilliseconds = 3_600_000, 3_600_000
		c.Publish.ChangePermille, c.Publish.JumpPermille = 0, 1000
		c.Lending.CPU.MarginPermille, c.Lending.CPU.ColdMarginPermille = 0, 1000
		c.Lending.Memory = c.Lending.CPU
		return c
	}
	checkLimits(t, []limit[AgentConfiguration]{
		{"tickMilliseconds", 100, 60_000, func(c *AgentConfiguration, v int64) { c.TickMilliseconds = v }},
		{"windowMilliseconds", 1000, 3_600_000, func(c *AgentConfiguration, v int64) { c.WindowMilliseconds = v }},
		{"blindAfterFailures", 1, 1000, func(c *AgentConfiguration, v int64) { c.BlindAfterFailures = int(v) }},
		{"publish.minIntervalMilliseconds", 100, 600_000, func(c *AgentConfiguration, v int64) { c.Publish.MinIntervalMilliseconds = v }},
		{"publish.heartbeatMilliseconds", 1000, 3_600_000, func(c *AgentConfiguration, v int64) { c.Publish.HeartbeatMilliseconds = v }},
		{"publish.averageIntervalMilliseconds", 1000, 3_600_000, func(c *AgentConfiguration, v int64) { c.Publish.AverageIntervalMilliseconds = v }},
		{"publish.changePermille", 0, 1000, func(c *AgentConfiguration, v int64) { c.Publish.ChangePermille = v }},
		{"publish.jumpPermille", 0, 1000, func(c *AgentConfiguration, v int64) { c.Publish.JumpPermille = v }},
		{"publish.errorBudgetPermilleSeconds", 0, 100_000, func(c *AgentConfiguration, v int64) { c.Publish.ErrorBudgetPermilleSeconds = v }},
		{"audit.maxFileBytes", 65_536, 1_073_741_824, func(c *AgentConfiguration, v int64) { c.Audit.MaxFileBytes = v }},
		{"audit.maxFiles", 0, 10_000, func(c *AgentConfiguration, v int64) { c.Audit.MaxFiles = v }},
		{"lending.cpu.safeLinePermille", 1, 1000, func(c *AgentConfiguration, v int64) { c.Lending.CPU.SafeLinePermille = v }},
		{"lending.cpu.marginPermille", 0, 1000, func(c *AgentConfiguration, v int64) { c.Lending.CPU.MarginPermille = v }},
		{"lending.cpu.coldMarginPermille", 0, 1000, func(c *AgentConfiguration, v int64) { c.Lending.CPU.ColdMarginPermille = v }},
		{"lending.memory.safeLinePermille", 1, 1000, func(c *AgentConfiguration, v int64) { c.Lending.Memory.SafeLinePermille = v }},
		{"lending.memory.marginPermille", 0, 1000, func(c *AgentConfiguration, v int64) { c.Lending.Memory.MarginPermille = v }},
		{"lending.memory.coldMarginPermille", 0, 1000, func(c *AgentConfiguration, v int64) { c.Lending.Memory.ColdMarginPermille = v }},
		{"lending.horizonSeconds", 300, 86_400, func(c *AgentConfiguration, v int64) { c.Lending.HorizonSeconds = v }},
		{"lending.quantilePermille", 500, 999, func(c *AgentConfiguration, v int64) { c.Lending.QuantilePermille = v }},
		{"lending.raiseAfterSeconds", 10, 86_400, func(c *AgentConfiguration, v int64) { c.Lending.RaiseAfterSeconds = v }},
		{"lending.deadBandPermille", 0, 200, func(c *AgentConfiguration, v int64) { c.Lending.DeadBandPermille = v }},
	}, wide, ValidateAgentConfiguration)
}

func TestEachNumberOfTheSchedulersArgumentsHasItsRange(t *testing.T) {
	root := field.NewPath("args")
	checkLimits(t, []limit[LoadAwareArgs]{
		{"args.safeCPUPercent", 1, 100, func(a *LoadAwareArgs, v int64) { a.SafeCPUPercent = v }},
		{"args.staleAfterSeconds", 2, 3600, func(a *LoadAwareArgs, v int64) { a.StaleAfterSeconds = v }},
		{"args.maturityMilliseconds", 0, 3_600_000, func(a *LoadAwareArgs, v int64) { a.MaturityMilliseconds = v }},
		{"args.maxCPUPercent", 0, 1000, func(a *LoadAwareArgs, v int64) { a.MaxCPUPercent = v }},
		{"args.maxMemoryPercent", 0, 1000, func(a *LoadAwareArgs, v int64) { a.MaxMemoryPercent = v }},
		{"args.horizonSeconds", 0, 86_400, func(a *LoadAwareArgs, v int64) { a.HorizonSeconds = v }},
		{"args.freshSeconds", 1, 3600, func(a *LoadAwareArgs, v int64) { a.FreshSeconds = v }},
		{"args.batchMaxAgeSeconds", 1, 3600, func(a *LoadAwareArgs, v int64) { a.BatchMaxAgeSeconds = v }},
		{"args.defaultDurationSeconds", 1, 604_800, func(a *LoadAwareArgs, v int64) { a.DefaultDurationSeconds = v }},
		{"args.estimates.latencySensitive.requestPercent", 0, 1000, func(a *LoadAwareArgs, v int64) { a.Estimates.LatencySensitive.RequestPercent = v }},
		{"args.estimates.latencySensitive.burstPercent", 0, 100, func(a *LoadAwareArgs, v int64) { a.Estimates.LatencySensitive.BurstPercent = v }},
		{"args.estimates.batch.requestPercent", 0, 1000, func(a *LoadAwareArgs, v int64) { a.Estimates.Batch.RequestPercent = v }},
		{"args.estimates.batch.burstPercent", 0, 100, func(a *LoadAwareArgs, v int64) { a.Estimates.Batch.BurstPercent = v }},
	}, DefaultLoadAwareArgs, func(a *LoadAwareArgs) field.ErrorList { return ValidateLoadAwareArgs(a, root) })
}

func TestWordsThatTheSchedulerDoesNotKnowAreRefusedWithThoseItKnows(t *testing.T) {
	a := DefaultLoadAwareArgs()
	a.Mode, a.ScoringStrategy = ModeOff, "Balanced"
	got := ValidateLoadAwareArgs(a, field.NewPath("args")).ToAggregate().Error()
	for _, want := range []string{`args.mode: Unsupported value: "Off"`, `"Observe", "Enforce"`, `args.scoringStrategy: Unsupported value: "Balanced"`, `"LeastRisk", "MostUsed"`} {
		if !strings.Contains(got, want) {
			t.Errorf("error = %s, want it to contain %q", got, want)
		}
	}
}

const agentFile = "apiVersion: plimsoll.dev/v1alpha1\nkind: AgentConfiguration\n"

func TestAnAgentsFileThatIsWrongIsRefusedWithAllItsFaults(t *testing.T) {
	tests := map[string]struct {
		file string
		want []string
	}{
		"an empty file":        {"", []string{"apiVersion: Unsupported value", "kind: Unsupported value"}},
		"another version":      {"apiVersion: plimsoll.dev/v1\nkind: AgentConfiguration\n", []string{"apiVersion", `"plimsoll.dev/v1"`, `"plimsoll.dev/v1alpha1"`}},
		"another kind":         {"apiVersion: plimsoll.dev/v1alpha1\nkind: LoadAwareArgs\n", []string{"kind", `"LoadAwareArgs"`, `"AgentConfiguration"`}},
		"an unknown field":     {agentFile + "tickMillis: 5\n", []string{`unknown field "tickMillis"`}},
		"a nested one":         {agentFile + "publish: {interval: 5}\n", []string{`unknown field "publish.interval"`}},
		"a field twice":        {agentFile + "tickMilliseconds: 500\ntickMilliseconds: 600\n", []string{"tickMilliseconds", "already"}},
		"a value of its type":  {agentFile + "tickMilliseconds: 1s\n", []string{"tickMilliseconds", "int64"}},
		"no YAML":              {agentFile + "\t- x", []string{"yaml"}},
		"an explicit zero":     {agentFile + "tickMilliseconds: 0\n", []string{"tickMilliseconds: Invalid value: 0: must be from 100 to 60000"}},
		"an unknown mode":      {agentFile + "strategies: [{name: batchidle, mode: Maybe}]\n", []string{"strategies[0].mode", `"Maybe"`, `"Enforce"`, `"Observe"`, `"Off"`}},
		"a strategy twice":     {agentFile + "strategies: [{name: batchidle}, {name: batchidle}]\n", []string{"strategies[1].name", "Duplicate", "batchidle"}},
		"a nameless strategy":  {agentFile + "strategies: [{mode: Off}]\n", []string{"strategies[0].name", "Required"}},
		"a window below tick":  {agentFile + "tickMilliseconds: 5000\nwindowMilliseconds: 1000\n", []string{"windowMilliseconds", "from 5000 to 3600000"}},
		"a heartbeat too fast": {agentFile + "publish: {minIntervalMilliseconds: 5000, heartbeatMilliseconds: 1000}\n", []string{"publish.heartbeatMilliseconds", "from 5000 to 3600000"}},
		"a jump below noise":   {agentFile + "publish: {changePermille: 50, jumpPermille: 20}\n", []string{"publish.jumpPermille", "from 50 to 1000"}},
		"a cold margin below":  {agentFile + "lending: {memory: {marginPermille: 300}}\n", []string{"lending.memory.coldMarginPermille", "from 300 to 1000"}},
		"an unknown lending":   {agentFile + "lending: {mode: Always}\n", []string{"lending.mode", `"Always"`, `"Enforce"`}},
		"a safe line of 0.8":   {agentFile + "lending: {cpu: {safeLinePermille: 0.8}}\n", []string{"lending.cpu.safeLinePermille", "int64"}},
		"several faults at once": {
			agentFile + "tickMilliseconds: 1\nblindAfterFailures: 0\npublish: {changePermille: 1001}\nstrategies: [{name: a, mode: x}, {name: a}]\n",
			[]string{"tickMilliseconds", "blindAfterFailures", "publish.changePermille", "strategies[0].mode", "strategies[1].name"},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := ParseAgentConfiguration([]byte(tt.file))
			if err == nil {
				t.Fatal("it is accepted")
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error = %v, want it to contain %q", err, want)
				}
			}
		})
	}
}

func TestFieldsThatAreNotWrittenKeepTheirDefaults(t *testing.T) {
	want := DefaultAgentConfiguration()
	got, err := ParseAgentConfiguration([]byte(agentFile))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("configuration of an empty file (-want +got):\n%s", d)
	}
	want.Publish.ChangePermille = 0 // explicit, so it stays
	if got, err = ParseAgentConfiguration([]byte(agentFile + "publish: {changePermille: 0}\n")); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("configuration of one nested field (-want +got):\n%s", d)
	}

	wantArgs := DefaultLoadAwareArgs()
	for name, data := range map[string]string{"none": "", "an empty object": "{}", "null": "null"} {
		gotArgs, err := ParseLoadAwareArgs([]byte(data), field.NewPath("args"))
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(wantArgs, gotArgs); d != "" {
			t.Errorf("arguments of %s (-want +got):\n%s", name, d)
		}
	}
}

func TestArgumentsThatCannotBeDecodedAreRefusedWithTheirPath(t *testing.T) {
	for name, data := range map[string]string{
		"an unknown field": `{"safePercent": 70}`,
		"a wrong type":     `{"safeCPUPercent": "70"}`,
		"a fraction":       `{"safeCPUPercent": 70.5}`,
		"a list":           `[]`,
		"no JSON":          `{`,
	} {
		_, err := ParseLoadAwareArgs([]byte(data), field.NewPath("profiles").Key("p").Child("args"))
		if err == nil || !strings.HasPrefix(err.Error(), "profiles[p].args: ") {
			t.Errorf("%s: error = %v, want one that begins with the path", name, err)
		}
	}
}

func TestClassOfAPod(t *testing.T) {
	batch := map[string]string{ClassLabel: BatchLabelValue}
	tests := map[string]struct {
		labels   map[string]string
		priority string
		want     Class
	}{
		"no label and no priority":               {nil, "", ClassLatencySensitive},
		"the batch label":                        {batch, "", ClassBatch},
		"the label with another value":           {map[string]string{ClassLabel: "Batch"}, "", ClassLatencySensitive},
		"node-critical priority":                 {nil, "system-node-critical", ClassSystem},
		"cluster-critical priority":              {nil, "system-cluster-critical", ClassLatencySensitive},
		"the batch label on a node-critical pod": {batch, "system-node-critical", ClassBatch},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := ClassOf(tt.labels, tt.priority); got != tt.want {
				t.Errorf("class = %s, want %s", got, tt.want)
			}
		})
	}
}
