// Package systemdnode tests the agent on what most nodes are: a kubelet with real pods on cgroup v2 alone, with
// systemd as the first process and as the cgroup driver.
//
// It has tests only. They run in the guest of package main in test/vm, which boots the host's systemd; containerd, the
// kubelet and the agent run in it, and the control plane on the host, where `make test-systemd` starts it.
//
// Units: milli-cores, bytes.
//
// The trap: the guest is emulated, and ten to thirty times slower than the machine. Whatever waits gets a long patience,
// and no duration measured here says anything about a real node.
package systemdnode
