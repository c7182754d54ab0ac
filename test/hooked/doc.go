// Package hooked tests package runtimehook with a real containerd and runc on a machine of pure cgroup v2, such
// as the guest of package main in test/vm, and without a kubelet: it asks the runtime as a kubelet would.
//
// It has tests only. They need root, cgroup v2, and containerd, its shim, runc and pause in /bin, which vmrun's
// -programs puts there; test/cluster has the hook on whatever the machine itself is, with a kubelet. The driver is
// cgroupfs: systemd's needs a machine that runs systemd.
//
// Units: bytes, microseconds of CPU time.
//
// The trap: time in the guest is counted in instructions, so whatever waits gets a long patience.
package hooked
