package usage

import "time"

// windowParts is how many parts a window slides by: it covers its length, and up to a tenth less.
const windowParts = 10

// WindowLengths are the windows that Windows keeps: two short ones and two long ones.
func WindowLengths() [4]time.Duration {
	return [4]time.Duration{10 * time.Second, time.Minute, 5 * time.Minute, time.Hour}
}

// WindowSpread is how the use of something was spread over the last Length.
type WindowSpread struct {
	Length                time.Duration
	MilliCPU, MemoryBytes Spread
}

// Windows keeps how the use of one class was spread over each of WindowLengths. A window slides by tenths:
// each tenth has a sketch of its own, and a report merges them. It holds at most 80 sketches of
// 4 KiB. It is not safe for concurrent use.
type Windows struct {
	windows     [4]window
	first, last time.Time
	// scratch is what a report merges into.
	scratch spreader
}

type window struct {
	width time.Duration
	parts [windowParts]part
}

// part is one tenth of a window, the number-th since 1970.
type part struct {
	number      int64
	cpu, memory spreader
}

// NewWindows returns Windows without history.
func NewWindows() *Windows {
	w := &Windows{scratch: newSpreader()}
	for i, length := range WindowLengths() {
		w.windows[i].width = length / windowParts
		for j := range w.windows[i].parts {
			w.windows[i].parts[j] = part{cpu: newSpreader(), memory: newSpreader()}
		}
	}
	return w
}

// Add takes the use at one instant. A reading that is not OK leaves no trace. When the clock steps back,
// or nothing was added for longer than the longest window, all is forgotten.
func (w *Windows) Add(now time.Time, milliCPU, memoryBytes Reading) {
	longest := windowParts * w.windows[len(w.windows)-1].width
	if now.Before(w.last) || now.Sub(w.last) > longest {
		w.forget()
		w.first = now
	}
	w.last = now
	for i := range w.windows {
		p := w.windows[i].at(now)
		if milliCPU.OK {
			p.cpu.add(milliCPU.Value, 1)
		}
		if memoryBytes.OK {
			p.memory.add(memoryBytes.Value, 1)
		}
	}
}

func (w *Windows) forget() {
	for i := range w.windows {
		for j := range w.windows[i].parts {
			w.windows[i].parts[j].reset(0)
		}
	}
}

func (p *part) reset(number int64) {
	p.number = number
	p.cpu.clear()
	p.memory.clear()
}

// at is the part that is open at now.
func (w *window) at(now time.Time) *part {
	number := now.UnixNano() / int64(w.width)
	p := &w.parts[number%windowParts]
	if p.number != number {
		p.reset(number)
	}
	return p
}

// covers reports whether a part is of the window that ends at now.
func (w *window) covers(p *part, now time.Time) bool {
	number := now.UnixNano() / int64(w.width)
	return p.number > number-windowParts && p.number <= number
}

// Report returns the windows that the history fills, shortest first.
func (w *Windows) Report(now time.Time) []WindowSpread {
	var report []WindowSpread
	for i, length := range WindowLengths() {
		if w.first.IsZero() || now.Sub(w.first) < length {
			break
		}
		cpu, okCPU := w.merged(i, now, func(p *part) *spreader { return &p.cpu })
		memory, okMemory := w.merged(i, now, func(p *part) *spreader { return &p.memory })
		if okCPU && okMemory {
			report = append(report, WindowSpread{Length: length, MilliCPU: cpu, MemoryBytes: memory})
		}
	}
	return report
}

func (w *Windows) merged(i int, now time.Time, of func(*part) *spreader) (Spread, bool) {
	w.scratch.clear()
	for j := range w.windows[i].parts {
		if p := &w.windows[i].parts[j]; w.windows[i].covers(p, now) {
			w.scratch.merge(of(p))
		}
	}
	return w.scratch.spread()
}
