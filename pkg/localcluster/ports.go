package localcluster

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// portFree reports whether 127.0.0.1:port, and so the wildcard, can be listened on.
func portFree(port int) bool {
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return !errors.Is(err, syscall.EADDRINUSE)
	}
	return l.Close() == nil
}

// choosePorts gives the API server the port asked for and everything else the next free ones. They are
// kept near the first, below the range from which the kernel takes the source ports of connections:
// such a connection could otherwise hold a component's port just when it restarts.
func choosePorts(first int, free func(int) bool) (Ports, error) {
	next := first
	var err error
	take := func() int {
		for next++; next <= first+500 && next <= 65535; next++ {
			if free(next) {
				return next
			}
		}
		err = fmt.Errorf("no free ports after %d on 127.0.0.1: choose another --port", first)
		return 0
	}
	p := Ports{
		APIServer: first, EtcdClient: take(), EtcdPeer: take(), ControllerManager: take(), Scheduler: take(),
		Kubelet: take(), KubeletHealth: take(), Kwok: take(),
	}
	return p, err
}

// checkPort refuses a port that somebody has, naming them when that can be known.
func checkPort(port int, free func(int) bool, procRoot string) error {
	if free(port) {
		return nil
	}
	who := "another process"
	if owner := portOwner(procRoot, port); owner != "" {
		who = owner
	}
	return fmt.Errorf("port %d is taken by %s: stop it, or choose another with --port", port, who)
}

// portOwner names the process that listens on port: "nginx (pid 12)", or "" when that cannot be seen.
func portOwner(procRoot string, port int) string {
	inodes := map[string]bool{}
	for _, f := range []string{"net/tcp", "net/tcp6"} {
		b, err := os.ReadFile(filepath.Join(procRoot, f))
		if err != nil {
			continue
		}
		for _, inode := range listeningInodes(string(b), port) {
			inodes["socket:["+inode+"]"] = true
		}
	}
	fds, err := filepath.Glob(filepath.Join(procRoot, "[0-9]*", "fd", "*"))
	if err != nil || len(inodes) == 0 {
		return ""
	}
	for _, fd := range fds {
		if target, err := os.Readlink(fd); err == nil && inodes[target] {
			dir := filepath.Dir(filepath.Dir(fd))
			comm, err := os.ReadFile(filepath.Join(dir, "comm"))
			if err != nil {
				continue
			}
			return fmt.Sprintf("%s (pid %s)", strings.TrimSpace(string(comm)), filepath.Base(dir))
		}
	}
	return ""
}

// listeningInodes picks from the text of /proc/net/tcp the sockets that listen on port.
func listeningInodes(text string, port int) []string {
	const listen = "0A"
	var inodes []string
	sc := bufio.NewScanner(strings.NewReader(text))
	for sc.Scan() {
		f := strings.Fields(sc.Text()) // sl local remote st queues timer retrnsmt uid timeout inode
		if len(f) < 10 || f[3] != listen {
			continue
		}
		addr, hex, ok := strings.Cut(f[1], ":")
		// On another address of the machine a port is another port; only 127.0.0.1 and the wildcard are in the way.
		const loopback, mapped = "0100007F", "0000000000000000FFFF00000100007F"
		if addr != loopback && addr != mapped && strings.Trim(addr, "0") != "" {
			continue
		}
		if n, err := strconv.ParseUint(hex, 16, 16); ok && err == nil && int(n) == port {
			inodes = append(inodes, f[9])
		}
	}
	return inodes
}
