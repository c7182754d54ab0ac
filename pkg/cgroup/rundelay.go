package cgroup

import (
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/plimsoll/plimsoll/pkg/usage"
)

// DefaultMostTasks is a bound for RunDelays that costs about a thousandth of a CPU at a reading a second.
const DefaultMostTasks = 128

// RunDelay is how long the tasks of one pod have waited in run queues since it was first read, summed over
// tasks. It is not OK at the first reading, and where the pod has more tasks than one reading may read.
type RunDelay struct {
	// Pod is the index of the pod in what Read was given.
	Pod    int
	Micros usage.Reading
}

// RunDelays reads how long the tasks of pods waited for a CPU. The kernel counts that for each task
// (/proc/TID/schedstat) and not for groups, so a reading costs three system calls a task. A call of Read
// reads a bounded number of tasks, and the pods take turns. What a task waited that began and ended between
// two turns of its pod is not known, and of tasks that never sleep the kernel (6.18) finds some three quarters of what
// they wait: it is a measure of harm and not of time. It is not safe for concurrent use.
type RunDelays struct {
	host      Host
	mostTasks int
	// proc is the descriptor of procfs, -1 where the kernel does not count run delay.
	proc int
	pods map[usage.GroupKey]*podTasks
	// next is the pod whose turn is next, round the number of calls of Read so far.
	next, round int
	results     []RunDelay
	list, stat  buffer
	ids         []int32
	name        [32]byte
}

// podTasks is what is remembered of a pod.
type podTasks struct {
	lists []threadList
	tasks map[int32]taskDelay
	// at is when it was read last; zero when it has not been read, or could not be.
	at     time.Time
	micros int64
	// turn is the number of its last reading, round that of the last call that named it.
	turn, round int
}

// threadList is the open file that lists the threads of a container's group; -1 where it has vanished.
type threadList struct {
	key usage.GroupKey
	fd  int
}

// taskDelay is what a task had waited at a turn of its pod.
type taskDelay struct {
	nanos int64
	turn  int
}

// NewRunDelays returns a RunDelays that reads at most mostTasks tasks at a time.
func NewRunDelays(h Host, mostTasks int) (*RunDelays, error) {
	if mostTasks < 1 {
		return nil, fmt.Errorf("reading run delay: the most tasks of a reading must be 1 or more, not %d", mostTasks)
	}
	r := &RunDelays{host: h, mostTasks: mostTasks, proc: -1, pods: map[usage.GroupKey]*podTasks{}, list: newBuffer(), stat: newBuffer()}
	proc, err := unix.Open(h.ProcRoot, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("reading run delay: opening %s: %w", h.ProcRoot, err)
	}
	// A kernel that does not count has no such file, or says of everybody, also of us, that it never ran.
	r.proc = proc
	if ran, _, ok := r.taskStat(1); !ok || ran == 0 {
		r.Close()
	}
	return r, nil
}

// Supported says whether the kernel counts run delay at all.
func (r *RunDelays) Supported() bool { return r.proc >= 0 }

// Close closes everything that is held.
func (r *RunDelays) Close() {
	for key := range r.pods {
		r.forget(key)
	}
	if r.proc >= 0 {
		_ = unix.Close(r.proc) // read-only
		r.proc = -1
	}
}

func (r *RunDelays) forget(key usage.GroupKey) {
	for _, l := range r.pods[key].lists {
		l.close()
	}
	delete(r.pods, key)
}

func (l threadList) close() {
	if l.fd >= 0 {
		_ = unix.Close(l.fd) // read-only
	}
}

