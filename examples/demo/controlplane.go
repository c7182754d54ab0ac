package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/plimsoll/plimsoll/pkg/cgroup"
)

// systemShares is the weight, in cpu.shares, that the cluster's processes outside pods have during a
// window. The kubelet gives all pods together 1024 a CPU, and what runs outside pods has 1024 whatever the
// size of the node: on 2 CPUs a third, and here that includes a control plane which in a real cluster is
// on other machines. During a window it is a sixteenth of the pods' weight, as on a node of 16 CPUs.
// Batch makes that difference visible: it is charged to the pods, so once pods are never idle the service
// has to wait for the control plane.
func systemShares(cpus int) int { return min(1024*cpus/16, 1024) }

// holdSystem gives the cluster's processes outside pods that weight, in every arm alike, until restore
// is called. Between windows they have their own: pods could not start in time beside batch without.
func holdSystem(host cgroup.Host, cgroupRoot string) (restore func() error, err error) {
	shares := systemShares(onlineCPUs())
	// cpu.weight 100 and cpu.shares 1024 are the same: the default.
	for file, weight := range map[string]int{"cpu.shares": shares, "cpu.weight": max(shares*100/1024, 1)} {
		path := filepath.Join(host.Dir("cpu", cgroupRoot), "system", file)
		before, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue // the other cgroup version's file
		}
		if err != nil {
			return nil, fmt.Errorf("reading the weight of the control plane: %w", err)
		}
		if err := writeKernelFile(path, strconv.Itoa(weight)); err != nil {
			return nil, fmt.Errorf("holding the control plane: %w", err)
		}
		return func() error { return writeKernelFile(path, strings.TrimSpace(string(before))) }, nil
	}
	return nil, fmt.Errorf("holding the control plane: %s/system has no weight", cgroupRoot)
}
