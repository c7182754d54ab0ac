// Package kernel tests packages cgroup and actuate on the real control groups of the machine it runs
// on: counters against what processes really used, knobs against what the kernel makes of them. It has
// tests only, and they need root. The mode is the machine's: v1, hybrid or v2; package main in test/vm
// brings a v2 machine anywhere.
//
// Every test makes a tree like a kubelet's below /plimsoll-test-<pid>, in each hierarchy that it uses,
// and removes it whatever becomes of the test. No other group is written to.
//
// Units: CPU time in microseconds, memory in bytes.
//
// The trap: a process in a group with cpu.idle=1 on a busy machine may get no CPU at all, not even to
// end itself: the flag is taken back before anything is waited for.
package kernel
