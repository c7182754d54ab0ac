// Package cgroup reads the kernel's view of a node: where the groups of pods are on cgroup v2, v1 and
// hybrid hosts with the kubelet's cgroupfs and systemd drivers, what their counters say, and what each
// knob of Plimsoll's is called there. It writes nothing (package actuate does) and knows nothing of
// Kubernetes beyond the names that the kubelet gives to groups.
//
// Units: CPU time in microseconds, memory in bytes, PSI totals in microseconds.
//
// The trap: on a hybrid host the controllers are on v1, but PSI of a group exists only in the v2
// hierarchy mounted at "unified", where the container runtime mirrors the group's path.
package cgroup
