// Package agent is the loop that runs on each node: it reads the kernel, turns counters into rates,
// asks the strategies what should be so, writes what is not, and publishes what it saw and did.
//
// One goroutine and one ticker drive sense, decide, act and publish in that order. Beside it run only
// the runtime hook, the watch of this node's pods, the writer to the API server, which may be slow,
// and the HTTP server.
//
// Units are those of packages usage and v1alpha1.
//
// The trap: stopping the agent must not release anything. Kernel settings outlive it on purpose, so
// that a crash or an upgrade leaves the node protected; release is a command of its own.
package agent
