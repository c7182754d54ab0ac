// Command capturenode prints what a node's kernel says about its pods, as one txtar file for
// pkg/cgroup/testdata. hack/capture-node.sh runs it.
package main

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/tools/txtar"

	"github.com/plimsoll/plimsoll/pkg/cgroup"
	"github.com/plimsoll/plimsoll/test/captured"
)

func main() {
	procRoot := flag.String("proc", "/proc", "where procfs is mounted")
	fsRoot := flag.String("cgroup-fs", "/sys/fs/cgroup", "where the cgroup hierarchies are mounted")
	kubelet := flag.String("kubelet-cgroup-root", "/", "the kubelet's setting cgroupRoot")
	note := flag.String("note", "", "what to say of the node in the first line, beside its kernel, mode and driver")
	flag.Parse()
	if err := run(*procRoot, *fsRoot, *kubelet, *note); err != nil {
		fmt.Fprintln(os.Stderr, "capture-node:", err)
		os.Exit(1)
	}
}

func run(procRoot, fsRoot, kubelet, note string) error {
	h, err := cgroup.Detect(procRoot, fsRoot, kubelet)
	if err != nil {
		return err
	}
	kernel, err := h.KernelVersion()
	if err != nil {
		return err
	}
	comment := fmt.Sprintf("Captured by hack/capture-node.sh on %s: Linux %s, cgroup %s, driver %s, kubepods at %s. %s",
		time.Now().UTC().Format(time.DateOnly), kernel, h.Mode, h.Driver, h.Kubepods, note)
	a, err := captured.Capture(h, strings.TrimSpace(comment))
	if err != nil {
		return err
	}
	_, err = os.Stdout.Write(txtar.Format(a))
	return err
}