// Read reads pods whose turn it is, and forgets those that are not in pods. What it returns holds until the
// next call; pods that are not in it were not read.
func (r *RunDelays) Read(now time.Time, pods []Pod) []RunDelay {
	r.results = r.results[:0]
	if r.proc < 0 {
		return nil
	}
	r.round++
	for i := range pods {
		key := usage.GroupKey{Path: pods[i].Path, ID: pods[i].GroupID}
		p := r.pods[key]
		if p == nil {
			p = &podTasks{tasks: map[int32]taskDelay{}}
			r.pods[key] = p
		}
		p.round = r.round
	}
	for key, p := range r.pods {
		if p.round != r.round {
			r.forget(key)
		}
	}
	left := r.mostTasks
	for range pods {
		i := r.next % len(pods)
		p := r.pods[usage.GroupKey{Path: pods[i].Path, ID: pods[i].GroupID}]
		p.follow(r.host, pods[i].Containers)
		if !r.listTasks(p) || len(r.ids) > r.mostTasks {
			// Unknown, and unknown until it has been read twice again: a growth across the gap would hide it.
			p.at, p.micros = time.Time{}, 0
			left -= len(p.lists)
			clear(p.tasks)
			r.results, r.next = append(r.results, RunDelay{Pod: i}), i+1
			continue
		}
		// A list costs about what a task does.
		if left -= len(r.ids) + len(p.lists); left < 0 && len(r.results) > 0 {
			break // its turn is the next call's first
		}
		r.results, r.next = append(r.results, RunDelay{Pod: i, Micros: r.readPod(p, now)}), i+1
	}
	return r.results
}

// follow opens the lists of containers that are new, and closes those of containers that are gone.
func (p *podTasks) follow(h Host, containers []Container) {
	same := len(p.lists) == len(containers)
	for i := 0; same && i < len(containers); i++ {
		same = p.lists[i].key == usage.GroupKey{Path: containers[i].Path, ID: containers[i].GroupID}
	}
	if same {
		return
	}
	for _, l := range p.lists {
		l.close()
	}
	p.lists = p.lists[:0]
	for _, c := range containers {
		file := threadsFileV1
		if h.Mode == V2 {
			file = threadsFileV2
		}
		fd, err := unix.Open(filepath.Join(h.Dir("cpu", c.Path), file), unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			fd = -1 // vanished: the next scan has other containers
		}
		p.lists = append(p.lists, threadList{usage.GroupKey{Path: c.Path, ID: c.GroupID}, fd})
	}
}

// listTasks puts the pod's tasks into r.ids. It returns false where they cannot be told.
func (r *RunDelays) listTasks(p *podTasks) bool {
	r.ids = r.ids[:0]
	for i, l := range p.lists {
		if l.fd < 0 {
			continue
		}
		b, err := r.list.pread(l.fd, true)
		if errors.Is(err, unix.ENODEV) { // the container has ended
			l.close()
			p.lists[i].fd = -1
			continue
		}
		var ok bool
		if err != nil {
			return false
		}
		if r.ids, ok = parseTaskIDs(b, r.ids); !ok {
			return false
		}
	}
	return true
}

// readPod reads the tasks in r.ids and adds what they waited since the pod's last turn.
func (r *RunDelays) readPod(p *podTasks, now time.Time) usage.Reading {
	p.turn++
	elapsed := now.Sub(p.at)
	var nanos int64
	for _, id := range r.ids {
		_, delay, ok := r.taskStat(id)
		if !ok {
			continue // it ended meanwhile
		}
		before, known := p.tasks[id]
		switch {
		case known && delay >= before.nanos:
			nanos += delay - before.nanos
		case delay <= int64(elapsed):
			// It began since the last turn, also where it has the number of one that ended. One that has waited
			// longer than that came from another group, and what it waited there is not this pod's.
			nanos += delay
		}
		p.tasks[id] = taskDelay{nanos: delay, turn: p.turn}
	}
	if len(p.tasks) > len(r.ids) {
		for id, t := range p.tasks {
			if t.turn != p.turn {
				delete(p.tasks, id)
			}
		}
	}
	first := p.at.IsZero() || elapsed <= 0
	p.at = now
	if first {
		return usage.Reading{}
	}
	p.micros += nanos / 1000
	return usage.Of(p.micros)
}

// taskStat reads how long a task has run and has waited, in nanoseconds.
func (r *RunDelays) taskStat(id int32) (ran, waited int64, ok bool) {
	name := append(strconv.AppendInt(r.name[:0], int64(id), 10), "/schedstat\x00"...)
	// unix.Openat would make a string and then bytes of it, once for each task.
	fd, _, errno := unix.Syscall6(unix.SYS_OPENAT, uintptr(r.proc), uintptr(unsafe.Pointer(&name[0])), unix.O_RDONLY|unix.O_CLOEXEC, 0, 0, 0)
	if errno != 0 {
		return 0, 0, false
	}
	b, err := r.stat.pread(int(fd), false)
	_ = unix.Close(int(fd)) // read-only
	if err != nil {
		return 0, 0, false
	}
	return parseTaskSchedstat(b)
}
