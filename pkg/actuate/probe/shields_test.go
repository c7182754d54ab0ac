package probe

import (
	"bytes"
	"os"
	"strings"
	"testing"
)

func TestTheVerdictOnCPUIdle(t *testing.T) {
	f := func(a arms, want State) {
		t.Helper()
		if got, detail := a.verdict(); got != want {
			t.Errorf("%+v: %s (%s), want %s", a, got, detail, want)
		}
	}
	f(arms{alone: 60, equal: 2300, idle: 80, gotPermille: 1000}, Works)
	f(arms{alone: 60, equal: 60, idle: 60, gotPermille: 1000}, Works)         // a waking task that is short of its share runs at once anyway
	f(arms{alone: 600, equal: 4000, idle: 900, gotPermille: 1000}, Works)     // a slow machine
	f(arms{alone: 60, equal: 2300, idle: 80, gotPermille: 100}, Works)        // even on a busy node
	f(arms{alone: 60, equal: 2300, idle: 2100, gotPermille: 1000}, Fails)     // what kernels do that protect the slice of an idle task
	f(arms{alone: 60, equal: 2300, idle: 2100, gotPermille: 700}, Unknown)    // others had the CPU, perhaps
	f(arms{alone: 4000, equal: 4000, idle: 2000, gotPermille: 1000}, Unknown) // the waking task waits for others
}

func TestATaskThatIsToldNonsenseSaysSo(t *testing.T) {
	for _, args := range [][]string{{}, {"spin"}, {"spin", "x", "1"}, {"spin", "0", "x"}, {"jump", "0", "1"}, {"wake", "99999", "1"}} {
		if err := Task(args, strings.NewReader("go\n"), &bytes.Buffer{}); err == nil {
			t.Errorf("Task(%q): no error", args)
		}
	}
	if err := Task([]string{"wake", "0", "1"}, strings.NewReader(""), os.Stdout); err == nil {
		t.Error("a task whose starter has gone runs all the same")
	}
}
