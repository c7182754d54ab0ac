// Package cluster tests against real processes: an API server with its etcd, and, as root, a kubelet with
// containerd and real pods. Binaries come from the folder that PLIMSOLL_BIN names, ../../bin by
// default; `make parts build` makes them. There is nothing in it but tests.
//
// Times are generous, because the machine may be busy; no test waits for time to pass. The trap: tests
// that compare the machine before and after can only see what is theirs, so nothing here runs in parallel.
package cluster
