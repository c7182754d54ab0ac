package agent

import (
	"errors"
	"log/slog"

	"k8s.io/client-go/rest"

	"github.com/plimsoll/plimsoll/pkg/api/v1alpha1"
	"github.com/plimsoll/plimsoll/pkg/freeze"
	"github.com/plimsoll/plimsoll/pkg/qos"
	"github.com/plimsoll/plimsoll/pkg/qos/all"
)

// Options say where things are. What to do is in Config.
type Options struct {
	// NodeName is the name of this node's Node object.
	NodeName string
	// ProcRoot and CgroupRoot are where procfs and the cgroup hierarchies of the host are mounted.
	ProcRoot, CgroupRoot string
	// SysRoot is where sysfs is mounted.
	SysRoot string
	// KubeletCgroupRoot is the kubelet's setting cgroupRoot, "/" unless it was changed.
	KubeletCgroupRoot string
	// StateDir holds the journal of original kernel settings.
	StateDir string
	// AuditDir holds the audit log; empty means audit in StateDir.
	AuditDir string
	// HeartbeatFile is where the loop beats for the guard; empty means that there is no guard.
	HeartbeatFile string
	// NRISocket is the container runtime's NRI socket.
	NRISocket string
	// PodResourcesSocket is that of the kubelet's pod-resources API.
	PodResourcesSocket string
	// ProbeTask is the command line that runs a task of the probe: this program's own. Without it the probe
	// says of some things that it cannot tell.
	ProbeTask []string
	// ListenAddress serves /metrics, /healthz and /readyz.
	ListenAddress string
	// Kube is how the API server is reached.
	Kube   *rest.Config
	Config *v1alpha1.AgentConfiguration
	Log    *slog.Logger
}

// validate returns every fault of o that would otherwise show late.
func (o Options) validate() error {
	var errs []error
	if o.NodeName == "" {
		errs = append(errs, errors.New("--node-name is empty: in a pod, set NODE_NAME from spec.nodeName"))
	}
	if o.Kube == nil || o.Config == nil || o.Log == nil {
		errs = append(errs, errors.New("options Kube, Config and Log must be set"))
	}
	return errors.Join(errs...)
}

// running is a strategy and how far it may go.
type running struct {
	qos.Strategy
	mode v1alpha1.Mode
}

// buildStrategies makes the strategies of a configuration that are not Off. Those that are Off are made
// too, so that bad arguments are found before somebody turns them on.
func buildStrategies(c *v1alpha1.AgentConfiguration) ([]running, error) {
	var off, on []all.Want
	var modes []v1alpha1.Mode
	for _, s := range c.Strategies {
		want := all.Want{Name: s.Name, Args: s.Args}
		if s.Mode == v1alpha1.ModeOff {
			off = append(off, want)
			continue
		}
		on, modes = append(on, want), append(modes, s.Mode)
	}
	built, err := all.Build(on)
	if err != nil {
		return nil, err
	}
	for _, w := range off {
		if _, err := all.Build([]all.Want{w}); err != nil {
			return nil, err
		}
	}
	strategies := make([]running, len(built))
	for i, s := range built {
		strategies[i] = running{s, modes[i]}
	}
	return strategies, nil
}

// CheckConfiguration returns what ParseAgentConfiguration cannot see: unknown strategies, their bad
// arguments, knobs with two owners, and freeze windows that never come.
func CheckConfiguration(c *v1alpha1.AgentConfiguration) error {
	_, err := buildStrategies(c)
	_, errs := freeze.Parse(c.Lending.FreezeWindows, freezeWindowsPath())
	return errors.Join(err, errs.ToAggregate())
}
