package loadaware

import (
	"testing"

	"github.com/plimsoll/plimsoll/pkg/api/v1alpha1"
)

// n1 carries a pod that asks for 500 and is measured; another is to be placed that asks for 100. So by measurement the
// load is what is used and 100, and by requests 600.
func TestFaultsOfTheFeedLeaveANodeWithWhatIsKnownOfIt(t *testing.T) {
	const byRequests = 600
	using := func(seconds float64, milliCPU int64) *v1alpha1.NodeUtilization {
		return measured(owned(utilization("n1", at(seconds), milliCPU), "node n1"), 60_000, 400, "a")
	}
	list := func(items ...*v1alpha1.NodeUtilization) func(*testbed) {
		return func(b *testbed) {
			var objects []any
			for _, u := range items {
				objects = append(objects, u)
			}
			if err := b.store.Replace(objects, "1"); err != nil {
				b.t.Fatal(err)
			}
		}
	}
	add := func(u *v1alpha1.NodeUtilization) func(*testbed) { return func(b *testbed) { b.publish(u) } }
	remove := func(b *testbed) {
		if err := b.store.Delete(using(0, 0)); err != nil {
			b.t.Fatal(err)
		}
	}
	recreated := func(u *v1alpha1.NodeUtilization) *v1alpha1.NodeUtilization {
		u.UID = "another object"
		return u
	}
	tests := map[string]struct {
		events []func(*testbed) // one a second, after a first measurement of 1000
		want   int64
	}{
		"nothing": {nil, 1100},
		"a measurement of a node that is not there": {[]func(*testbed){add(utilization("n9", at(1), 9000))}, 1100},
		"a newer one":        {[]func(*testbed){add(using(1, 2000))}, 2100},
		"the same one again": {[]func(*testbed){add(using(0, 1000))}, 1100},
		// Older by its own time, and written later: the node's clock was set back.
		"one that says it is older":                  {[]func(*testbed){add(using(-5, 2000))}, 2100},
		"one from the future":                        {[]func(*testbed){add(using(3600, 2000))}, 2100},
		"one of the node that had the name before":   {[]func(*testbed){add(owned(utilization("n1", at(1), 2000), "the old node"))}, byRequests},
		"the node's own after that of the old one":   {[]func(*testbed){add(owned(utilization("n1", at(1), 2000), "the old node")), add(recreated(using(2, 3000)))}, 3100},
		"one without a status":                       {[]func(*testbed){add(&v1alpha1.NodeUtilization{ObjectMeta: using(0, 0).ObjectMeta})}, byRequests},
		"its deletion":                               {[]func(*testbed){remove}, byRequests},
		"its deletion, and a new one":                {[]func(*testbed){remove, add(recreated(using(2, 3000)))}, 3100},
		"a broken watch, and the same listed":        {[]func(*testbed){list(using(0, 1000))}, 1100},
		"a broken watch, and a newer one listed":     {[]func(*testbed){list(using(1, 2000), utilization("n9", at(1), 9000))}, 2100},
		"a broken watch, and it is not listed":       {[]func(*testbed){list(utilization("n9", at(1), 9000))}, byRequests},
		"a broken watch, and nothing listed":         {[]func(*testbed){list()}, byRequests},
		"a broken watch, and nonsense listed":        {[]func(*testbed){list(using(1, -1))}, byRequests},
		"a list without it, and then an event again": {[]func(*testbed){list(), add(using(2, 3000))}, 3100},
		"events after a list that are those before":  {[]func(*testbed){list(using(2, 3000)), add(using(2, 3000))}, 3100},
		"two relists, of which the second lost it":   {[]func(*testbed){list(using(1, 2000)), list()}, byRequests},
		"two relists, of which the first lost it":    {[]func(*testbed){list(), list(using(2, 3000))}, 3100},
		"an event of another kind is an error, and so": {[]func(*testbed){func(b *testbed) {
			if b.store.Add("x") == nil {
				b.t.Error("a string is taken in")
			}
		}}, 1100},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			b := newTestbed(t, func(a *v1alpha1.LoadAwareArgs) { a.HorizonSeconds = 3600 })
			node := fakeNode("n1", 16_000, placed(newPod("a", withCPU("500m"))))
			probe := newPod("probe", withCPU("100m"))
			b.publish(using(0, 1000))
			b.peak(probe, node) // so that what is remembered of it is there to be wrong
			for i, event := range tt.events {
				b.clock = at(float64(i + 1))
				event(b)
				b.peak(probe, node)
			}
			if got := b.peak(probe, node); got != tt.want {
				t.Errorf("load = %d, want %d", got, tt.want)
			}
		})
	}
}
