package agent

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/plimsoll/plimsoll/pkg/api/v1alpha1"
	"github.com/plimsoll/plimsoll/pkg/freeze"
	"github.com/plimsoll/plimsoll/pkg/qos"
)

func TestWhatIsHeldBackIsNotLentAtOnceAndIsLentAgainLater(t *testing.T) {
	l := enforcing(nil)
	before := settle(t, l)
	step := func(second int, permille int64) *v1alpha1.Lendable {
		in := aQuietNode(time.Duration(second) * time.Second)
		in.held = freeze.Hold{Permille: permille, Why: `freeze window "market open" begins soon`}
		if permille == 0 {
			in.held.Why = ""
		}
		return l.step(in)
	}
	half := step(20, 500)
	if most := before.MilliCPU.Computed / 2; half.MilliCPU.Published > most || half.MilliCPU.Published < most*9/10 {
		t.Errorf("half held back: %d of %d lent", half.MilliCPU.Published, before.MilliCPU.Computed)
	}
	frozen := step(21, 1000)
	if frozen.MilliCPU.Published != 0 || frozen.MemoryBytes.Published != 0 || frozen.MilliCPU.Computed != before.MilliCPU.Computed {
		t.Errorf("all held back: %+v, want nothing lent of the same sum", frozen)
	}
	if want := `1000 thousandths held back: freeze window "market open" begins soon`; frozen.Reason != want {
		t.Errorf("reason %q, want %q", frozen.Reason, want)
	}
	if got := step(22, 0); got.MilliCPU.Published != 0 {
		t.Errorf("the second after it %d is lent, want nothing for raiseAfterSeconds", got.MilliCPU.Published)
	}
	var after *v1alpha1.Lendable
	for s := 23; s < 45; s++ {
		after = step(s, 0)
	}
	if after.MilliCPU.Published < before.MilliCPU.Published*9/10 {
		t.Errorf("later %d is lent, want about %d", after.MilliCPU.Published, before.MilliCPU.Published)
	}
}

func TestTheNodesAnnotationReachesTheStrategies(t *testing.T) {
	n, err := newNodeStatus(&rest.Config{Host: "http://127.0.0.1:1"}, "n1", newMetrics(), nil)
	if err != nil {
		t.Fatal(err)
	}
	f := freezes{byHand: n.freezeUntil}
	if s := f.into(at, qos.State{}); s.HeldBackPermille != 0 {
		t.Errorf("before the Node was seen %d is held back", s.HeldBackPermille)
	}
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1", Annotations: map[string]string{
		v1alpha1.FreezeUntilAnnotation: at.Add(time.Hour).Format(time.RFC3339), "other": "x",
	}}}
	trimmed, err := trimNode(node)
	if err != nil {
		t.Fatal(err)
	}
	if err := n.informer.GetStore().Add(trimmed); err != nil {
		t.Fatal(err)
	}
	if s := f.into(at, qos.State{}); s.HeldBackPermille != 1000 || !strings.Contains(s.HeldBackWhy, "frozen by hand") {
		t.Errorf("frozen by hand: %d is held back, %s", s.HeldBackPermille, s.HeldBackWhy)
	}
	if s := f.into(at.Add(time.Hour), qos.State{}); s.HeldBackPermille != 0 || s.HeldBackWhy != "" {
		t.Errorf("when it is over %d is held back, %s", s.HeldBackPermille, s.HeldBackWhy)
	}
}

func TestABadFreezeWindowIsFoundBeforeTheAgentStarts(t *testing.T) {
	c := v1alpha1.DefaultAgentConfiguration()
	c.Lending.FreezeWindows = []v1alpha1.FreezeWindow{{Name: "w", Schedule: "61 9 * * *", TimeZone: "Mars/Base", DurationSeconds: 60}}
	err := CheckConfiguration(c)
	for _, want := range []string{"lending.freezeWindows[0].schedule", "lending.freezeWindows[0].timeZone"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want it to name %s", err, want)
		}
	}
}
