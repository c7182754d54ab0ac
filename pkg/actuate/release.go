package actuate

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/plimsoll/plimsoll/pkg/cgroup"
	"github.com/plimsoll/plimsoll/pkg/qos"
)

// mostPasses bounds how often Release goes over what is not restored yet. Restoring one knob may move
// another (cpu.idle the weight) or make room for it (a quota for its burst); a chain of those through all
// levels of a tree of pods is shorter.
const mostPasses = 8

// releaseReason explains the writes of a release.
const releaseReason = "release: the value before Plimsoll"

// Release puts every journaled knob back to exactly what it was, removes the batch branch where it is
// empty, and empties the journal. It is for uninstalling only: it lets batch compete with online work.
// Groups that have vanished, or are others of the same name, are left alone. It may be run again: what
// is restored is not written again.
func (a *Actuator) Release() ([]Result, error) {
	originals := slices.DeleteFunc(a.journal.Originals(), a.gone)
	var results []Result
	index := map[knobKey]int{}
	for pass, progress := 0, true; progress && pass < mostPasses; pass++ {
		progress = false
		for _, s := range a.unrestored(originals) {
			r := a.restore(s)
			progress = progress || r.Err == nil
			if i, known := index[s.key()]; known {
				r.Before = results[i].Before
				results[i] = r
				continue
			}
			index[s.key()] = len(results)
			results = append(results, r)
		}
	}
	errs := a.conclude(results, index, originals)
	if err := a.removeBatchBranch(); err != nil {
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return results, err // the journal stays: release can be run again
	}
	return results, a.journal.Clear()
}

// conclude gives the errors of what is not restored. What failed and is in place all the same, because
// restoring another knob moved it, has none.
func (a *Actuator) conclude(results []Result, index map[knobKey]int, originals []Original) []error {
	var errs []error
	left := map[int]bool{}
	for _, s := range a.unrestored(originals) {
		i, tried := index[s.key()]
		if tried && results[i].Err == nil || !tried {
			errs = append(errs, fmt.Errorf("restoring %s of %s to %q: %w: it reads %q", s.change.Knob, s.change.Group, s.original.Raw, ErrMoved, s.before))
		}
		left[i] = tried
	}
	for i := range results {
		switch {
		case !left[i]:
			results[i].Err = nil
		case results[i].Err != nil && !errors.Is(results[i].Err, ErrVanished):
			errs = append(errs, results[i].Err)
		}
	}
	return errs
}

// restoring is an original that is not in place.
type restoring struct {
	step
	original Original
}

// unrestored is the originals that are not in place, in the order in which they are written.
func (a *Actuator) unrestored(originals []Original) []restoring {
	idle := map[uint64]bool{}
	for _, o := range originals {
		idle[o.GroupID] = idle[o.GroupID] || o.Knob == qos.CPUIdle && o.Raw[0] == "1"
	}
	var todo []restoring
	for _, o := range originals {
		if o.Knob == qos.CPUWeight && idle[o.GroupID] {
			continue // the flag sets it, and the kernel refuses what is written
		}
		s := restoring{step: step{change: qos.Change{Group: o.Group, Knob: o.Knob, Reason: releaseReason}, id: o.GroupID}, original: o}
		if s.spec, s.err = cgroup.Knob(o.Knob); s.err != nil {
			todo = append(todo, s)
			continue
		}
		if s.dir, s.err = a.host.KnobDir(o.Group, o.Knob); s.err == nil {
			s.before, s.err = a.host.ReadRaw(o.Group, o.Knob)
		}
		if s.err == nil && slices.Equal(s.before, o.Raw) || errors.Is(s.err, fs.ErrNotExist) || a.filled(s) || s.err == nil && nothingLeft(s) {
			continue
		}
		// What the table cannot read is restored all the same, after everything else.
		s.value, _ = s.spec.Decode(a.host.Mode, s.before)
		if value, err := s.spec.Decode(a.host.Mode, o.Raw); err == nil {
			s.change.Value = value
		}
		s.shift = s.spec.Shift(s.value, s.change.Value)
		todo = append(todo, s)
	}
	slices.SortStableFunc(todo, func(x, y restoring) int { return compareMoves(x.move(), y.move()) })
	return todo
}

