// Package actuate carries a Plan out: it is the only package that writes to the kernel. Before the
// first write of a knob it journals what was there, so that Release can put everything back; after
// each write it reads back what the kernel made of it. What may block is written on a goroutine of its
// own, and told of later.
//
// It decides nothing (package qos does) and knows nothing of Kubernetes.
//
// Units: values are text in the knob's neutral unit (package cgroup's knob table); the journal keeps
// the kernel's own text.
//
// The trap: kernel files are written with open(2) and one write(2) without O_CREAT. os.WriteFile would
// create (cgroup v1 answers EACCES, not ENOENT) and may park for ever on a file that answers EAGAIN.
package actuate
