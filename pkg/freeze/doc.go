// Package freeze tells how much of what a node could lend to batch work it shall not lend now, because the
// operator says so: in windows that come again and again, such as a market's opening, and until a moment
// that somebody gave by hand. It is pure: time comes in.
//
// A window is named by its beginning, in cron's five fields and an IANA time zone, and its length. What is
// held back rises before it on a ramp that ends a little before the window begins.
//
// Units: thousandths (Permille) of what could be lent; lengths in seconds.
//
// The trap: a local time may not be (the clock goes forward) or be twice (it goes back). A window that begins at one
// begins at the first moment that can be meant, and ends its length after the last.
package freeze
