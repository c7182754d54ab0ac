package agent

import (
	"context"
	"testing"
	"time"

	"github.com/plimsoll/plimsoll/pkg/api/v1alpha1"
)

const branchIdle = "kubepods/plimsoll-batch/cpu.idle"

// systemd writes cpu.idle=0 when the first container starts in the slice.
func TestTheNextTickComesAtOnceWhenSomebodyElseSetsTheBranch(t *testing.T) {
	tree := newTree(t)
	l := newTestLoop(t, tree, v1alpha1.ModeEnforce)
	l.tick(at)
	l.branch.settle(&l.last)
	if l.fast(at.Add(fastTick)) {
		t.Error("the next tick comes at once although nothing happened")
	}
	tree.write(tree.host.FSRoot, branchIdle, "0\n")
	if !l.fast(at.Add(2 * fastTick)) {
		t.Error("somebody set cpu.idle, and the next tick does not come at once")
	}
	tree.write(tree.host.FSRoot, branchIdle, "0\n")
	if l.fast(at.Add(3 * fastTick)) {
		t.Error("somebody else who sets it for ever makes every fast tick a full one")
	}
}

func TestAContainerStartsOnceTheBranchIsAsItWas(t *testing.T) {
	tree := newTree(t)
	l := newTestLoop(t, tree, v1alpha1.ModeEnforce)
	l.branch.restore(t.Context()) // before the first tick there is nothing to keep
	l.tick(at)
	l.branch.settle(&l.last)
	l.branch.restore(t.Context()) // nobody answers, and nobody has to: nothing has moved
	tree.write(tree.host.FSRoot, branchIdle, "0\n")

	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	l.branch.restore(ctx) // a loop that is stuck holds nobody up for ever

	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { l.run(ctx, time.Hour); close(done) }()
	l.branch.restore(t.Context())
	if got := tree.idle(); got != "1" {
		t.Errorf("cpu.idle is %s when the container starts, want 1", got)
	}
	stop()
	<-done
}
