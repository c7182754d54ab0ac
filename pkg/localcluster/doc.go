// Package localcluster runs a real one-machine Kubernetes: etcd, kube-apiserver,
// kube-controller-manager, plimsoll-scheduler, containerd with runc, and a kubelet, each an unmodified
// binary built from Go modules, kept running by one supervisor process. It is for demos, tests and
// trying things out; it is no way to run a cluster that anybody depends on.
//
// All of an instance's state is below one directory. Its node lives in a private mount namespace in
// which /run, /var/log and /var/lib are folders of that directory, so pods see a node with the usual
// paths and the host sees no mount. Its processes carry PLIMSOLL_LOCAL_DIR in their environment and
// sit in a cgroup of the instance's own. Those two marks, not a list of process ids, are how Down finds
// everything, whatever died before.
//
// Ports are on 127.0.0.1; the node and the kubernetes service have addresses of the instance's own on
// the loopback interface. Durations are time.Duration, sizes are bytes.
//
// The trap: whoever starts a component must do it on the supervisor's locked threads. A parent-death
// signal fires when the starting thread ends, not when the process does.
package localcluster
