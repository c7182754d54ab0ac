package agent

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/plimsoll/plimsoll/pkg/api/v1alpha1"
	"github.com/plimsoll/plimsoll/pkg/usage"
)

const (
	// CheckpointFile is a file's name in the state folder. Its first line is checkpointHeader, a version and the SHA-256
	// of the rest, which is a checkpoint as JSON.
	CheckpointFile    = "usage.checkpoint"
	checkpointHeader  = "plimsoll-usage"
	checkpointVersion = 1
	// checkpointEvery is the forecaster's slot: between two there is nothing new that is worth the write.
	checkpointEvery = 5 * time.Minute
	// checkpointMaxAge is what the forecaster keeps; history that is older says nothing any more.
	checkpointMaxAge = 8 * 24 * time.Hour
	// mostBytes is far more than any checkpoint has; a file that is larger is none.
	mostBytes = 64 << 20
)

// Checkpoint is what the agent remembers across a restart. Losing it costs days of learning and no safety.
type Checkpoint struct {
	SavedAt    time.Time
	Capacity   v1alpha1.Resources
	Forecaster []byte
	Workloads  []byte
	// Published is what could be borrowed when it was saved.
	Published v1alpha1.Resources
}

// Encode makes a checkpoint file's content.
func (c Checkpoint) Encode() ([]byte, error) {
	body, err := json.Marshal(c)
	if err != nil {
		return nil, fmt.Errorf("encoding the checkpoint: %w", err)
	}
	sum := sha256.Sum256(body)
	return fmt.Appendf(nil, "%s %d %s\n%s", checkpointHeader, checkpointVersion, hex.EncodeToString(sum[:]), body), nil
}

// decodeCheckpoint reads a checkpoint file's content. The error says why it is of no use at now.
func decodeCheckpoint(content []byte, now time.Time) (Checkpoint, error) {
	var c Checkpoint
	line, body, _ := bytes.Cut(content, []byte("\n"))
	var header, sum string
	var version int
	if _, err := fmt.Sscanf(string(line[:min(len(line), 200)]), "%s %d %s", &header, &version, &sum); err != nil || header != checkpointHeader {
		return c, errors.New("it does not begin like a checkpoint")
	}
	if version != checkpointVersion {
		return c, fmt.Errorf("it is of version %d, this program reads %d", version, checkpointVersion)
	}
	if got := sha256.Sum256(body); hex.EncodeToString(got[:]) != sum {
		return c, errors.New("its checksum does not fit: it was cut off or changed")
	}
	if err := json.Unmarshal(body, &c); err != nil {
		return c, fmt.Errorf("decoding it: %w", err)
	}
	const clocksDiffer = 10 * time.Minute
	switch age := now.Sub(c.SavedAt); {
	case age > checkpointMaxAge:
		return c, fmt.Errorf("it was saved %v ago, and %v is kept", age.Round(time.Minute), checkpointMaxAge)
	case age < -clocksDiffer:
		return c, fmt.Errorf("it was saved %v in the future by this node's clock", (-age).Round(time.Minute))
	}
	return c, nil
}

// readCheckpoint returns fs.ErrNotExist when there is none.
func readCheckpoint(dir string, now time.Time) (Checkpoint, error) {
	name := filepath.Join(dir, CheckpointFile)
	info, err := os.Stat(name)
	if err != nil {
		return Checkpoint{}, fmt.Errorf("reading the checkpoint: %w", err)
	}
	if !info.Mode().IsRegular() || info.Size() > mostBytes {
		return Checkpoint{}, fmt.Errorf("reading the checkpoint: %s is no file of at most %d bytes", name, mostBytes)
	}
	content, err := os.ReadFile(name)
	if err != nil {
		return Checkpoint{}, fmt.Errorf("reading the checkpoint: %w", err)
	}
	c, err := decodeCheckpoint(content, now)
	if err != nil {
		return Checkpoint{}, fmt.Errorf("reading the checkpoint %s: %w", name, err)
	}
	return c, nil
}

