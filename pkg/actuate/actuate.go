package actuate

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/plimsoll/plimsoll/pkg/cgroup"
	"github.com/plimsoll/plimsoll/pkg/qos"
)

// Result is what became of one change.
type Result struct {
	Change qos.Change
	// Before is what the knob was before the write, in its neutral unit, and ReadBack what the kernel made
	// of it. Empty means not read; an action (memory.reclaim) has neither.
	Before, ReadBack string
	// Written is true where the kernel was asked, whatever it answered.
	Written bool
	// Pending is true where the write may block and goes on: Finished tells of its end.
	Pending bool
	// Undone is true where the knob was not any more what it was after our last write: somebody else
	// writes it too.
	Undone bool
	// Err is nil when the knob now has the wanted value. It carries the errno and the data otherwise.
	Err error
}

// ErrHeld means that a change would have widened a group whose tightening has not worked: so much was
// never meant to be had at once.
var ErrHeld = errors.New("held back: something that tightens the group was not written")

// ErrBusy means that an earlier write that blocks has not ended.
var ErrBusy = errors.New("an earlier write that blocks has not ended")

// ErrMoved means that the kernel read back another value than was written.
var ErrMoved = errors.New("the kernel says otherwise")

// ErrVanished means that the group is gone, or another one has its name.
var ErrVanished = errors.New("the group has vanished")

// left is what a knob of a group was after our last write.
type left struct {
	group, value string
}

// knobKey is one knob of one group, not of its name.
type knobKey struct {
	groupID uint64
	knob    qos.Knob
}

// Actuator writes changes to one host. It is not safe for concurrent use.
type Actuator struct {
	host    cgroup.Host
	journal *Journal
	// left is what each knob was after our last write.
	left   map[knobKey]left
	blocks blocking
}

// New returns an Actuator that journals originals in journal.
func New(host cgroup.Host, journal *Journal) *Actuator {
	return &Actuator{host: host, journal: journal, left: map[knobKey]left{}, blocks: newBlocking()}
}

// Forget drops what is remembered of the writes to groups that are gone. The journal looks after itself.
func (a *Actuator) Forget(gone func(group string) bool) {
	maps.DeleteFunc(a.left, func(_ knobKey, l left) bool { return gone(l.group) })
}

// step is one change that is being carried out.
type step struct {
	change qos.Change
	spec   cgroup.KnobSpec
	// id is the group's, in the hierarchy of the knob; dir is where the knob's files are.
	id     uint64
	dir    string
	before cgroup.Raw
	value  string // what before means, empty where it means nothing
	shift  cgroup.Shift
	undone bool
	err    error
	// alike are the groups whose threads' cookie this one's are to have; of no meaning to other knobs.
	alike []threadList
}

func (s step) move() move {
	return move{group: s.change.Group, knob: s.change.Knob, widens: s.shift == cgroup.Wider || s.shift == cgroup.Mixed}
}

func (s step) key() knobKey { return knobKey{s.id, s.change.Knob} }

// result is what s became of before its write was tried.
func (s step) result(err error) Result {
	return Result{Change: s.change, Before: s.value, Undone: s.undone, Err: err}
}

// Apply writes changes in order and returns a Result for each. A change that fails does not keep the
// others from being written, but for those that widen a group whose tightening failed. Where the
// originals cannot be journaled nothing is written. Changes that are so already are not written.
func (a *Actuator) Apply(changes []qos.Change) []Result {
	steps := make([]step, len(changes))
	for i, c := range changes {
		steps[i] = a.prepare(c)
	}
	slices.SortStableFunc(steps, func(x, y step) int { return compareMoves(x.move(), y.move()) })
	journalErr := a.remember(steps)

	results := make([]Result, 0, len(steps))
	var notTightened []string
	for _, s := range steps {
		r := a.carryOut(s, journalErr, notTightened)
		if (r.Err != nil || r.Pending) && !s.move().widens && !errors.Is(r.Err, cgroup.ErrUnsupported) && !errors.Is(r.Err, ErrVanished) {
			notTightened = append(notTightened, s.change.Group)
		}
		results = append(results, r)
	}
	return results
}

