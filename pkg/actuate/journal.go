package actuate

import (
	"encoding/json"
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

// journalVersion is in the file, so that a later version knows what it reads. Version 1 had one text a
// knob and did not know of which boot it was.
const journalVersion = 2

// Original is what the files of a knob held before Plimsoll first wrote it.
type Original struct {
	Group string `json:"group"`
	// GroupID is the inode of the group in the hierarchy of the knob: a group that is made again has another.
	GroupID uint64   `json:"groupID"`
	Knob    qos.Knob `json:"knob"`
	// Raw is the text of each file; the neutral value may be rounder than what the kernel held.
	Raw cgroup.Raw `json:"raw"`
}

// Journal remembers originals in a file, so that they outlive the agent. One process can have it open.
// It is not safe for concurrent use.
type Journal struct {
	path, bootID string
	lock         *os.File
	originals    []Original
	// missing is true where there was no file, otherBoot how many originals the file had of another boot, torn whether
	// that boot's end left a file that cannot be read.
	missing   bool
	otherBoot int
	torn      bool
	// marked is true once the lock's file says on the disk of which boot the journal is.
	marked bool
	// readOnly is true where another process may have the journal open.
	readOnly bool
}

type journalFile struct {
	Version   int        `json:"version"`
	BootID    string     `json:"bootID,omitempty"`
	Originals []Original `json:"originals"`
}

// ErrJournalLocked means that another process has the journal open.
var ErrJournalLocked = errors.New("another plimsoll-agent has it open")

// errDamaged means that a journal is no journal of any version.
var errDamaged = errors.New("it is cut off or damaged")

// ErrNotJournaled means that a knob would be written whose original another process has not remembered.
var ErrNotJournaled = errors.New("its original is not in the journal")

// BootID names this run of the kernel. Control groups do not outlive it.
func BootID(procRoot string) (string, error) {
	b, err := os.ReadFile(filepath.Join(procRoot, "sys/kernel/random/boot_id"))
	if err != nil {
		return "", fmt.Errorf("reading which boot this is: %w", err)
	}
	id := strings.TrimSpace(string(b))
	if id == "" {
		return "", fmt.Errorf("reading which boot this is: %s/sys/kernel/random/boot_id is empty", procRoot)
	}
	return id, nil
}

// OpenJournal reads the journal in dir, which is made if it is missing. Without a file it begins anew.
// Originals of another boot are dropped: their groups are gone, and groups of this boot may have their
// numbers. A journal that cannot be read, or that a newer version wrote, is an error and is left as it
// is: starting without it would lose the originals.
//
// What is written later is not waited for until it is on the disk: whatever ends the agent leaves the file as it
// is, and what ends the kernel ends the groups. That may tear the file, so the lock's file says which boot it is of.
func OpenJournal(dir, bootID string) (*Journal, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the state directory: %w", err)
	}
	j := &Journal{path: filepath.Join(dir, "journal.json"), bootID: bootID}
	var err error
	if j.lock, err = lockFile(lockName(j.path)); err != nil {
		return nil, fmt.Errorf("opening the journal %s: %w", j.path, err)
	}
	err = j.read()
	if err == nil {
		err = removeHalves(dir)
	}
	if err != nil {
		return nil, errors.Join(err, j.Close())
	}
	j.marked = j.mark() == nil // else each write is waited for
	return j, nil
}

// mark puts on the disk of which boot the journal is from here on.
func (j *Journal) mark() error {
	if j.markedBoot() == j.bootID {
		return nil
	}
	_, err := j.lock.WriteAt([]byte(j.bootID), 0)
	return errors.Join(err, j.lock.Truncate(int64(len(j.bootID))), j.lock.Sync(), syncDir(filepath.Dir(j.path)))
}