// writeCheckpoint replaces the checkpoint in one step: a crash leaves the old one or the new one.
func writeCheckpoint(dir string, content []byte) error {
	temp, err := os.CreateTemp(dir, CheckpointFile+".*")
	if err != nil {
		return fmt.Errorf("writing the checkpoint: %w", err)
	}
	_, err = temp.Write(content)
	err = errors.Join(err, temp.Sync(), temp.Close())
	if err == nil {
		err = os.Rename(temp.Name(), filepath.Join(dir, CheckpointFile))
	}
	if err != nil {
		_ = os.Remove(temp.Name()) // it is of no use; the error below is what matters
		return fmt.Errorf("writing the checkpoint: %w", err)
	}
	folder, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("writing the checkpoint: %w", err)
	}
	if err := errors.Join(folder.Sync(), folder.Close()); err != nil {
		return fmt.Errorf("writing the checkpoint: %w", err)
	}
	return nil
}

// restore takes over what was remembered before a restart. Whatever is wrong with the checkpoint, the
// agent then starts without: it says so, and learns anew.
func (l *loop) restore(dir string, now time.Time) {
	c, err := readCheckpoint(dir, now)
	if errors.Is(err, fs.ErrNotExist) {
		l.log.Info("starting without history: there is no checkpoint", "dir", dir)
		return
	}
	profiles := usage.NewWorkloads(mostWorkloads)
	var forecaster *usage.Forecaster
	if err == nil {
		forecaster, err = usage.NewForecaster(usage.Capacity{MilliCPU: c.Capacity.MilliCPU, MemoryBytes: c.Capacity.MemoryBytes})
	}
	if err == nil {
		err = errors.Join(forecaster.UnmarshalBinary(c.Forecaster), profiles.UnmarshalBinary(c.Workloads))
	}
	if err != nil {
		l.log.Warn("starting without history", "error", err)
		return
	}
	l.lending.forecaster, l.workloads.profiles = forecaster, profiles
	age := now.Sub(c.SavedAt)
	if age < time.Duration(l.config.Lending.RaiseAfterSeconds)*time.Second {
		l.lending.cpuLender.Restore(c.Published.MilliCPU)
		l.lending.memoryLender.Restore(c.Published.MemoryBytes)
	}
	l.log.Info("took over the history of before the restart", "history", forecaster.History(), "savedAgo", age.Round(time.Second))
}

// checkpoint is what is remembered now; nil when there is nothing yet.
func (l *loop) checkpoint(now time.Time) ([]byte, error) {
	if l.lending.forecaster == nil {
		return nil, nil
	}
	c := Checkpoint{SavedAt: now, Capacity: l.lending.capacity, Published: v1alpha1.Resources{
		MilliCPU: l.lending.cpuLender.Published(), MemoryBytes: l.lending.memoryLender.Published(),
	}}
	var errForecaster, errWorkloads error
	c.Forecaster, errForecaster = l.lending.forecaster.MarshalBinary()
	c.Workloads, errWorkloads = l.workloads.profiles.MarshalBinary()
	if err := errors.Join(errForecaster, errWorkloads); err != nil {
		return nil, fmt.Errorf("encoding the checkpoint: %w", err)
	}
	return c.Encode()
}

// saver writes checkpoints beside the loop, which must not wait for a disk.
type saver struct {
	dir     string
	waiting chan []byte
	savedAt time.Time
}

func newSaver(dir string) *saver { return &saver{dir: dir, waiting: make(chan []byte, 1)} }

// save hands a checkpoint to the saver when one is due.
func (l *loop) save(now time.Time) {
	if age := now.Sub(l.saver.savedAt); age >= 0 && age < checkpointEvery {
		return
	}
	first := l.saver.savedAt.IsZero()
	l.saver.savedAt = now
	if first {
		return // what was just restored need not be written again
	}
	content, err := l.checkpoint(now)
	if err != nil {
		l.log.Error("what was learned is not saved", "error", err)
	}
	if err != nil || content == nil {
		return
	}
	select {
	case l.saver.waiting <- content:
	default: // the disk is slow: the next one is as good
	}
}

// saveLast saves before the agent ends.
func (l *loop) saveLast(now time.Time) {
	content, err := l.checkpoint(now)
	if err == nil && content != nil {
		err = writeCheckpoint(l.saver.dir, content)
	}
	if err != nil {
		l.log.Error("what was learned is not saved", "error", err)
	}
}

// run writes checkpoints until `until` is closed.
func (s *saver) run(until <-chan struct{}, fail func(error)) {
	for {
		select {
		case <-until:
			return
		case content := <-s.waiting:
			if err := writeCheckpoint(s.dir, content); err != nil {
				fail(err)
			}
		}
	}
}
