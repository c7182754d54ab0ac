// Package publishing measures what telling the cluster of 5,000 nodes' use costs the API server, and how
// wrong its readers are meanwhile, on recorded machines.
package publishing
