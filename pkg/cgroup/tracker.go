package cgroup

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path"
	"reflect"
	"time"

	"golang.org/x/sys/unix"
)

// TrackerStats counts what a Tracker did.
type TrackerStats struct {
	// Watching is false where inotify cannot be used, because a limit of the kernel's is reached. Then
	// every call scans everything: right, but dear.
	Watching bool
	// FullScans is how often everything was listed, Listings how often a single group was.
	FullScans, Listings int64
	// Overflows is how often the kernel dropped events, which made the next call a full scan.
	Overflows int64
	// Corrected is how often a full scan found something that no event had told of.
	Corrected int64
}

// Tracker follows the groups of pods: inotify tells which groups have others made or removed below them, and
// only those are listed again. A full scan every so many calls is the truth that it is held to. It is not
// safe for concurrent use. Close it.
type Tracker struct {
	host      Host
	fullEvery int
	calls     int
	stats     TrackerStats
	// fd is the inotify queue, and queue the same for who waits for it.
	fd     int
	queue  *os.File
	events []byte
	// paths and watches are the watched groups; listed is what was below each when it was last listed.
	paths   map[int32]string
	watches map[string]int32
	listed  map[string][]child
	// dirty is the groups whose list is not so any more.
	dirty  map[string]bool
	groups Groups
	valid  bool
}

// watchMask is what changes the groups below one. v1 can rename groups.
const watchMask = unix.IN_CREATE | unix.IN_DELETE | unix.IN_MOVED_FROM | unix.IN_MOVED_TO | unix.IN_ONLYDIR

// NewTracker returns a Tracker of h's groups that scans everything at each fullEvery-th call.
func NewTracker(h Host, fullEvery int) *Tracker {
	t := &Tracker{
		host: h, fullEvery: max(fullEvery, 1), fd: -1, events: make([]byte, 64<<10),
		paths: map[int32]string{}, watches: map[string]int32{}, listed: map[string][]child{}, dirty: map[string]bool{},
	}
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err == nil { // else max_user_instances is reached: see TrackerStats.Watching
		t.fd, t.queue, t.stats.Watching = fd, os.NewFile(uintptr(fd), "inotify"), true
	}
	return t
}

// Close stops watching.
func (t *Tracker) Close() {
	if t.fd >= 0 {
		_ = t.queue.Close() // read-only: nothing can be lost
	}
	t.fd, t.stats.Watching = -1, false
}

// Stats is what the Tracker has done so far.
func (t *Tracker) Stats() TrackerStats { return t.stats }

// Groups is every group as of now. The answer is the Tracker's own until the next call: it must not be
// changed. An error means that nothing is known; the next call scans everything.
func (t *Tracker) Groups() (Groups, error) {
	full := t.calls%t.fullEvery == 0
	t.calls++
	groups, _, err := t.refresh(full)
	return groups, err
}

// Latest is Groups for who asks often: it is right as far as events have told, does not count towards the next
// full scan, and says whether anything may have changed since the last call of either. Without inotify it
// knows nothing newer than Groups did.
func (t *Tracker) Latest() (groups Groups, changed bool, err error) {
	if !t.stats.Watching && t.valid {
		return t.groups, false, nil
	}
	return t.refresh(false)
}

// Changes tells that the kernel has events for Latest, a pause after the first of them: a container's group is made in
// one hierarchy after another. It does so until ctx ends or the Tracker is closed, and without inotify never. Whoever is
// told may find that another call has taken the events already.
func (t *Tracker) Changes(ctx context.Context, pause time.Duration) <-chan struct{} {
	changes := make(chan struct{})
	if t.fd < 0 {
		return changes
	}
	conn, err := t.queue.SyscallConn()
	if err != nil {
		return changes
	}
	go func() {
		for conn.Read(readable) == nil { // an error is that of Close
			select {
			case <-time.After(pause):
			case <-ctx.Done():
				return
			}
			select {
			case changes <- struct{}{}:
			case <-ctx.Done():
				return
			}
		}
	}()
	return changes
}

