// Package trace reads public traces of what machines and virtual machines used: the formats of Alibaba's cluster
// trace of 2018, Azure's V1, GWA-T-12 Bitbrains, PlanetLab's CoMon, the Google cluster data as job days, the Numenta
// benchmark, and a general CSV form. It reads strictly: what is not a use is skipped, counted and named by file and
// line, and too much of it is an error.
//
// It does not judge forecasts (package planner does).
//
// Units: use as a share of the entity's capacity, 0 to 1; capacity in cores.
//
// The trap: most formats do not tell the capacity. It is 1 then, so only shares mean something.
package trace
