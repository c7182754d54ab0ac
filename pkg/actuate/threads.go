package actuate

import (
	"errors"

	"golang.org/x/sys/unix"
)

// mostThreadPasses bounds how often threads are gone over: those that a thread starts before it has what it is given
// start without it. Of a group, what is left after that is set at the next tick.
const mostThreadPasses = 3

// eachThread does something once with each thread that list gives, and goes over the list again for those that were
// started meanwhile. Threads that have ended meanwhile are left out.
func eachThread(list func() ([]int, error), do func(id int) error) error {
	done := map[int]bool{}
	for range mostThreadPasses {
		ids, err := list()
		if err != nil {
			return err
		}
		before := len(done)
		for _, id := range ids {
			if done[id] {
				continue
			}
			done[id] = true
			if err := do(id); err != nil && !errors.Is(err, unix.ESRCH) {
				return err
			}
		}
		if len(done) == before {
			return nil
		}
	}
	return nil
}
