package cgroup

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/plimsoll/plimsoll/pkg/qos"
)

// Cookie is the core scheduling cookie of a thread, 0 where it has none: two threads run on one core at the same time
// only where theirs are equal. Thread 0 is the one that calls. The error is ErrUnsupported where the kernel has no
// cookies, or the CPUs run one thread a core.
func Cookie(thread int) (cookie uint64, err error) {
	// Not unix.Prctl: the kernel writes to where cookie is, which may be moved before a function of Go is entered.
	_, _, errno := unix.Syscall6(unix.SYS_PRCTL, unix.PR_SCHED_CORE, unix.PR_SCHED_CORE_GET, uintptr(thread), unix.PR_SCHED_CORE_SCOPE_THREAD,
		uintptr(unsafe.Pointer(&cookie)), 0)
	switch errno {
	case 0:
		return cookie, nil
	case unix.EINVAL:
		return 0, fmt.Errorf("reading a thread's core cookie: %w: a kernel before 5.14, or without CONFIG_SCHED_CORE: %w", ErrUnsupported, errno)
	case unix.ENODEV:
		return 0, fmt.Errorf("reading a thread's core cookie: %w: the CPUs run one thread a core: %w", ErrUnsupported, errno)
	case unix.EPERM:
		return 0, fmt.Errorf("reading the core cookie of thread %d: %w (the agent needs CAP_SYS_PTRACE)", thread, errno)
	default:
		return 0, fmt.Errorf("reading the core cookie of thread %d: %w", thread, errno)
	}
}

// ThreadsBelow lists the threads of the group whose directory is dir, and of all groups below it: a container may
// have made some of its own. Groups that vanish meanwhile are left out.
func ThreadsBelow(dir, file string) ([]int, error) {
	ids, err := Threads(dir, file)
	if err != nil {
		return nil, err
	}
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err == nil && st.Nlink == 2 { // the kernel counts a link for each group below
		return ids, nil
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return ids, nil //nolint:nilerr // it vanished, and its threads with it
	}
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		below, err := ThreadsBelow(filepath.Join(dir, e.Name()), file)
		if errors.Is(err, ErrHiddenThreads) {
			return nil, err
		}
		ids = append(ids, below...)
	}
	return ids, nil
}

// readCookies finds out whether the threads of a group have cookies, as a value of qos.CoreCookie.
func readCookies(dir, file string) (string, error) {
	if _, err := Cookie(0); err != nil {
		return "", err
	}
	ids, err := ThreadsBelow(dir, file)
	if err != nil {
		return "", err
	}
	with, without := 0, 0
	for _, id := range ids {
		switch cookie, err := Cookie(id); {
		case errors.Is(err, unix.ESRCH): // it ended meanwhile
		case err != nil:
			return "", err
		case cookie == 0:
			without++
		default:
			with++
		}
	}
	switch {
	case with == 0 && without == 0:
		return qos.CookieNoThreads, nil
	case with == 0:
		return qos.CookieNone, nil
	case without == 0:
		return qos.CookieOwn, nil
	}
	return qos.CookieSome, nil
}

// cookieCodec translates qos.CoreCookie. What is read and cannot be asked for is kept as it is; restoring it
// takes no cookie away, since those that were there cannot be told from those that were given.
func cookieCodec() codec {
	return codec{
		canonical: func(_ Mode, value string) (string, error) {
			if value != qos.CookieNone && value != qos.CookieOwn {
				return "", fmt.Errorf("must be %q or %q", qos.CookieNone, qos.CookieOwn)
			}
			return value, nil
		},
		encode: func(mode Mode, value string, _ Raw) ([]FileText, error) {
			if value != qos.CookieNone {
				value = qos.CookieOwn
			}
			if mode == V2 {
				return []FileText{{File: threadsFileV2, Text: value}}, nil
			}
			return []FileText{{File: threadsFileV1, Text: value}}, nil
		},
		decode: func(_ Mode, raw Raw) (string, error) {
			switch raw[0] {
			case qos.CookieNone, qos.CookieOwn, qos.CookieSome, qos.CookieNoThreads:
				return raw[0], nil
			}
			return "", errors.New("no state of cookies")
		},
		shift: func(_, to string) Shift { // called with two that differ
			if to == qos.CookieOwn {
				return Tighter
			}
			return Wider
		},
		lossless: true,
	}
}
