package actuate

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/plimsoll/plimsoll/pkg/cgroup"
	"github.com/plimsoll/plimsoll/pkg/qos"
)

// Result is what became of one change.
type Result struct {
	Change qos.Change
	// ReadBack is the value that the kernel answered after the write.
	ReadBack string
	// Err is nil when the knob now has the wanted value. It carries the errno and the data otherwise.
	Err error
}

// Actuator writes changes to one host.
type Actuator struct {
	host    cgroup.Host
	journal *Journal
}

// New returns an Actuator that journals originals in journal.
func New(host cgroup.Host, journal *Journal) *Actuator {
	return &Actuator{host: host, journal: journal}
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
	if _, err := groupID(a.host, branch); err != nil {
		return fmt.Errorf("making the batch branch: %w", err)
	}
	return nil
}

// Apply writes changes in order and returns a Result for each. A change that fails does not keep the
// others from being written. Where the original cannot be journaled the change is not written.
func (a *Actuator) Apply(changes []qos.Change) []Result {
	qos.Order(changes)
	results := make([]Result, 0, len(changes))
	for _, c := range changes {
		readBack, err := a.apply(c)
		results = append(results, Result{Change: c, ReadBack: readBack, Err: err})
	}
	return results
}

func (a *Actuator) apply(c qos.Change) (readBack string, err error) {
	file, err := a.host.KnobFile(c.Group, c.Knob)
	if err != nil {
		return "", err
	}
	id, err := groupID(a.host, c.Group)
	if err != nil {
		return "", err
	}
	before, err := a.host.ReadSetting(c.Group, c.Knob)
	if err != nil {
		return "", err
	}
	if before.Unsupported {
		return "", fmt.Errorf("setting %s of %s: this kernel has no %s", c.Knob, c.Group, file)
	}
	if err := a.journal.Remember(Original{Group: c.Group, GroupID: id, Knob: c.Knob, Value: before.Value}); err != nil {
		return "", fmt.Errorf("setting %s of %s: journaling its original value: %w", c.Knob, c.Group, err)
	}
	if err := writeFile(file, c.Value); err != nil {
		return "", err
	}
	after, err := a.host.ReadSetting(c.Group, c.Knob)
	if err != nil {
		return "", err
	}
	if after.Value != c.Value {
		return after.Value, fmt.Errorf("setting %s of %s: wrote %q, the kernel says %q", c.Knob, c.Group, c.Value, after.Value)
	}
	return after.Value, nil
}

// Release puts every journaled knob back to its original value, removes the batch branch where it is
// empty, and empties the journal. It is for uninstalling only: it lets batch compete with online work.
// Groups that have vanished, or are others of the same name, are left alone.
func (a *Actuator) Release() ([]Result, error) {
	originals := a.journal.Originals()
	var results []Result
	var errs []error
	for i := len(originals) - 1; i >= 0; i-- { // children before their parents: the reverse of how they were written
		o := originals[i]
		id, err := groupID(a.host, o.Group)
		if errors.Is(err, fs.ErrNotExist) || err == nil && id != o.GroupID {
			continue
		}
		r := Result{Change: qos.Change{Group: o.Group, Knob: o.Knob, Value: o.Value, Reason: "release: the value before Plimsoll"}, Err: err}
		if err == nil {
			var file string
			if file, r.Err = a.host.KnobFile(o.Group, o.Knob); r.Err == nil {
				r.Err = writeFile(file, o.Value)
			}
		}
		if r.Err != nil {
			errs = append(errs, r.Err)
		}
		results = append(results, r)
	}
	if err := a.removeBatchBranch(); err != nil {
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return results, err // the journal stays: release can be run again
	}
	return results, a.journal.Clear()
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

// groupID is the identity of the group that is at a path now.
func groupID(h cgroup.Host, group string) (uint64, error) {
	var st unix.Stat_t
	if err := unix.Stat(h.Dir("cpu", group), &st); err != nil {
		return 0, fmt.Errorf("finding cgroup %s: %w", group, err)
	}
	return st.Ino, nil
}

// writeFile writes data to a kernel file with one write(2).
func writeFile(file, data string) error {
	fd, err := unix.Open(file, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("opening %s to write %q: %w", file, data, err)
	}
	n, err := unix.Write(fd, []byte(data))
	if closeErr := unix.Close(fd); err == nil && closeErr != nil {
		err = closeErr
	}
	if err == nil && n != len(data) {
		err = fmt.Errorf("short write of %d bytes", n)
	}
	if err != nil {
		return fmt.Errorf("writing %q to %s: %w", data, file, err)
	}
	return nil
}
