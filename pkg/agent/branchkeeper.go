package agent

import (
	"context"
	"maps"
	"sync/atomic"

	"github.com/plimsoll/plimsoll/pkg/cgroup"
	"github.com/plimsoll/plimsoll/pkg/qos"
)

// branchKeeper notices that somebody else has set the batch branch's knobs. systemd does: with its cgroup driver the
// branch is a slice of systemd's, which it first hears of when the first container starts in it, and it then writes
// its own defaults, cpu.idle=0 among them, over what is there; as it does again at each daemon-reload.
type branchKeeper struct {
	host cgroup.Host
	// settled is what the loop left.
	settled atomic.Pointer[settledBranch]
	// asked has the loop go round at once; it closes what it is given when it has.
	asked chan chan struct{}
}

type settledBranch struct {
	path     string
	settings map[qos.Knob]qos.Setting
}

func newBranchKeeper(host cgroup.Host) *branchKeeper {
	return &branchKeeper{host: host, asked: make(chan chan struct{})}
}

// settle remembers how the loop left the branch.
func (k *branchKeeper) settle(r *reading) {
	if r.Branch.Path == "" {
		k.settled.Store(nil)
		return
	}
	k.settled.Store(&settledBranch{r.Branch.Path, maps.Clone(r.Settings[r.Branch.Path])})
}

// moved says that a knob of the branch is not as the loop left it. What cannot be read is for the loop to tell of.
func (k *branchKeeper) moved() bool {
	was := k.settled.Load()
	if was == nil {
		return false
	}
	for knob, setting := range was.settings {
		now, err := k.host.ReadSetting(was.path, knob)
		if err == nil && setting.OK && now.Value != setting.Value {
			return true
		}
	}
	return false
}

// restore has the loop set what has moved, and waits for it until ctx ends. Where nothing has moved it costs some
// reads: containers wait for it before they start.
func (k *branchKeeper) restore(ctx context.Context) {
	if !k.moved() {
		return
	}
	done := make(chan struct{})
	select {
	case k.asked <- done:
	case <-ctx.Done():
		return
	}
	select {
	case <-done:
	case <-ctx.Done():
	}
}