func (a *Actuator) restore(s restoring) Result {
	r := s.result(s.err)
	if r.Err == nil {
		var writes []cgroup.FileText
		if writes, r.Err = s.spec.Restore(a.host.Mode, s.original.Raw, s.before); r.Err == nil {
			r.Written = true
			r.Err = writeAll(s.step, writes)
		}
		if above, empty := a.emptySet(s); empty && (errors.Is(r.Err, unix.ENOSPC) || errors.Is(r.Err, unix.EBUSY)) {
			r.Err = writeAll(s.step, []cgroup.FileText{{File: writes[0].File, Text: above[0]}})
		}
	}
	if r.Err != nil {
		r.Err = fmt.Errorf("restoring %s of %s to %q: %w", s.change.Knob, s.change.Group, s.original.Raw, r.Err)
	}
	if after, err := a.host.ReadSetting(s.change.Group, s.change.Knob); err == nil {
		r.ReadBack = after.Value
	}
	return r
}

// emptySet says that an original is an empty cpuset, and what the group above it has. The kernel makes groups
// so, and takes it back (ENOSPC, EBUSY) only while nothing is in them. On v1 the runtime fills it with what
// the group above has, and on v2 that is what it means, so that is what an empty one is worth once there are tasks.
func (a *Actuator) emptySet(s restoring) (above cgroup.Raw, empty bool) {
	if s.original.Knob != qos.CPUSetCPUs && s.original.Knob != qos.CPUSetMems || len(s.original.Raw) != 1 || s.original.Raw[0] != "" {
		return nil, false
	}
	if a.host.Mode == cgroup.V2 {
		b, err := os.ReadFile(path.Join(a.host.Dir("", path.Dir(s.original.Group)), string(s.original.Knob)+".effective"))
		return cgroup.Raw{strings.TrimSpace(string(b))}, err == nil
	}
	above, err := a.host.ReadRaw(path.Dir(s.original.Group), s.original.Knob)
	return above, err == nil
}

// filled says that an empty cpuset that cannot be empty has what it is worth.
func (a *Actuator) filled(s restoring) bool {
	above, empty := a.emptySet(s)
	if !empty || !slices.Equal(s.before, above) {
		return false
	}
	if a.host.Mode == cgroup.V2 { // which takes an empty set back while there is no task in the group or below it
		b, err := os.ReadFile(path.Join(s.dir, "cgroup.events"))
		return err == nil && strings.Contains(string(b), "populated 1")
	}
	children, err := os.ReadDir(s.dir)
	return err == nil && slices.ContainsFunc(children, fs.DirEntry.IsDir)
}

// nothingLeft says that there are no threads any more to take anything from, or that some of a group's threads had core
// cookies before others were given one: they cannot be told apart, and a cookie that stays keeps its thread from
// sharing a core, which harms nobody.
func nothingLeft(s restoring) bool {
	switch s.original.Knob {
	case qos.CPUPolicy:
		return s.before[0] == qos.PolicyNoThreads
	case qos.CoreCookie:
		return s.before[0] == qos.CookieNoThreads || s.original.Raw[0] == qos.CookieSome
	}
	return false
}

// EnsureBatchBranch makes the batch branch where there is none: in every hierarchy that has the group
// above it, so that it can be read and set at once. The runtime makes what is missing with the first
// container, and gives the branch its cpuset where that is a hierarchy of its own.
func (a *Actuator) EnsureBatchBranch() error {
	hierarchies, err := a.host.Hierarchies()
	if err != nil {
		return fmt.Errorf("making the batch branch: %w", err)
	}
	branch := a.host.BatchBranch()
	for _, h := range hierarchies {
		err := os.Mkdir(filepath.Join(h, branch), 0o755)
		if err != nil && !errors.Is(err, fs.ErrExist) && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("making the batch branch: %w", err)
		}
	}
	if _, err := inode(a.host.Dir("cpu", branch)); err != nil {
		return fmt.Errorf("making the batch branch: %w", err)
	}
	return nil
}

// removeBatchBranch removes the branch from every hierarchy. A branch with containers in it stays.
func (a *Actuator) removeBatchBranch() error {
	hierarchies, err := a.host.Hierarchies()
	if err != nil {
		return err
	}
	for _, h := range hierarchies {
		err := unix.Rmdir(filepath.Join(h, a.host.BatchBranch()))
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.EBUSY) && !errors.Is(err, unix.ENOTEMPTY) {
			return fmt.Errorf("removing the batch branch from %s: %w", h, err)
		}
	}
	return nil
}
