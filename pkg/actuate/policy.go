package actuate

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/plimsoll/plimsoll/pkg/cgroup"
)

// mostThreadPasses bounds how often a group's threads are gone over: those that a thread starts before it has what
// it is given start without it. What is left after that is set at the next tick.
const mostThreadPasses = 3

// setPolicy gives every thread that the file lists a scheduling policy. Threads that end meanwhile are
// left out.
func setPolicy(dir string, w cgroup.FileText) error {
	policy, priority, err := cgroup.ParsePolicy(w.Text)
	if err != nil {
		return fmt.Errorf("scheduling policy %q: %w", w.Text, err)
	}
	done := map[int]bool{}
	for range mostThreadPasses {
		ids, err := cgroup.Threads(dir, w.File)
		if err != nil {
			return vanished(err, "listing the threads in %s/%s", dir, w.File)
		}
		before := len(done)
		for _, id := range ids {
			if done[id] {
				continue
			}
			done[id] = true
			attr := unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: policy, Priority: priority}
			if err := unix.SchedSetAttr(id, &attr, 0); err != nil && !errors.Is(err, unix.ESRCH) {
				return fmt.Errorf("giving thread %d of %s the scheduling policy %q: %w%s", id, dir, w.Text, err, policyRemedy(err))
			}
		}
		if len(done) == before {
			return nil
		}
	}
	return nil
}

// policyRemedy explains the errno that has two causes.
func policyRemedy(err error) string {
	if !errors.Is(err, unix.EPERM) {
		return ""
	}
	return " (the agent needs CAP_SYS_NICE, and on cgroup v1 with CONFIG_RT_GROUP_SCHED the group a budget: cpu.rt.runtime)"
}
