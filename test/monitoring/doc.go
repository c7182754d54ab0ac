// Package monitoring tests what manifests/monitoring gives to a Prometheus and a Grafana, with a real Prometheus and its
// promtool. There is nothing in it but tests.
//
// The trap: a query that selects nothing is right to Prometheus, so each is asked of a history in which it must find
// something.
package monitoring
