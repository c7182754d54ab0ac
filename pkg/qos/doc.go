// Package qos is how Plimsoll decides: a State of the node goes in, a Plan of changes comes out. It is
// pure: no clock, no file, no network, no log. Package actuate carries a Plan out.
//
// Units: the value of a Knob is text in the knob's neutral unit, which package cgroup's knob table documents.
//
// The trap: a Plan says what should be so, not what to do. A strategy asks for the same thing every
// tick; Diff drops what is already so. Nothing may depend on a change having been written.
package qos
