// Package probe finds out what a host can do by trying it in a group of its own, which it makes beside the
// kubelet's and removes again: each knob is written and read back, PSI and its triggers are opened, and
// cpu.idle is put to the test with tasks that really run. It touches no other group, so it may run on a
// node that is only observed. Versions are not asked: distributions carry features back, and switch them off.
//
// It writes to the kernel, so it is below package actuate. It decides nothing.
//
// Units: latencies in microseconds.
//
// The trap: the test of cpu.idle keeps one CPU busy for most of a second. It does so in a group that is
// itself idle at the node's level, so that it takes nothing from anybody; on a busy node it then learns
// nothing and says Unknown.
package probe
