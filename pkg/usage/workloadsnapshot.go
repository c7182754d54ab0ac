package usage

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/DataDog/sketches-go/ddsketch"
)

// workloadsVersion changes when what MarshalBinary writes does; a snapshot of another version is refused.
const workloadsVersion = 1

type workloadsSnapshot struct {
	Version  int
	Profiles []profileSnapshot
}

type profileSnapshot struct {
	Workload, Class string
	Seen            time.Time
	History         time.Duration
	Day             int64
	CPU, Memory     spreadSnapshot
	Run             spreadSnapshot
	Hours           []hourSnapshot
}

type hourSnapshot struct {
	Hour int
	Day  int64
	Seen time.Duration
	CPU  spreadSnapshot
}

type spreadSnapshot struct {
	Sketch          []byte `json:",omitempty"`
	Sum, Count, Max float64
}

// MarshalBinary writes the profiles. The snapshot carries its version and has no checksum: who stores it
// adds one.
func (w *Workloads) MarshalBinary() ([]byte, error) {
	s := workloadsSnapshot{Version: workloadsVersion}
	for name, p := range w.profiles {
		ps := profileSnapshot{
			Workload: name, Class: p.class, Seen: p.seen, History: p.history, Day: p.day,
			CPU: p.cpu.snapshot(), Memory: p.mem.snapshot(), Run: p.run.snapshot(),
		}
		for i := range p.hourly {
			if h := &p.hourly[i]; h.cpu.sketch != nil {
				ps.Hours = append(ps.Hours, hourSnapshot{Hour: i, Day: h.day, Seen: h.seen, CPU: h.cpu.snapshot()})
			}
		}
		s.Profiles = append(s.Profiles, ps)
	}
	b, err := json.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("workloads snapshot: %w", err)
	}
	return b, nil
}

// UnmarshalBinary replaces the profiles with a snapshot's. After an error the Workloads are as they were.
func (w *Workloads) UnmarshalBinary(b []byte) error {
	var s workloadsSnapshot
	if err := json.Unmarshal(b, &s); err != nil {
		return fmt.Errorf("workloads snapshot: %w", err)
	}
	if s.Version != workloadsVersion {
		return fmt.Errorf("workloads snapshot: version %d, this program reads %d", s.Version, workloadsVersion)
	}
	if len(s.Profiles) > w.limit {
		return fmt.Errorf("workloads snapshot: %d profiles, at most %d", len(s.Profiles), w.limit)
	}
	profiles := make(map[string]*profile, len(s.Profiles))
	for _, ps := range s.Profiles {
		p, err := ps.restore()
		if err != nil {
			return fmt.Errorf("workloads snapshot: profile of %s: %w", ps.Workload, err)
		}
		profiles[ps.Workload] = p
	}
	w.profiles = profiles
	return nil
}

func (ps *profileSnapshot) restore() (*profile, error) {
	p := &profile{class: ps.Class, seen: ps.Seen, history: max(0, ps.History), day: ps.Day}
	for into, from := range map[*spreader]*spreadSnapshot{&p.cpu: &ps.CPU, &p.mem: &ps.Memory, &p.run: &ps.Run} {
		if err := into.restore(from); err != nil {
			return nil, err
		}
	}
	for i := range ps.Hours {
		h := &ps.Hours[i]
		if h.Hour < 0 || h.Hour >= hoursOfDay {
			return nil, fmt.Errorf("hour %d, must be 0 to %d", h.Hour, hoursOfDay-1)
		}
		p.hourly[h.Hour].day, p.hourly[h.Hour].seen = h.Day, max(0, h.Seen)
		if err := p.hourly[h.Hour].cpu.restore(&h.CPU); err != nil {
			return nil, fmt.Errorf("hour %d: %w", h.Hour, err)
		}
	}
	return p, nil
}

func (s *spreader) snapshot() spreadSnapshot {
	out := spreadSnapshot{Sum: s.sum, Count: s.count, Max: s.max}
	if s.count > 0 {
		s.sketch.Encode(&out.Sketch, false)
	}
	return out
}

func (s *spreader) restore(from *spreadSnapshot) error {
	*s = newSpreader()
	if len(from.Sketch) == 0 {
		return nil
	}
	decoded, err := ddsketch.DecodeDDSketch(from.Sketch, newStore, s.sketch.IndexMapping)
	if err != nil {
		return fmt.Errorf("sketch: %w", err)
	}
	if !(from.Sum >= 0) || !(from.Count > 0) || !(from.Max >= 0) || from.Max > 1<<60 {
		return fmt.Errorf("sum %v of %v values up to %v", from.Sum, from.Count, from.Max)
	}
	s.sketch, s.sum, s.count, s.max = decoded, from.Sum, from.Count, from.Max
	return nil
}
