package cluster

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/plimsoll/plimsoll/pkg/localcluster"
)

// nobody is a user without rights and, on common distributions, with this number.
const nobody = 65534

func asNobody(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	cmd.Env = []string{"PATH=/usr/bin:/bin", "HOME=/nonexistent"}
}

// TestUpRefusesWhatCannotWork wants one line with the remedy, a failing exit status, and nothing left.
func TestUpRefusesWhatCannotWork(t *testing.T) {
	needRoot(t)
	bin := binDir(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	taken := strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
	for name, tc := range map[string]struct {
		args []string
		// before is run by a shell in a mount namespace of its own; $PLACE is the folder.
		before string
		nobody bool
		want   []string
	}{
		"not root":         {nobody: true, want: []string{"root", "sudo", "--control-plane-only"}},
		"port taken":       {args: []string{"--port", taken}, want: []string{"port " + taken, "cluster.test (pid", "--port"}},
		"disk full":        {before: `mount -n -t tmpfs -o size=64m none "$PLACE"`, want: []string{"only 64 MiB free", "3072 MiB needed", "--dir"}},
		"no overlayfs":     {before: `mkdir -p "$PLACE"/l "$PLACE"/u "$PLACE"/w "$PLACE"/m && mount -n -t overlay -o "lowerdir=$PLACE/l,upperdir=$PLACE/u,workdir=$PLACE/w" none "$PLACE/m" && PLACE=$PLACE/m`, want: []string{"no overlayfs on", "modprobe overlay", "--dir"}},
		"somebody's files": {before: `mkdir -p "$PLACE/c/photos"`, want: []string{"holds other files", "--dir"}},
		"a port of no use": {args: []string{"--port", "80"}, want: []string{"--port 80", "between 1024 and 65000"}},
	} {
		t.Run(name, func(t *testing.T) {
			place := shortDir(t)
			if err := os.Chmod(place, 0o755); err != nil {
				t.Fatal(err)
			}
			before := takeSnapshot(t, filepath.Join(place, "c"), bin)
			script := tc.before + "\n" + `exec "$0" up --dir "$PLACE/c" "$@"`
			cmd := exec.Command("/bin/sh", append([]string{"-ec", script, filepath.Join(readableBin(t, bin, tc.nobody), "plimsoll-local"), "--port", strconv.Itoa(freeBlock(t, 16443))}, tc.args...)...)
			if tc.nobody {
				asNobody(cmd)
			} else {
				cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
				cmd.Env = os.Environ()
			}
			cmd.Env = append(cmd.Env, "PLACE="+place)
			out, err := cmd.CombinedOutput()
			var exit *exec.ExitError
			if !errors.As(err, &exit) || exit.ExitCode() != 1 {
				t.Errorf("exit: %v, want status 1", err)
			}
			if n := strings.Count(strings.TrimSpace(string(out)), "\n"); n != 0 {
				t.Errorf("%d lines of output, want one:\n%s", n+1, out)
			}
			for _, want := range tc.want {
				if !strings.Contains(string(out), want) {
					t.Errorf("output does not say %q:\n%s", want, out)
				}
			}
			wantAsBefore(t, before, filepath.Join(place, "c"), bin)
			if _, err := os.Stat(filepath.Join(place, "c", "instance.json")); err == nil {
				t.Error("an instance was left")
			}
		})
	}
}

// readableBin is bin, or a copy of what a control plane needs, when others cannot get at it.
func readableBin(t *testing.T, bin string, forNobody bool) string {
	t.Helper()
	if !forNobody {
		return bin
	}
	test := exec.Command("/usr/bin/test", "-x", filepath.Join(bin, "plimsoll-local"))
	asNobody(test)
	if test.Run() == nil {
		return bin
	}
	dir := shortDir(t)
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, p := range localcluster.Parts() {
		if p.Node {
			continue
		}
		if err := copyFile(filepath.Join(bin, p.Name), filepath.Join(dir, p.Name)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func copyFile(from, to string) error {
	if os.Link(from, to) == nil {
		return nil
	}
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(dst, src)
	return errors.Join(err, dst.Close())
}

// TestControlPlaneWithoutRoot runs the whole of --control-plane-only as nobody, with simulated nodes.
func TestControlPlaneWithoutRoot(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("acting as another user needs root; every other test of a control plane covers this one when not root")
	}
	bin := binDir(t)
	place := shortDir(t)
	if err := os.Chown(place, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(place, "c")
	before := takeSnapshot(t, dir, bin)
	usable := readableBin(t, bin, true)
	run := func(args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), filepath.Join(usable, "plimsoll-local"), append(args, "--dir", dir)...)
		asNobody(cmd)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("plimsoll-local %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return string(out)
	}
	t.Cleanup(func() {
		if err := localcluster.Down(context.Background(), dir, nil); err != nil {
			t.Errorf("down: %v", err)
		}
	})
	scheduler := filepath.Join(place, "scheduler.yaml")
	if err := os.WriteFile(scheduler, []byte("apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Log(run("up", "--control-plane-only", "--port", strconv.Itoa(freeBlock(t, 16443)), "--simulated-nodes", "20", "--scheduler-config", scheduler))
	for _, want := range []string{"state            up", "20 of 20 ready"} {
		if out := run("status"); !strings.Contains(out, want) {
			t.Errorf("status does not say %q:\n%s", want, out)
		}
	}
	t.Log(run("down"))
	wantAsBefore(t, before, dir, bin)
}
