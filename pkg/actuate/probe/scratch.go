package probe

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/plimsoll/plimsoll/pkg/cgroup"
)

// scratch is the group that everything is tried in.
type scratch struct {
	host        cgroup.Host
	hierarchies []string
	// group is the scratch group, online and batch the two below it that the test of cpu.idle compares.
	group, online, batch string
}

// scratchName is the last part of the scratch group's path. There is one of a kind, so that what a killed
// probe left behind is found by the next.
const scratchName = "plimsoll-probe"

// makeScratch makes the scratch group beside kubepods, where the controllers that pods have are at hand.
func makeScratch(h cgroup.Host) (*scratch, error) {
	hierarchies, err := h.Hierarchies()
	if err != nil {
		return nil, fmt.Errorf("making a scratch group: %w", err)
	}
	parent := path.Dir(h.Kubepods)
	s := &scratch{host: h, group: path.Join(parent, scratchName)}
	s.online, s.batch = s.group+"/online", s.group+"/batch"
	// Only hierarchies that pods have groups in: the others' files are nobody's business here.
	for _, dir := range hierarchies {
		if _, err := os.Stat(filepath.Join(dir, parent)); err == nil {
			s.hierarchies = append(s.hierarchies, dir)
		}
	}
	if err := s.remove(); err != nil {
		return nil, fmt.Errorf("removing what an earlier probe left: %w", err)
	}
	if err := s.make(s.group); err != nil {
		return nil, errors.Join(err, s.remove())
	}
	return s, nil
}

// make makes a group in every hierarchy. A cpuset of v1 is born empty; it gets what its parent has.
func (s *scratch) make(group string) error {
	for _, h := range s.hierarchies {
		if err := os.Mkdir(filepath.Join(h, group), 0o755); err != nil {
			return fmt.Errorf("making the scratch group: %w", err)
		}
	}
	if s.host.Mode == cgroup.V2 {
		return nil
	}
	for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
		text, err := os.ReadFile(filepath.Join(s.host.Dir("cpuset", path.Dir(group)), file))
		if errors.Is(err, fs.ErrNotExist) {
			return nil // no cpuset hierarchy
		}
		if err == nil {
			err = writeFile(filepath.Join(s.host.Dir("cpuset", group), file), strings.TrimSpace(string(text)))
		}
		if err != nil {
			return fmt.Errorf("making the scratch group: %w", err)
		}
	}
	return nil
}

// removePatience is how long tasks that were killed may take to leave their groups.
const removePatience = 5 * time.Second

// remove removes the scratch group and those below it from every hierarchy. Tasks that are still there,
// from a probe that was killed, end on their own within seconds.
func (s *scratch) remove() error {
	var errs []error
	for _, group := range []string{s.online, s.batch, s.group} {
		for _, h := range s.hierarchies {
			dir := filepath.Join(h, group)
			if err := removeGroup(dir); err != nil {
				errs = append(errs, fmt.Errorf("removing %s: %w", dir, err))
			}
		}
	}
	return errors.Join(errs...)
}

func removeGroup(dir string) error {
	for end := time.Now().Add(removePatience); ; time.Sleep(5 * time.Millisecond) {
		err := unix.Rmdir(dir)
		if err == nil || errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if !errors.Is(err, unix.EBUSY) || time.Now().After(end) {
			return err
		}
	}
}

// enable lets the groups below the scratch group have the controller cpu.
func (s *scratch) enable() error {
	if s.host.Mode != cgroup.V2 {
		return nil
	}
	file := filepath.Join(s.host.Dir("", s.group), "cgroup.subtree_control")
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if slices.Contains(strings.Fields(string(b)), "cpu") {
		return nil
	}
	return writeFile(file, "+cpu")
}

// writeFile writes a text to a kernel file with one write(2). Not os.WriteFile: that parks for ever on a
// file that answers EAGAIN.
func writeFile(file, text string) error {
	fd, err := unix.Open(file, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("opening %s: %w", file, err)
	}
	_, err = unix.Write(fd, []byte(text))
	if closeErr := unix.Close(fd); err == nil {
		err = closeErr
	}
	if err != nil {
		return fmt.Errorf("writing %q to %s: %w", text, file, err)
	}
	return nil
}
