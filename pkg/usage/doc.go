// Package usage turns raw counters into rates: what a node, its classes and its pods use, over a
// sliding window; and keeps what the online work of a node used by the time of day, to forecast its peak.
// It is pure: no file, no clock, no network; time comes in with each Sample.
//
// It does not read the kernel (package cgroup does) and does not decide anything (package qos does).
//
// Units: CPU time in microseconds, CPU use in thousandths of a core (MilliCPU), memory in bytes,
// pressure in thousandths of wall time (Permille).
//
// The trap: a Reading that is not OK was not measured. It is not zero, and nothing computed from it is OK.
package usage