// markedBoot is the boot that the lock's file names; empty where it names none, as before version 2 was marked.
func (j *Journal) markedBoot() string {
	b, err := os.ReadFile(lockName(j.path))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

func lockName(journal string) string { return filepath.Join(filepath.Dir(journal), "journal.lock") }

// ReadJournal reads the journal in dir as it is now, whoever has it open, and changes nothing. An Actuator
// with it writes only knobs whose originals are in it, so that a release restores those too. A journal
// that is missing, or of another boot, has none.
func ReadJournal(dir, bootID string) (*Journal, error) {
	j := &Journal{path: filepath.Join(dir, "journal.json"), bootID: bootID, readOnly: true}
	return j, j.read()
}

// removeHalves removes what an agent left that was killed before it could rename.
func removeHalves(dir string) error {
	halves, err := filepath.Glob(filepath.Join(dir, halfPattern))
	if err != nil {
		return err
	}
	for _, h := range halves {
		if err := os.Remove(h); err != nil {
			return fmt.Errorf("removing half a journal: %w", err)
		}
	}
	return nil
}

// halfPattern is the name of a journal that is being written.
const halfPattern = ".journal-*"

// lockFile makes this process the only one that has the journal, until it is closed or ends.
func lockFile(name string) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		if errors.Is(err, unix.EWOULDBLOCK) {
			err = fmt.Errorf("%w: end that one first (delete the DaemonSet before a release)", ErrJournalLocked)
		}
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func (j *Journal) read() error {
	b, err := os.ReadFile(j.path)
	if errors.Is(err, fs.ErrNotExist) {
		j.missing = true
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading the journal: %w", err)
	}
	originals, boot, err := decodeJournal(b)
	if marked := j.markedBoot(); errors.Is(err, errDamaged) && marked != "" && marked != j.bootID {
		j.torn = true
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading the journal %s: %w", j.path, err)
	}
	if boot != j.bootID && boot != "" {
		j.otherBoot = len(originals)
		return nil
	}
	j.originals = originals
	return nil
}

// decodeJournal reads the journal of this version and those before it.
func decodeJournal(b []byte) (originals []Original, bootID string, err error) {
	const remedy = "restore it from a backup, or move it away to go on without the original values (docs/knobs.md says what to write by hand)"
	var version struct {
		Version int `json:"version"`
	}
	if err := json.Unmarshal(b, &version); err != nil {
		return nil, "", fmt.Errorf("%w: %w: %s", err, errDamaged, remedy)
	}
	var f journalFile
	switch version.Version {
	case 1:
		var v1 struct {
			Originals []struct {
				Original
				Value string `json:"value"`
			} `json:"originals"`
		}
		err = json.Unmarshal(b, &v1)
		for _, o := range v1.Originals {
			o.Raw = cgroup.Raw{o.Value}
			f.Originals = append(f.Originals, o.Original)
		}
	case journalVersion:
		err = json.Unmarshal(b, &f)
	default:
		return nil, "", fmt.Errorf("version %d, this agent knows up to %d: use the agent that wrote it, or a later one", version.Version, journalVersion)
	}
	if err != nil {
		return nil, "", fmt.Errorf("%w: %w: %s", err, errDamaged, remedy)
	}
	for i, o := range f.Originals {
		if !strings.HasPrefix(o.Group, "/") || path.Clean(o.Group) != o.Group || o.Knob == "" || len(o.Raw) == 0 {
			return nil, "", fmt.Errorf("originals[%d] has no group, knob or value (group %q, knob %q): %w: %s", i, o.Group, o.Knob, errDamaged, remedy)
		}
	}
	return f.Originals, f.BootID, nil
}

// Originals are the remembered values, in the order in which they were first written.
func (j *Journal) Originals() []Original { return slices.Clone(j.originals) }

// Missing is true where there was no journal when it was opened; nothing is known then of what an
// earlier agent with another state directory wrote.
func (j *Journal) Missing() bool { return j.missing }

// OtherBoot is how many originals were dropped because their groups ended with another boot.
func (j *Journal) OtherBoot() int { return j.otherBoot }

// Torn is true where the end of another boot, as by a power cut, left a journal that cannot be read. Its groups
// ended with that boot.
func (j *Journal) Torn() bool { return j.torn }

// Path is the journal's file.
func (j *Journal) Path() string { return j.path }

// Has says whether the original of a knob of that very group is remembered.
func (j *Journal) Has(group string, id uint64, knob qos.Knob) bool {
	return slices.ContainsFunc(j.originals, func(o Original) bool { return o.Group == group && o.GroupID == id && o.Knob == knob })
}

// Remember keeps originals in the file, all of them or none, but for those of a knob that is remembered
// already. Those that gone says are of no group any more are dropped; a nil gone drops none.
func (j *Journal) Remember(originals []Original, gone func(Original) bool) error {
	var fresh []Original
	for _, o := range originals {
		if !j.Has(o.Group, o.GroupID, o.Knob) {
			fresh = append(fresh, o)
		}
	}
	if len(fresh) == 0 {
		return nil
	}
	if j.readOnly {
		return fmt.Errorf("%s of %s: %w %s", fresh[0].Knob, fresh[0].Group, ErrNotJournaled, j.path)
	}
	kept := make([]Original, 0, len(j.originals)+len(fresh))
	for _, have := range j.originals {
		another := slices.ContainsFunc(fresh, func(o Original) bool { return o.Group == have.Group && o.Knob == have.Knob })
		if !another && (gone == nil || !gone(have)) { // another group of the same name was there, and is gone
			kept = append(kept, have)
		}
	}
	return j.save(append(kept, fresh...))
}

// Clear forgets everything.
func (j *Journal) Clear() error {
	if j.readOnly {
		return fmt.Errorf("clearing the journal %s: it was opened to be read only", j.path)
	}
	return j.save(nil)
}

// Close lets others open the journal.
func (j *Journal) Close() error {
	if j.readOnly {
		return nil
	}
	if err := j.lock.Close(); err != nil {
		return fmt.Errorf("closing the journal: %w", err)
	}
	return nil
}

func (j *Journal) save(originals []Original) (err error) {
	b, err := json.Marshal(journalFile{Version: journalVersion, BootID: j.bootID, Originals: originals})
	if err != nil {
		return fmt.Errorf("encoding the journal: %w", err)
	}
	tmp, err := os.CreateTemp(filepath.Dir(j.path), halfPattern)
	if err != nil {
		return fmt.Errorf("writing the journal: %w", err)
	}
	defer func() {
		if err != nil {
			_ = os.Remove(tmp.Name())
		}
	}()
	_, err = tmp.Write(append(b, '\n'))
	if err == nil && !j.marked {
		err = tmp.Sync()
	}
	if closeErr := tmp.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Rename(tmp.Name(), j.path)
	}
	if err == nil && !j.marked {
		err = syncDir(filepath.Dir(j.path))
	}
	if err != nil {
		return fmt.Errorf("writing the journal: %w", err)
	}
	j.originals = originals
	return nil
}

// syncDir makes a rename in dir outlive a power cut.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	if closeErr := d.Close(); err == nil {
		err = closeErr
	}
	return err
}
