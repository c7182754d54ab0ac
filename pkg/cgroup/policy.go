package cgroup

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/plimsoll/plimsoll/pkg/qos"
)

// The files that list the threads of a group. The scheduling policy is no file: it is a property of each
// thread (sched_setattr(2)), which a thread gives to those that it starts.
const (
	threadsFileV1 = "tasks"
	threadsFileV2 = "cgroup.threads"
)

// ErrHiddenThreads means that a group has threads that this process has no number for.
var ErrHiddenThreads = errors.New("the group's threads are in another PID namespace: the agent's pod needs hostPID: true")

// IsThreadList says whether a knob's file is one that lists threads.
func IsThreadList(file string) bool { return file == threadsFileV1 || file == threadsFileV2 }

// Threads lists the threads of the group whose directory is dir.
func Threads(dir, file string) ([]int, error) {
	b, err := os.ReadFile(filepath.Join(dir, file))
	if err != nil {
		return nil, err
	}
	var ids []int
	for field := range strings.FieldsSeq(string(b)) {
		id, err := strconv.Atoi(field)
		if err != nil || id < 0 {
			return nil, fmt.Errorf("%s says %q: no thread's number", file, clip(field))
		}
		if id == 0 {
			return nil, ErrHiddenThreads
		}
		ids = append(ids, id)
	}
	return ids, nil
}

// readPolicy finds out the scheduling policy of a group's threads, as a value of qos.CPUPolicy.
func readPolicy(dir, file string) (string, error) {
	ids, err := Threads(dir, file)
	if err != nil {
		return "", err
	}
	other, priorities := false, []int{}
	for _, id := range ids {
		attr, err := unix.SchedGetAttr(id, 0)
		switch {
		case errors.Is(err, unix.ESRCH): // it ended meanwhile
			continue
		case err != nil:
			return "", fmt.Errorf("reading the scheduling policy of thread %d: %w", id, err)
		}
		switch attr.Policy {
		case unix.SCHED_NORMAL, unix.SCHED_BATCH:
			other = true
		case unix.SCHED_RR:
			priorities = append(priorities, int(attr.Priority))
		default:
			return qos.PolicyOwn, nil
		}
	}
	slices.Sort(priorities)
	switch priorities = slices.Compact(priorities); {
	case len(priorities) > 1:
		return qos.PolicyOwn, nil
	case len(priorities) == 1 && other:
		return qos.RoundRobin(priorities[0]) + someThreads, nil
	case len(priorities) == 1:
		return qos.RoundRobin(priorities[0]), nil
	case other:
		return qos.PolicyOther, nil
	}
	return qos.PolicyNoThreads, nil
}

// someThreads follows a policy that not every thread has.
const someThreads = ", some"

// ParsePolicy is the policy and priority that a value of qos.CPUPolicy asks for.
func ParsePolicy(value string) (policy uint32, priority uint32, err error) {
	if value == qos.PolicyOther {
		return unix.SCHED_NORMAL, 0, nil
	}
	digits, ok := strings.CutPrefix(value, "rr ")
	if n, err := strconv.ParseUint(digits, 10, 8); ok && err == nil && n >= 1 && n <= 99 {
		return unix.SCHED_RR, uint32(n), nil
	}
	return 0, 0, fmt.Errorf(`must be %q or "rr 1" to "rr 99"`, qos.PolicyOther)
}

// policyCodec translates qos.CPUPolicy. What is read and cannot be asked for, "own" and the like, is kept
// as it is; restoring it gives every thread the fair policy.
func policyCodec() codec {
	return codec{
		canonical: func(_ Mode, value string) (string, error) {
			_, _, err := ParsePolicy(value)
			return value, err
		},
		encode: func(mode Mode, value string, _ Raw) ([]FileText, error) {
			if _, _, err := ParsePolicy(value); err != nil {
				value = qos.PolicyOther
			}
			if mode == V2 {
				return []FileText{{File: threadsFileV2, Text: value}}, nil
			}
			return []FileText{{File: threadsFileV1, Text: value}}, nil
		},
		decode: func(_ Mode, raw Raw) (string, error) {
			if raw[0] == qos.PolicyOwn || raw[0] == qos.PolicyNoThreads {
				return raw[0], nil
			}
			_, _, err := ParsePolicy(strings.TrimSuffix(raw[0], someThreads))
			return raw[0], err
		},
		shift: func(_, to string) Shift {
			if to == qos.PolicyOther {
				return Tighter
			}
			return Wider
		},
		lossless: true,
	}
}
