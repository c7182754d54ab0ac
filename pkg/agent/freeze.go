package agent

import (
	"log/slog"
	"time"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/plimsoll/plimsoll/pkg/freeze"
	"github.com/plimsoll/plimsoll/pkg/qos"
)

// freezes tells each tick how much lending is held back.
type freezes struct {
	calendar freeze.Calendar
	// byHand is the Node's annotation; nil in tests.
	byHand func() string
	log    *slog.Logger
	held   freeze.Hold
}

// freezeWindowsPath is where the windows are in the configuration.
func freezeWindowsPath() *field.Path { return field.NewPath("lending", "freezeWindows") }

// into puts what is held back now into what strategies see. Beginnings and ends are logged.
func (f *freezes) into(now time.Time, s qos.State) qos.State {
	annotation := ""
	if f.byHand != nil {
		annotation = f.byHand()
	}
	was := f.held
	f.held = f.calendar.With(annotation, now)
	if f.log != nil && (f.held.Permille > 0) != (was.Permille > 0) {
		f.log.Info("lending is held back", "heldBackPermille", f.held.Permille, "why", f.held.Why)
	}
	s.HeldBackPermille, s.HeldBackWhy = f.held.Permille, f.held.Why
	return s
}
