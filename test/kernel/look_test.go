package kernel

import (
	"os"
	"testing"
	"time"

	"github.com/plimsoll/plimsoll/pkg/cgroup"
	"github.com/plimsoll/plimsoll/pkg/qos"
)

// What a look of the agent's is like here: each lookEvery, lookMicros of CPU time.
const (
	lookEvery  = 103 * time.Millisecond // in no step with the kernel's own ticks
	lookMicros = 3000
	lateAfter  = 64 * time.Millisecond
)

// lateLooks is how many of a thousand looks come late. Those that are left out are late too.
func lateLooks(looks int) int64 {
	due := time.Now().Add(lookEvery)
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	late := 0
	for done := 0; done < looks; burn(lookMicros) {
		<-ticker.C
		for now := time.Now(); done < looks && !due.After(now); due = due.Add(lookEvery) {
			done++
			if now.Sub(due) > lateAfter {
				late++
			}
		}
	}
	return int64(late * 1000 / looks)
}

// TestAGroupLooksInTimeBesideABusyOne has six busy threads in a pod that requests a CPU, and beside it one that looks,
// with the weight of a request of 30m, which is what it uses, and of 100m, which the agent asks for.
func TestAGroupLooksInTimeBesideABusyOne(t *testing.T) {
	tr := newTree(t)
	ofACPU, of100m, of30m := "39", "4", "2" // as the kubelet has it
	if tr.Mode != cgroup.V2 {
		if os.Getenv("PLIMSOLL_MEASURE") == "" {
			t.Skip("needs a machine whose time is its own, the guest, for some kernels starve small groups: set PLIMSOLL_MEASURE=1 to see whether this one does")
		}
		ofACPU, of100m, of30m = "1024", "102", "30"
	}
	tr.knob(tr.burstablePod(), qos.CPUWeight).set(ofACPU)
	tr.start(tr.burstablePod()).tell("spin", 6)
	agent := tr.Kubepods + "/burstable/agent"
	tr.make(agent)
	late := map[string]int64{}
	for _, weight := range []string{of30m, of100m} {
		tr.knob(agent, qos.CPUWeight).set(weight)
		late[weight] = tr.start(agent).tell("look", 300)
		t.Logf("with a weight of %s %d of a thousand looks are more than %v late", weight, late[weight], lateAfter)
	}
	if got := late[of100m]; got > 100 {
		t.Errorf("with the agent's request %d of a thousand looks are late, want 100 at most", got)
	}
}
