// Package audit keeps the audit log: one JSON line for each kernel write and each eviction, with what
// it was, why, and what it rested on. Lines are only ever appended, and each carries the SHA-256 of the
// line before it, so that Verify finds a line that was removed, edited, reordered or cut off.
//
// It decides nothing and knows nothing of Kubernetes. It is not a log of messages (slog is) and not
// what Release works from (package actuate's journal is).
//
// Units: sizes in bytes, times in UTC with nanoseconds, hashes as 64 hexadecimal digits.
//
// The trap: the chain has no secret. Who may write all of the files can compute all of it anew; it is
// caught only by an anchor (Anchor) that was kept somewhere else.
package audit
