package audit

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Kind says what a record is about.
type Kind string

// The kinds of record.
const (
	// KindWrite is a kernel setting that was written, or that the kernel refused.
	KindWrite Kind = "write"
	// KindEviction is a pod that was evicted, or that could not be.
	KindEviction Kind = "eviction"
	// KindLost says how many records could not be written since Since, and why.
	KindLost Kind = "lost"
	// KindRepaired says what opening the log found wrong with its end.
	KindRepaired Kind = "repaired"
	// KindPruned says which records went with the oldest file, and the hash that the rest is chained to.
	KindPruned Kind = "pruned"
)

// Entry is what somebody has to say; the log adds the chain.
type Entry struct {
	Time time.Time `json:"time"`
	Kind Kind      `json:"kind"`
	Node string    `json:"node,omitempty"`
	// Group is the cgroup, relative to its hierarchy's root; Pod is namespace/name (UID) where it is of one.
	Group string `json:"group,omitempty"`
	Pod   string `json:"pod,omitempty"`
	Knob  string `json:"knob,omitempty"`
	// Old is what the knob was before, New what was asked for, ReadBack what the kernel made of it. A nil
	// was not read.
	Old      *string `json:"old,omitempty"`
	New      *string `json:"new,omitempty"`
	ReadBack *string `json:"readBack,omitempty"`
	// Error is why it was refused; empty where it was not.
	Error    string `json:"error,omitempty"`
	Strategy string `json:"strategy,omitempty"`
	Why      string `json:"why,omitempty"`
	// Inputs are the measurements and settings that the decision rested on, by name with the unit in it.
	Inputs map[string]string `json:"inputs,omitempty"`
	// ConfigHash is the SHA-256 of the configuration in force.
	ConfigHash string `json:"configHash,omitempty"`

	// Count and Since are of KindLost: how many records, and from when on.
	Count int64      `json:"count,omitempty"`
	Since *time.Time `json:"since,omitempty"`
	// Through is of KindPruned: the last record that is gone.
	Through *Anchor `json:"through,omitempty"`
}

// Record is one line of the log.
type Record struct {
	// Sequence counts records from 1, over all files.
	Sequence uint64 `json:"sequence"`
	// Previous is the hash of the line before, without its newline; noHash before the first.
	Previous string `json:"previous"`
	Entry
}

// Anchor names a record by its number and the hash of its line. One that is kept outside the log shows
// that everything up to it is as it was.
type Anchor struct {
	Sequence uint64 `json:"sequence"`
	Hash     string `json:"hash"`
}

// String is sequence:hash.
func (a Anchor) String() string { return fmt.Sprintf("%d:%s", a.Sequence, a.Hash) }

// ParseAnchor reads what String writes.
func ParseAnchor(s string) (Anchor, error) {
	number, hash, _ := strings.Cut(s, ":")
	n, err := strconv.ParseUint(number, 10, 64)
	if err != nil || len(hash) != len(noHash) || strings.Trim(hash, "0123456789abcdef") != "" {
		return Anchor{}, fmt.Errorf("anchor %q: want SEQUENCE:HASH, a number and %d hexadecimal digits", s, len(noHash))
	}
	return Anchor{Sequence: n, Hash: hash}, nil
}

// noHash is what the first record of all is chained to.
const noHash = "0000000000000000000000000000000000000000000000000000000000000000"

func hashOf(line []byte) string {
	sum := sha256.Sum256(line)
	return hex.EncodeToString(sum[:])
}

// encode is the line of a record, with its newline.
func encode(r Record) ([]byte, error) {
	r.Time = r.Time.UTC()
	line, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("encoding an audit record: %w", err)
	}
	return append(line, '\n'), nil
}

// decode reads a line without its newline. Fields that it does not know are those of a later version.
func decode(line []byte) (Record, error) {
	var r Record
	if len(bytes.TrimSpace(line)) == 0 {
		return r, fmt.Errorf("an empty line")
	}
	if err := json.Unmarshal(line, &r); err != nil {
		return r, err
	}
	if r.Sequence == 0 || len(r.Previous) != len(noHash) || r.Kind == "" {
		return r, fmt.Errorf("it has no sequence, previous or kind")
	}
	return r, nil
}
