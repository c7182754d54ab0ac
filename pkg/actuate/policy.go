package actuate

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/plimsoll/plimsoll/pkg/cgroup"
)

// setPolicy gives every thread that the file lists a scheduling policy. Threads that end meanwhile are
// left out.
func setPolicy(dir string, w cgroup.FileText) error {
	policy, priority, err := cgroup.ParsePolicy(w.Text)
	if err != nil {
		return fmt.Errorf("scheduling policy %q: %w", w.Text, err)
	}
	list := func() ([]int, error) {
		ids, err := cgroup.Threads(dir, w.File)
		if err != nil {
			return nil, vanished(err, "listing the threads in %s/%s", dir, w.File)
		}
		return ids, nil
	}
	return eachThread(list, func(id int) error {
		attr := unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: policy, Priority: priority}
		if err := unix.SchedSetAttr(id, &attr, 0); err != nil {
			return fmt.Errorf("giving thread %d of %s the scheduling policy %q: %w%s", id, dir, w.Text, err, policyRemedy(err))
		}
		return nil
	})
}

// policyRemedy explains the errno that has two causes.
func policyRemedy(err error) string {
	if !errors.Is(err, unix.EPERM) {
		return ""
	}
	return " (the agent needs CAP_SYS_NICE, and on cgroup v1 with CONFIG_RT_GROUP_SCHED the group a budget: cpu.rt.runtime)"
}
