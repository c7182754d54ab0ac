package agent

import (
	"slices"

	"github.com/plimsoll/plimsoll/pkg/cgroup"
	"github.com/plimsoll/plimsoll/pkg/qos"
)

// readCookies adds whether the threads of each batch container have core cookies: of those in the batch branch, and
// of those that no hook placed there.
func (s *sensor) readCookies(r *reading, groups cgroup.Groups) {
	if !slices.Contains(s.knobs[qos.KindBatchContainer], qos.CoreCookie) {
		return
	}
	given := s.cookied()
	read := func(group string) {
		is, _ := s.host.ReadSetting(group, qos.CoreCookie) // one that cannot be read is not OK, and asked for anew
		r.settingsOf(group)[qos.CoreCookie] = cookiesOf(is, given[group])
	}
	for _, c := range groups.BatchContainers {
		read(c.Path)
	}
	for _, p := range r.Pods {
		for _, c := range p.Unplaced {
			read(c.Path)
		}
	}
}

// cookiesOf says of a group's cookies whether it was Plimsoll that gave them.
func cookiesOf(is qos.Setting, given bool) qos.Setting {
	switch {
	case given:
	case is.Value == qos.CookieOwn:
		is.Value = qos.CookieOthers
	case is.Value == qos.CookieSome:
		is.Value = qos.CookieOthersSome
	}
	return is
}
