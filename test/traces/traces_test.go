package traces

import (
	"strings"
	"testing"

	"github.com/plimsoll/plimsoll/pkg/qos"
)

// echo wants the batch branch's quota to be what batch uses, and holds nothing else.
func echo() qos.Factory {
	return qos.NewFactory("echo", func() struct{} { return struct{}{} }, func(struct{}) error { return nil }, func(struct{}) qos.Strategy {
		return qos.Strategy{Name: "echo", Knobs: []qos.Knob{qos.CPUQuota}, Step: func(s qos.State) qos.Plan {
			if s.Blind || !s.CPU.BatchMilliCPU.OK {
				return qos.Plan{Notes: []string{"blind"}}
			}
			return qos.Plan{Changes: []qos.Change{{Group: Branch, Knob: qos.CPUQuota, Value: "7", Reason: "because"}}}
		}}
	})
}

const head = "# what it shows\nnode: 4000 mCPU\n\n"

func TestATraceShowsWhatIsWrittenAndThenInForce(t *testing.T) {
	in := head + `time s|tick|batch mCPU|others set|kernel|plan|because
0|full|100||refuses||
1||||takes||
2||||||
3|fast|||||
4|missed|||||
5|full||cpu.quota=max|||
6||?||||
7|blind|||||
`
	want := []string{
		"plimsoll-batch cpu.quota=7 | because", "plimsoll-batch cpu.quota=7 | because", "nothing                    |", "not asked                  |", "not asked                  |",
		"plimsoll-batch cpu.quota=7 | because", "nothing                    | blind", "nothing                    | blind",
	}
	got, err := Runner{Factory: echo()}.play(in)
	if err != nil {
		t.Fatal(err)
	}
	rows := strings.Split(strings.TrimSpace(got), "\n")[4:]
	for i, w := range want {
		if !strings.HasSuffix(rows[i], "| "+w) {
			t.Errorf("row %d is %q, want it to end with %q", i, rows[i], w)
		}
	}
	if again, err := (Runner{Factory: echo()}).play(got); err != nil || again != got {
		t.Errorf("played again it differs (%v):\n%s", err, again)
	}
}

func TestAWrongTraceIsRefusedWithItsLine(t *testing.T) {
	for name, tc := range map[string]struct{ text, want string }{
		"an unknown column":   {head + "time s|moon|plan|because\n0|full||\n", `line 5: unknown column "moon"`},
		"a missing cell":      {head + "time s|plan|because\n0|\n", "line 5 has 2 cells, want 3"},
		"no plan":             {head + "time s|tick|because\n0|full|\n", `"plan" and "because"`},
		"a word for a number": {head + "batch mCPU|plan|because\nmany||\n", `line 5: "many": want a whole number or ?`},
		"no node":             {"# x\n\ntime s|plan|because\n0||\n", `"node: N mCPU"`},
		"prose without #":     {"what it shows\n", `line 1: "what it shows"`},
		"a bad tick":          {head + "tick|plan|because\nslow||\n", `tick "slow"`},
		"a bad argument":      {"# x\nargs: {\"y\":1}\n" + head + "time s|plan|because\n0||\n", "y"},
	} {
		if _, err := (Runner{Factory: echo()}).play(tc.text); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: error %v, want one with %q", name, err, tc.want)
		}
	}
}

func TestWhatFollowsItselfIsSaidOnce(t *testing.T) {
	got := strings.Join(counted([]string{"a", "a", "b", "a", "c", "c", "c"}), ", ")
	if want := "a (2 times), b, a, c (3 times)"; got != want {
		t.Errorf("counted %q, want %q", got, want)
	}
}
