package actuate

import (
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/plimsoll/plimsoll/pkg/cgroup"
	"github.com/plimsoll/plimsoll/pkg/qos"
)

// threadList is the file of a group that lists its threads, and its directory.
type threadList struct{ dir, file string }

// CookiedGroups are the groups that have been given core cookies and had none before.
func (a *Actuator) CookiedGroups() map[string]bool {
	groups := map[string]bool{}
	for _, o := range a.journal.Originals() {
		if o.Knob == qos.CoreCookie && o.Raw[0] == qos.CookieNone && !a.gone(o) {
			groups[o.Group] = true
		}
	}
	return groups
}

// cookied is where the threads of those groups are listed: what they have is what all are to have. The journal
// knows them, so that this outlives the agent.
func (a *Actuator) cookied() []threadList {
	spec, err := cgroup.Knob(qos.CoreCookie)
	if err != nil {
		return nil
	}
	var lists []threadList
	for _, group := range slices.Sorted(maps.Keys(a.CookiedGroups())) {
		if dir, err := a.host.KnobDir(group, qos.CoreCookie); err == nil {
			lists = append(lists, threadList{dir, spec.In(a.host.Mode).Files[0]})
		}
	}
	return lists
}

// setCookies gives the threads of a group that have no cookie the one that the threads of the groups in alike have, or a
// new one where those have none; or takes all cookies of the group away. The kernel hands cookies on from the thread
// that asks, so a thread of ours has to carry it meanwhile. It has its own back at the end, or ends itself.
func setCookies(group threadList, value string, alike []threadList) error {
	done := make(chan error, 1)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	caller := unix.Gettid()
	go func() {
		runtime.LockOSThread()
		err := handOn(group, value, alike)
		if prctlCookie(unix.PR_SCHED_CORE_SHARE_FROM, caller) == nil {
			runtime.UnlockOSThread() // else the thread ends with this function
		}
		done <- err
	}()
	return <-done
}

// handOn makes the calling thread's cookie the one that is wanted, and shares it.
func handOn(group threadList, value string, alike []threadList) error {
	take, wanted := takeNone, func(cookie uint64) bool { return cookie != 0 }
	if value == qos.CookieOwn {
		take, wanted = func() error { return takeSame(alike) }, func(cookie uint64) bool { return cookie == 0 }
	}
	list := func() ([]int, error) {
		ids, err := cgroup.ThreadsBelow(group.dir, group.file)
		if err != nil {
			return nil, vanished(err, "listing the threads in %s/%s", group.dir, group.file)
		}
		return ids, nil
	}
	taken := false
	return eachThread(list, func(id int) error {
		cookie, err := cgroup.Cookie(id)
		if err == nil && !wanted(cookie) {
			return nil
		}
		if err == nil && !taken {
			err = take()
			taken = err == nil
		}
		if err == nil {
			err = prctlCookie(unix.PR_SCHED_CORE_SHARE_TO, id)
		}
		if err != nil {
			return fmt.Errorf("setting the core cookie of thread %d of %s to %q: %w%s", id, group.dir, value, err, cookieRemedy(err))
		}
		return nil
	})
}

// takeSame gives the calling thread the cookie of the first thread in the lists that has one, or a new one.
func takeSame(lists []threadList) error {
	for _, l := range lists {
		ids, err := cgroup.ThreadsBelow(l.dir, l.file)
		if err != nil {
			continue // the group is gone by now, or the caller finds out what is wrong
		}
		for _, id := range ids {
			if cookie, err := cgroup.Cookie(id); err != nil || cookie == 0 {
				continue
			}
			if prctlCookie(unix.PR_SCHED_CORE_SHARE_FROM, id) != nil {
				continue // it has ended
			}
			if cookie, err := cgroup.Cookie(0); err == nil && cookie != 0 {
				return nil
			}
		}
	}
	return prctlCookie(unix.PR_SCHED_CORE_CREATE, 0)
}

// takeNone rids the calling thread of the cookie that the container runtime may have given the agent.
func takeNone() error {
	cookie, err := cgroup.Cookie(0)
	if err != nil || cookie == 0 {
		return err
	}
	const first = 1 // the host's init, which nobody gives a cookie
	if err := prctlCookie(unix.PR_SCHED_CORE_SHARE_FROM, first); err != nil {
		return err
	}
	if cookie, err = cgroup.Cookie(0); err == nil && cookie != 0 {
		err = errors.New("process 1 has a cookie, so there is no telling who has none")
	}
	return err
}

// prctlCookie does something with the cookies of the calling thread and another one.
func prctlCookie(command uintptr, thread int) error {
	return unix.Prctl(unix.PR_SCHED_CORE, command, uintptr(thread), unix.PR_SCHED_CORE_SCOPE_THREAD, 0)
}

func cookieRemedy(err error) string {
	if !errors.Is(err, unix.EPERM) {
		return ""
	}
	return " (the agent needs CAP_SYS_PTRACE)"
}
