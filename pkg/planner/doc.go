// Package planner works out what could be lent, and how sure that is, from recorded use. It is pure: what it computes on
// is handed to it, and it reads and writes nothing.
//
// Units: use and forecasts as a share of capacity, 0 to 1; negative where there is none.
//
// The trap: a gain means nothing without the rate of violations that it was bought with. Compare methods at the same
// rate only.
package planner
