// Package history keeps what nodes and workloads used over time, and reads it back with PromQL: from a Prometheus
// over its HTTP API, or from an embedded Prometheus TSDB that plimsoll record fills. The same queries serve both,
// for both hold the same series; manifests/monitoring/rules.yaml makes a Prometheus record them.
//
// It is for the command line: Prometheus' code must not be linked into what runs on a node.
//
// Units: cores, bytes and shares, as Prometheus has them; times in milliseconds since 1970.
//
// The trap: a sample says what was so at its time. Between two samples nothing is known, and nothing is filled in.
package history
