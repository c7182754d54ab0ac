package probe

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/plimsoll/plimsoll/pkg/cgroup"
)

// pressure tries PSI of the node and of the scratch group, and its triggers.
func (s *scratch) pressure() []Result {
	node := Result{Name: FeaturePSI, State: Works, Detail: "the node's pressure can be read"}
	if err := readable(filepath.Join(s.host.ProcRoot, "pressure/cpu")); err != nil {
		node.State, node.Detail = Fails, err.Error()+": a kernel before 4.20, or psi=0"
	}
	group := Result{Name: FeatureGroupPSI, State: Works, Detail: "the scratch group's pressure can be read"}
	file := filepath.Join(s.host.Dir("unified", s.group), "cpu.pressure")
	if s.host.Mode == cgroup.V1 {
		group.State, group.Detail = Fails, "groups have pressure in a v2 hierarchy only, and none is mounted"
	} else if err := readable(file); err != nil {
		group.State, group.Detail = Fails, err.Error()
	}
	if group.State != Works {
		none := "groups have no pressure"
		return []Result{node, group, {FeatureTriggers, Fails, none}, {FeatureFastTriggers, Fails, none}}
	}
	return []Result{node, group, trigger(FeatureTriggers, file, "some 100000 2000000"), trigger(FeatureFastTriggers, file, "some 50000 500000")}
}

func readable(file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	_, err = f.Read(make([]byte, 256))
	return errors.Join(err, f.Close())
}

// trigger asks for one and lets it go at once. A window that is no multiple of two seconds needs
// CAP_SYS_RESOURCE.
func trigger(name, file, spec string) Result {
	fd, err := unix.Open(file, unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err == nil {
		_, err = unix.Write(fd, append([]byte(spec), 0))
		err = errors.Join(err, unix.Close(fd))
	}
	if err != nil {
		return Result{name, Fails, fmt.Sprintf("writing %q to the scratch group's cpu.pressure: %v", spec, err)}
	}
	return Result{name, Works, fmt.Sprintf("the scratch group's cpu.pressure took %q", spec)}
}

// runDelay looks for the node's run delay.
func (s *scratch) runDelay() Result {
	node, _, err := s.host.ReadNode()
	switch {
	case err != nil:
		return Result{FeatureRunDelay, Unknown, err.Error()}
	case !node.RunDelayMicros.OK:
		return Result{FeatureRunDelay, Fails, "no /proc/schedstat: the kernel was built without CONFIG_SCHEDSTATS"}
	default:
		return Result{FeatureRunDelay, Works, "the node's run delay can be read"}
	}
}

// coreScheduling asks for the cookie of this task, which changes nothing.
func coreScheduling() (State, string) {
	if _, err := cgroup.Cookie(0); err != nil {
		return Fails, err.Error()
	}
	return Works, "a task's cookie can be read"
}
