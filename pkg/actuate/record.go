package actuate

import (
	"time"

	"github.com/plimsoll/plimsoll/pkg/audit"
)

// AuditEntry is what the audit log says of r, but for who decided it and on what it rested.
func (r Result) AuditEntry(at time.Time) audit.Entry {
	e := audit.Entry{
		Time: at, Kind: audit.KindWrite, Group: r.Change.Group, Knob: string(r.Change.Knob), New: &r.Change.Value, Why: r.Change.Reason,
	}
	if r.Before != "" {
		e.Old = &r.Before
	}
	if r.ReadBack != "" {
		e.ReadBack = &r.ReadBack
	}
	if r.Err != nil {
		e.Error = r.Err.Error()
	}
	return e
}