// prepare finds out what a change changes.
func (a *Actuator) prepare(c qos.Change) step {
	s := step{change: c, shift: cgroup.Wider}
	if s.spec, s.err = cgroup.Knob(c.Knob); s.err != nil {
		return s
	}
	if s.dir, s.err = a.host.KnobDir(c.Group, c.Knob); s.err != nil {
		return s
	}
	if s.id, s.err = inode(s.dir); s.err != nil {
		return s
	}
	if s.change.Value, s.err = s.spec.Canonical(a.host.Mode, c.Value); s.err != nil {
		s.change.Value = c.Value
		return s
	}
	if s.before, s.err = a.host.ReadRaw(c.Group, c.Knob); s.err != nil {
		if errors.Is(s.err, fs.ErrNotExist) {
			s.err = fmt.Errorf("%w: %w", ErrVanished, s.err)
		}
		return s
	}
	if s.spec.Action {
		s.shift = cgroup.Tighter
		return s
	}
	// A text that the table does not know can be written over, and is journaled as it is.
	if s.value, _ = s.spec.Decode(a.host.Mode, s.before); s.value == s.change.Value {
		s.shift = cgroup.Unchanged
	} else {
		s.shift = s.spec.Shift(s.value, s.change.Value)
	}
	was, known := a.left[s.key()]
	// Threads that were started since have what they were started with: nobody undid anything.
	s.undone = known && was.value != s.value && c.Knob != qos.CPUPolicy && c.Knob != qos.CoreCookie
	return s
}

// remember journals what all steps will write over, and what changes with it.
func (a *Actuator) remember(steps []step) error {
	var originals []Original
	for _, s := range steps {
		if s.err != nil || s.spec.Action || s.shift == cgroup.Unchanged {
			continue
		}
		if s.change.Knob == qos.CPUIdle { // the kernel sets the weight to its default when the flag goes
			if raw, err := a.host.ReadRaw(s.change.Group, qos.CPUWeight); err == nil {
				originals = append(originals, Original{s.change.Group, s.id, qos.CPUWeight, raw})
			}
		}
		originals = append(originals, Original{s.change.Group, s.id, s.change.Knob, s.before})
	}
	if err := a.journal.Remember(originals, a.gone); err != nil {
		return fmt.Errorf("journaling what was there: %w", err)
	}
	return nil
}

// Originals are what the journal remembers.
func (a *Actuator) Originals() []Original { return a.journal.Originals() }

// Journaled says whether the original of the knob that c changes is remembered, of that very group.
func (a *Actuator) Journaled(c qos.Change) bool {
	dir, err := a.host.KnobDir(c.Group, c.Knob)
	if err != nil {
		return false
	}
	id, err := inode(dir)
	return err == nil && a.journal.Has(c.Group, id, c.Knob)
}

// gone says that the group of an original is not there any more, or is another one.
func (a *Actuator) gone(o Original) bool {
	dir, err := a.host.KnobDir(o.Group, o.Knob)
	if err != nil {
		return false
	}
	id, err := inode(dir)
	return errors.Is(err, ErrVanished) || err == nil && id != o.GroupID
}

// carryOut writes one step, or says why it is not written.
func (a *Actuator) carryOut(s step, journalErr error, notTightened []string) Result {
	if s.err != nil {
		return s.result(fmt.Errorf("setting %s of %s to %q: %w", s.change.Knob, s.change.Group, s.change.Value, s.err))
	}
	if s.shift == cgroup.Unchanged {
		r := s.result(nil)
		r.ReadBack = s.value
		return r
	}
	err := journalErr
	if s.move().widens && slices.ContainsFunc(notTightened, func(g string) bool { return related(g, s.change.Group) }) {
		err = ErrHeld
	}
	var writes []cgroup.FileText
	if err == nil {
		writes, err = s.spec.Encode(a.host.Mode, s.change.Value, s.before)
	}
	if err != nil {
		return s.result(fmt.Errorf("setting %s of %s to %q: %w", s.change.Knob, s.change.Group, s.change.Value, err))
	}
	if s.change.Knob == qos.CoreCookie {
		s.alike = a.cookied()
	}
	if mayBlock(s.change.Knob) {
		return a.blocks.start(s, func() Result { return write(a.host, s, writes) })
	}
	return a.keep(s.key(), write(a.host, s, writes))
}

