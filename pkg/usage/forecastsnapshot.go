package usage

import (
	"encoding/binary"
	"fmt"
	"math"
)

// forecastVersion changes when what MarshalBinary writes does. A snapshot of another version is refused, and
// the caller starts cold: history is measured again in days, while a converter would be kept for ever.
const forecastVersion = 1

// forecastHeader is a version, the open slot, the number of closed slots and the started flag.
const forecastHeader = 4 + 8 + 4 + 1

// MarshalBinary writes the history, little endian, without the open slot's samples and the capacity. The
// snapshot carries its version and has no checksum: who stores it adds one.
func (f *Forecaster) MarshalBinary() ([]byte, error) {
	return f.AppendBinary(make([]byte, 0, forecastHeader+16*f.closed))
}

// AppendBinary appends what MarshalBinary returns.
func (f *Forecaster) AppendBinary(b []byte) ([]byte, error) {
	b = binary.LittleEndian.AppendUint32(b, forecastVersion)
	b = binary.LittleEndian.AppendUint64(b, uint64(f.newest))
	b = binary.LittleEndian.AppendUint32(b, uint32(f.closed))
	started := byte(0)
	if f.started {
		started = 1
	}
	b = append(b, started)
	for back := f.closed; back >= 1; back-- {
		at := (f.newest - slot(back)).place()
		for _, v := range [...]float32{f.cpu.peaks[at], f.cpu.means[at], f.memory.peaks[at], f.memory.means[at]} {
			b = binary.LittleEndian.AppendUint32(b, math.Float32bits(v))
		}
	}
	return b, nil
}

// UnmarshalBinary replaces the history with a snapshot's; the capacity stays. After an error the Forecaster is as
// it was. A number in it that is not a use counts as not measured.
func (f *Forecaster) UnmarshalBinary(b []byte) error {
	if len(b) < forecastHeader {
		return fmt.Errorf("forecast snapshot: %d bytes, the header alone has %d", len(b), forecastHeader)
	}
	if v := binary.LittleEndian.Uint32(b); v != forecastVersion {
		return fmt.Errorf("forecast snapshot: version %d, this program reads %d", v, forecastVersion)
	}
	newest, closed := slot(binary.LittleEndian.Uint64(b[4:])), int(binary.LittleEndian.Uint32(b[12:]))
	if newest < 0 || newest > slot(math.MaxInt32) {
		return fmt.Errorf("forecast snapshot: slot %d, must be 0 to %d", newest, math.MaxInt32)
	}
	if closed > slotsKept {
		return fmt.Errorf("forecast snapshot: %d slots, at most %d", closed, slotsKept)
	}
	if want := forecastHeader + 16*closed; len(b) != want {
		return fmt.Errorf("forecast snapshot: %d bytes, %d slots take %d", len(b), closed, want)
	}
	started := b[16] == 1
	f.forget()
	f.newest, f.closed, f.started = newest, closed, started
	b = b[forecastHeader:]
	next := func() float32 {
		v := math.Float32frombits(binary.LittleEndian.Uint32(b))
		b = b[4:]
		return v
	}
	for back := closed; back >= 1; back-- {
		at := newest - slot(back)
		f.cpu.put(at, next(), next())
		f.memory.put(at, next(), next())
	}
	return nil
}
