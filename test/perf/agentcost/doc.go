// Package agentcost measures what the agent costs on a node of 150 pods: a full reading of 300 real control
// groups against the bare system calls that it cannot do without, and the CPU time and memory of the agent's
// real binary, which reads 150 real pods' groups and publishes to a real API server; and how soon after a step in the
// load of a service batch work beside it is held back.
package agentcost
