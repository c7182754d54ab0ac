package guard

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
)

// Heart is where the agent's loop beats. The file should be in memory (tmpfs): a loop that beats must not
// wait for a disk.
type Heart struct {
	file  *os.File
	beats uint64
}

// NewHeart opens the file, which is made if it is missing. An empty name gives nil: a heart
// that nobody hears.
func NewHeart(name string, now time.Time) (*Heart, error) {
	if name == "" {
		return nil, nil
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return nil, fmt.Errorf("making the folder of the heartbeat: %w", err)
	}
	f, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, fmt.Errorf("opening the heartbeat: %w", err)
	}
	// No two agents count from the same number, so the first beat after a restart is one.
	return &Heart{file: f, beats: uint64(now.UnixNano())}, nil
}

// Beat renews what the agent has lent.
func (h *Heart) Beat() error {
	if h == nil || h.file == nil {
		return nil
	}
	h.beats++
	var line [24]byte
	if _, err := h.file.WriteAt(fmt.Appendf(line[:0], "%020d\n", h.beats), 0); err != nil {
		return fmt.Errorf("writing the heartbeat: %w", err)
	}
	return nil
}

// Close ends the beating; the file stays.
func (h *Heart) Close() error {
	if h == nil || h.file == nil {
		return nil
	}
	if err := h.file.Close(); err != nil {
		return fmt.Errorf("closing the heartbeat: %w", err)
	}
	return nil
}

// pulse looks at a heartbeat.
type pulse struct {
	name string
	// last is what the file held at the last look, still for how many looks it has held the same.
	last  []byte
	still int
}

// look returns for how many looks in a row nothing has beaten. A file that cannot be read does not beat.
func (p *pulse) look() (still int, err error) {
	f, err := os.Open(p.name)
	if errors.Is(err, os.ErrNotExist) {
		p.still++
		return p.still, nil
	}
	var now []byte
	if err == nil {
		now, err = io.ReadAll(io.LimitReader(f, 64))
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		p.still++
		return p.still, fmt.Errorf("reading the heartbeat: %w", err)
	}
	if !bytes.Equal(now, p.last) {
		p.last, p.still = now, 0
		return 0, nil
	}
	p.still++
	return p.still, nil
}
