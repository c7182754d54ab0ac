package localcluster

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestPortsAreTheNextFreeOnes(t *testing.T) {
	taken := []int{6445, 6446}
	got, err := choosePorts(6443, func(p int) bool { return !slices.Contains(taken, p) })
	want := Ports{APIServer: 6443, EtcdClient: 6444, EtcdPeer: 6447, ControllerManager: 6448, Scheduler: 6449, Kubelet: 6450, KubeletHealth: 6451, Kwok: 6452}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("ports (-want +got):\n%s%v", diff, err)
	}
	if _, err := choosePorts(6443, func(int) bool { return false }); err == nil || !strings.Contains(err.Error(), "--port") {
		t.Errorf("got error %v, want one that names --port", err)
	}
}

func TestATakenPortIsToldWithItsOwner(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	port := l.Addr().(*net.TCPAddr).Port
	err = checkPort(port, portFree, "/proc")
	if want := fmt.Sprintf("(pid %d)", os.Getpid()); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got error %v, want one that names this process as %s", err, want)
	}
}

func TestListeningSocketsAreReadFromTheKernelsTable(t *testing.T) {
	table := `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:192B 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1111 1 0 100 0 0 10 0
   1: 0100007F:192B 0100007F:D431 01 00000000:00000000 00:00000000 00000000     0        0 2222 1 0 100 0 0 10 0
   2: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 3333 1 0 100 0 0 10 0
   3: 0102630A:192B 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4444 1 0 100 0 0 10 0
`
	f := func(port int, want []string) {
		t.Helper()
		if diff := cmp.Diff(want, listeningInodes(table, port)); diff != "" {
			t.Errorf("port %d (-want +got):\n%s", port, diff)
		}
	}
	f(6443, []string{"1111"}) // 0x192B; the second line is a connection, the fourth on another address
	f(22, []string{"3333"})
	f(80, nil)
}

func TestAddressesKeepClearOfTheHosts(t *testing.T) {
	const dir = "/some/dir"
	free, err := chooseBlock(dir, []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("192.168.0.0/16")})
	if err != nil || free.Block < 64 || free.Block > 255 {
		t.Fatalf("block %d (%v), want one of 64 to 255", free.Block, err)
	}
	again, err := chooseBlock(dir, nil)
	if err != nil || again != free {
		t.Errorf("block %d the second time (%v), want %d again", again.Block, err, free.Block)
	}
	other, err := chooseBlock(dir, []netip.Prefix{netip.PrefixFrom(free.NodeIP(), 32)})
	if err != nil || other == free {
		t.Errorf("block %d although the host has %s (%v)", other.Block, free.NodeIP(), err)
	}
	if _, err := chooseBlock(dir, []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}); err == nil {
		t.Error("a block was found in a network that the host has all of")
	}
}

// fakeProcess writes what is read of a process below a /proc of the test's own.
func fakeProcess(t *testing.T, root string, pid int, environ, stat string) {
	t.Helper()
	dir := filepath.Join(root, strconv.Itoa(pid))
	if err := errors.Join(os.MkdirAll(dir, 0o755), os.WriteFile(filepath.Join(dir, "environ"), []byte(environ), 0o644),
		os.WriteFile(filepath.Join(dir, "stat"), []byte(stat), 0o644)); err != nil {
		t.Fatal(err)
	}
}

func TestProcessesAreFoundByTheirMark(t *testing.T) {
	root := t.TempDir()
	fakeProcess(t, root, 10, "A=b\x00PLIMSOLL_LOCAL_DIR=/x/c\x00", "")
	fakeProcess(t, root, 11, "PLIMSOLL_LOCAL_DIR=/x/c", "")
	fakeProcess(t, root, 12, "PLIMSOLL_LOCAL_DIR=/x/cd\x00", "")
	fakeProcess(t, root, 13, "NOT_PLIMSOLL_LOCAL_DIR=/x/c\x00", "")
	fakeProcess(t, root, 14, "", "")
	fakeProcess(t, root, os.Getpid(), "PLIMSOLL_LOCAL_DIR=/x/c\x00", "")
	if diff := cmp.Diff([]int{10, 11}, markedPIDs(root, "/x/c")); diff != "" {
		t.Errorf("processes (-want +got):\n%s", diff)
	}
	if others := otherInstances(root, "/x/c"); len(others) != 0 {
		t.Errorf("an instance without a file was read: %v", others)
	}
}

func TestAZombieIsNotAlive(t *testing.T) {
	root := t.TempDir()
	fakeProcess(t, root, 1, "", "1 (odd) name) S 0 1 1")
	fakeProcess(t, root, 2, "", "2 (done) Z 0 1 1")
	f := func(pid int, want bool) {
		t.Helper()
		if got := alive(root, pid); got != want {
			t.Errorf("process %d alive: %t, want %t", pid, got, want)
		}
	}
	f(1, true)
	f(2, false)
	f(3, false)
}

func TestASecondInstanceRecordsTheSettingsFromBeforeTheFirst(t *testing.T) {
	root := t.TempDir()
	if err := errors.Join(os.MkdirAll(filepath.Join(root, "sys", "kernel"), 0o755),
		os.WriteFile(filepath.Join(root, "sys", "kernel", "panic"), []byte("10\n"), 0o644)); err != nil {
		t.Fatal(err)
	}
	alone, err := readSysctls(root, nil)
	if diff := cmp.Diff(map[string]string{"kernel/panic": "10"}, alone); diff != "" || err != nil {
		t.Errorf("settings (-want +got):\n%s%v", diff, err)
	}
	before := map[string]string{"kernel/panic": "0"}
	beside, err := readSysctls(root, []*Instance{{ControlPlaneOnly: true}, {Sysctls: before}})
	if diff := cmp.Diff(before, beside); diff != "" || err != nil {
		t.Errorf("settings beside another instance (-want +got):\n%s%v", diff, err)
	}
	if err := restoreSysctls(root, before); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(filepath.Join(root, "sys", "kernel", "panic")); err != nil || !strings.HasPrefix(string(b), "0") {
		t.Errorf("restored to %q (%v), want 0", b, err)
	}
}

func TestMountsBelowADirectoryAreFound(t *testing.T) {
	info := "1 0 8:1 / / rw - ext4 a rw\n2 1 0:5 / /x/c/a rw - tmpfs t rw\n3 2 0:6 / /x/c/a/b\\040c rw - tmpfs t rw\n4 1 0:7 / /x/cd rw - tmpfs t rw\n"
	if diff := cmp.Diff([]string{"/x/c/a", "/x/c/a/b c"}, mountsBelow(info, "/x/c")); diff != "" {
		t.Errorf("mounts (-want +got):\n%s", diff)
	}
}
