// Package guard is the second process on a node: it applies the plan that protects the online side without
// measurements when the agent's loop stops going round, whatever has happened to the agent.
//
// Whatever the agent gives batch work beyond that plan is a lease, which each round of its loop renews by a
// beat in a file. The guard counts its own looks at that file, not a clock: a machine that was paused has
// missed no look.
//
// It takes back, and never begins: it writes only knobs whose originals the agent has journaled, so that a
// release restores them too. It reads no measurements and talks to no API server.
package guard
