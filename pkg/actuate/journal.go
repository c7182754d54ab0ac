package actuate

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/plimsoll/plimsoll/pkg/qos"
)

// journalVersion is in the file, so that a later version knows what it reads.
const journalVersion = 1

// Original is the value that a knob had before Plimsoll first wrote it.
type Original struct {
	Group   string   `json:"group"`
	GroupID uint64   `json:"groupID"`
	Knob    qos.Knob `json:"knob"`
	Value   string   `json:"value"`
}

// Journal remembers originals in a file, so that they outlive the agent. It is not safe for concurrent use.
type Journal struct {
	path      string
	originals []Original
}

type journalFile struct {
	Version   int        `json:"version"`
	Originals []Original `json:"originals"`
}

// OpenJournal reads the journal in dir, which is made if it is missing. A journal that cannot be read
// is an error and is left as it is: starting without it would lose the originals.
func OpenJournal(dir string) (*Journal, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the state directory: %w", err)
	}
	j := &Journal{path: filepath.Join(dir, "journal.json")}
	b, err := os.ReadFile(j.path)
	if errors.Is(err, fs.ErrNotExist) {
		return j, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the journal: %w", err)
	}
	var f journalFile
	if err := json.Unmarshal(b, &f); err != nil {
		return nil, fmt.Errorf("reading the journal %s: %w: restore it from a backup, or move it away to go on without the original values", j.path, err)
	}
	if f.Version != journalVersion {
		return nil, fmt.Errorf("reading the journal %s: version %d, this agent knows %d: use the agent that wrote it", j.path, f.Version, journalVersion)
	}
	j.originals = f.Originals
	return j, nil
}

// Originals are the remembered values, in the order in which they were first written.
func (j *Journal) Originals() []Original { return append([]Original(nil), j.originals...) }

// Remember keeps o on disk unless the knob of that very group is remembered already.
func (j *Journal) Remember(o Original) error {
	kept := make([]Original, 0, len(j.originals)+1)
	for _, have := range j.originals {
		if have.Group == o.Group && have.Knob == o.Knob {
			if have.GroupID == o.GroupID {
				return nil
			}
			continue // another group of the same name, since removed
		}
		kept = append(kept, have)
	}
	return j.save(append(kept, o))
}

// Clear forgets everything.
func (j *Journal) Clear() error { return j.save(nil) }

func (j *Journal) save(originals []Original) (err error) {
	b, err := json.Marshal(journalFile{Version: journalVersion, Originals: originals})
	if err != nil {
		return fmt.Errorf("encoding the journal: %w", err)
	}
	tmp, err := os.CreateTemp(filepath.Dir(j.path), ".journal-*")
	if err != nil {
		return fmt.Errorf("writing the journal: %w", err)
	}
	defer func() {
		if err != nil {
			_ = os.Remove(tmp.Name())
		}
	}()
	_, err = tmp.Write(append(b, '\n'))
	if err == nil {
		err = tmp.Sync()
	}
	if closeErr := tmp.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Rename(tmp.Name(), j.path)
	}
	if err == nil {
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
