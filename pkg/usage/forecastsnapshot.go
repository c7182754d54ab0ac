package usage

import (
	"encoding/binary"
	"fmt"
	"math"
)

// forecastVersion changes when what MarshalBinary writes does. A snapshot of another version is refused, and
// the caller starts cold: history is measured again in days, while a converter would be kept for ever.
const forecastVersion = 1

// A snapshot is the version, and for CPU and memory the slot that was open, the number of closed slots, and the
// peak and the mean of each, all little endian. What was learned from them is not in it: it is learned again, so that a
// snapshot outlives a change of the method.
const (
	versionBytes        = 4
	envelopeHeaderBytes = 8 + 4
	slotBytes           = 4 + 4
)

// MarshalBinary writes the history, without the open slot's samples and the capacity. The snapshot carries
// its version and has no checksum: who stores it adds one.
func (f *Forecaster) MarshalBinary() ([]byte, error) {
	closed := f.cpu.slots.closed + f.memory.slots.closed
	return f.AppendBinary(make([]byte, 0, versionBytes+2*envelopeHeaderBytes+closed*slotBytes))
}

// AppendBinary appends what MarshalBinary returns.
func (f *Forecaster) AppendBinary(b []byte) ([]byte, error) {
	b = binary.LittleEndian.AppendUint32(b, forecastVersion)
	for _, e := range [...]*Envelope{&f.cpu, &f.memory} {
		b = binary.LittleEndian.AppendUint64(b, uint64(e.slots.next))
		b = binary.LittleEndian.AppendUint32(b, uint32(e.slots.closed))
		for back := e.slots.closed; back >= 1; back-- {
			at := (e.slots.next - slot(back)).in(slotsKept)
			b = binary.LittleEndian.AppendUint32(b, math.Float32bits(e.slots.peaks[at]))
			b = binary.LittleEndian.AppendUint32(b, math.Float32bits(e.slots.means[at]))
		}
	}
	return b, nil
}

// UnmarshalBinary replaces the history with a snapshot's; the capacity stays. After an error the Forecaster is as
// it was. A number in it that is not a use counts as not measured. It takes some tens of milliseconds.
func (f *Forecaster) UnmarshalBinary(b []byte) error {
	if len(b) < versionBytes {
		return fmt.Errorf("forecast snapshot: %d bytes", len(b))
	}
	if v := binary.LittleEndian.Uint32(b); v != forecastVersion {
		return fmt.Errorf("forecast snapshot: version %d, this program reads %d", v, forecastVersion)
	}
	cpu, rest, err := cutEnvelope(b[versionBytes:])
	if err != nil {
		return fmt.Errorf("forecast snapshot: CPU: %w", err)
	}
	memory, rest, err := cutEnvelope(rest)
	if err != nil {
		return fmt.Errorf("forecast snapshot: memory: %w", err)
	}
	if len(rest) > 0 {
		return fmt.Errorf("forecast snapshot: %d bytes too many", len(rest))
	}
	f.cpu.replay(cpu)
	f.memory.replay(memory)
	return nil
}

// envelopeSnapshot is one resource's part: uses is slotBytes a slot.
type envelopeSnapshot struct {
	next slot
	uses []byte
}

func cutEnvelope(b []byte) (s envelopeSnapshot, rest []byte, err error) {
	if len(b) < envelopeHeaderBytes {
		return s, nil, fmt.Errorf("%d bytes, the header alone has %d", len(b), envelopeHeaderBytes)
	}
	s.next = slot(binary.LittleEndian.Uint64(b))
	closed := int(binary.LittleEndian.Uint32(b[8:]))
	b = b[envelopeHeaderBytes:]
	switch {
	case s.next < 0 || s.next > math.MaxInt32:
		return s, nil, fmt.Errorf("slot %d, must be 0 to %d", s.next, math.MaxInt32)
	case closed > slotsKept:
		return s, nil, fmt.Errorf("%d slots, at most %d", closed, slotsKept)
	case len(b) < closed*slotBytes:
		return s, nil, fmt.Errorf("%d bytes, %d slots take %d", len(b), closed, closed*slotBytes)
	}
	s.uses = b[:closed*slotBytes]
	return s, b[closed*slotBytes:], nil
}

// replay learns from a snapshot as if it were measured now.
func (e *Envelope) replay(s envelopeSnapshot) {
	closed := len(s.uses) / slotBytes
	e.clear(s.next - slot(closed))
	e.started = closed > 0
	for b := s.uses; len(b) > 0; b = b[slotBytes:] {
		e.slots.push(math.Float32frombits(binary.LittleEndian.Uint32(b)), math.Float32frombits(binary.LittleEndian.Uint32(b[4:])))
	}
	e.relearn()
}