// keep remembers what a knob is after a write.
func (a *Actuator) keep(key knobKey, r Result) Result {
	if r.ReadBack != "" {
		a.left[key] = left{r.Change.Group, r.ReadBack}
	}
	if r.Change.Knob == qos.CPUIdle { // it moved the weight too
		delete(a.left, knobKey{key.groupID, qos.CPUWeight})
	}
	if errors.Is(r.Err, ErrVanished) {
		delete(a.left, key)
	}
	return r
}

// write does the writes of a step and reads back. It touches nothing of the Actuator.
func write(host cgroup.Host, s step, writes []cgroup.FileText) Result {
	r := s.result(nil)
	r.Written = true
	if err := writeAll(s, writes); err != nil {
		r.Err = fmt.Errorf("setting %s of %s: %w", s.change.Knob, s.change.Group, err)
	}
	if s.spec.Action {
		return r
	}
	after, err := host.ReadSetting(s.change.Group, s.change.Knob)
	switch {
	case err != nil && r.Err == nil:
		r.Err = fmt.Errorf("setting %s of %s: reading it back: %w", s.change.Knob, s.change.Group, err)
	case err == nil:
		r.ReadBack = after.Value
	}
	if r.Err == nil && r.ReadBack != s.change.Value {
		r.Err = fmt.Errorf("setting %s of %s: %w: wrote %q, it reads %q", s.change.Knob, s.change.Group, ErrMoved, s.change.Value, r.ReadBack)
	}
	return r
}

// writeAll does the writes of one knob, each with one write(2), in the group that the step is about: a group of
// the same name that was made meanwhile is not written to.
func writeAll(s step, writes []cgroup.FileText) error {
	dir := s.dir
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return vanished(err, "opening %s", dir)
	}
	defer func() { _ = unix.Close(fd) }() // read-only
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return fmt.Errorf("finding out which group %s is: %w", dir, err)
	}
	if st.Ino != s.id {
		return fmt.Errorf("%w: %s is another one by now", ErrVanished, dir)
	}
	for _, w := range writes {
		put := func() error { return writeFile(fd, dir, w) }
		switch s.change.Knob { // no file to write to: what is set is a property of each thread
		case qos.CPUPolicy:
			put = func() error { return setPolicy(dir, w) }
		case qos.CoreCookie:
			put = func() error { return setCookies(threadList{dir, w.File}, w.Text, s.alike) }
		}
		if err := put(); err != nil {
			return err
		}
	}
	return nil
}

// writeFile writes one text to a file of an open directory. A write that a signal interrupted before it
// did anything is done again.
func writeFile(dir int, name string, w cgroup.FileText) error {
	fd, err := openRetrying(dir, w.File)
	if err != nil {
		return vanished(err, "opening %s/%s to write %q", name, w.File, w.Text)
	}
	n, err := unix.Write(fd, []byte(w.Text))
	for tries := 0; errors.Is(err, unix.EINTR) && tries < mostTries && w.File != "memory.reclaim"; tries++ {
		n, err = unix.Write(fd, []byte(w.Text)) // reclaim may have done half of it: again would be too much
	}
	if closeErr := unix.Close(fd); err == nil && closeErr != nil {
		err = closeErr
	}
	if err == nil && n != len(w.Text) {
		err = fmt.Errorf("short write of %d bytes", n)
	}
	if err != nil {
		return vanished(err, "writing %q to %s/%s", w.Text, name, w.File)
	}
	return nil
}

// mostTries bounds how often a system call that a signal interrupts is tried again.
const mostTries = 10

func openRetrying(dir int, file string) (fd int, err error) {
	for range mostTries {
		if fd, err = unix.Openat(dir, file, unix.O_WRONLY|unix.O_CLOEXEC, 0); !errors.Is(err, unix.EINTR) {
			return fd, err
		}
	}
	return fd, err
}

// inode is the identity of the group that is at a path now.
func inode(dir string) (uint64, error) {
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		return 0, vanished(err, "finding %s", dir)
	}
	return st.Ino, nil
}

// vanished wraps err, and says ErrVanished too where it means that the group is gone.
func vanished(err error, format string, args ...any) error {
	what := fmt.Sprintf(format, args...)
	if errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("%s: %w: %w", what, ErrVanished, err)
	}
	return fmt.Errorf("%s: %w", what, err)
}