// readable says whether a descriptor can be read now. Where that cannot be told it can: reading says what is wrong.
func readable(fd uintptr) bool {
	n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
	return n > 0 || err != nil
}

// refresh lists what events say has changed, or everything.
func (t *Tracker) refresh(full bool) (Groups, bool, error) {
	full = full || !t.stats.Watching
	dirty, overflow, err := t.drain()
	if err != nil {
		t.Close() // from here on every call scans
		full = true
	}
	full = full || overflow || !t.valid
	if !full && !dirty {
		return t.groups, false, nil
	}
	if full {
		t.stats.FullScans++
		clear(t.listed)
	}
	was, wasValid := t.groups, t.valid
	t.valid = false
	groups, err := t.host.scan(t.list)
	if err != nil {
		return Groups{}, false, err
	}
	if full && !dirty && !overflow && wasValid && t.stats.Watching && !reflect.DeepEqual(was, groups) {
		t.stats.Corrected++
	}
	t.groups, t.valid = groups, true
	return groups, true, nil
}

// drain takes the events that are there. dirty is true when one of them changes anything.
func (t *Tracker) drain() (dirty, overflow bool, err error) {
	if t.fd < 0 {
		return false, false, nil
	}
	for {
		n, err := unix.Read(t.fd, t.events)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EAGAIN):
			return dirty, overflow, nil
		case err != nil:
			return dirty, overflow, fmt.Errorf("reading inotify events: %w", err)
		}
		for b := t.events[:n]; len(b) >= unix.SizeofInotifyEvent; {
			watch, mask := int32(binary.NativeEndian.Uint32(b)), binary.NativeEndian.Uint32(b[4:])
			length := unix.SizeofInotifyEvent + int(binary.NativeEndian.Uint32(b[12:]))
			if length > len(b) {
				return dirty, true, nil // never so; a full scan is right whatever it was
			}
			b = b[length:]
			if mask&unix.IN_Q_OVERFLOW != 0 {
				t.stats.Overflows++
				overflow = true
				continue
			}
			t.event(watch, mask)
			dirty = true
		}
	}
}

// event makes the group that an event is about be listed again.
func (t *Tracker) event(watch int32, mask uint32) {
	group, known := t.paths[watch]
	if !known {
		return
	}
	if mask&unix.IN_IGNORED != 0 { // the group is gone
		delete(t.paths, watch)
		if t.watches[group] != watch {
			return // another group has its path by now, and is watched itself
		}
		delete(t.watches, group)
	}
	t.dirty[group] = true
}

// list gives the groups below one, from memory where nothing has changed.
func (t *Tracker) list(group string) ([]child, error) {
	was, ok := t.listed[group]
	if ok && !t.dirty[group] {
		return was, nil
	}
	t.watch(group) // before listing: what comes in between is told of and listed again
	t.stats.Listings++
	delete(t.listed, group)
	delete(t.dirty, group)
	below, err := t.host.children(group)
	if err != nil {
		return nil, err
	}
	t.forgetChanged(group, was, below)
	t.listed[group] = below
	return below, nil
}

// watch watches a group. A path that is another group by now gets another watch, and what was known below
// the former one is forgotten.
func (t *Tracker) watch(group string) {
	if t.fd < 0 {
		return
	}
	added, err := unix.InotifyAddWatch(t.fd, t.host.Dir("cpu", group), watchMask)
	if errors.Is(err, unix.ENOENT) {
		return // listing it will say so
	}
	if err != nil { // max_user_watches is reached
		t.Close()
		return
	}
	watch := int32(added)
	if was, ok := t.watches[group]; ok && was != watch {
		delete(t.paths, was)
	}
	t.watches[group], t.paths[watch] = watch, group
}

// forgetChanged forgets what was below children of a group that are not the same any more.
func (t *Tracker) forgetChanged(group string, was, now []child) {
	same := make(map[child]bool, len(now))
	for _, c := range now {
		same[c] = true
	}
	for _, c := range was {
		if !same[c] {
			delete(t.listed, path.Join(group, c.name))
		}
	}
}
