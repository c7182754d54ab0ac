// Package scheduler measures what LoadAware costs a whole scheduler, with the harness that Kubernetes
// measures its own scheduler with: a real API server and etcd, thousands of nodes that exist as objects.
// There is nothing in it but benchmarks; `make bench-scheduler` runs them.
//
// Each workload is run with the default profile and with LoadAware enabled in it, turn about, so that a
// machine that becomes slower meanwhile does so for both.
package scheduler
