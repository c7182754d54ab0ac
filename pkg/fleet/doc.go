// Package fleet reads NodeUtilization objects from the API server and lays them out for a person: a row for each
// node, and totals that say what they are without.
//
// It decides nothing and keeps no history: see package planner for what is worked out over a period.
//
// Units: CPU in thousandths of a core, memory in bytes, pressure in permille, ages in seconds.
//
// The trap: an age is between two clocks, the node's and that of who asks.
package fleet
