package guard

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/plimsoll/plimsoll/pkg/actuate"
	"github.com/plimsoll/plimsoll/pkg/api/v1alpha1"
	"github.com/plimsoll/plimsoll/pkg/audit"
	"github.com/plimsoll/plimsoll/pkg/cgroup"
	"github.com/plimsoll/plimsoll/pkg/qos"
	"github.com/plimsoll/plimsoll/pkg/qos/all"
)

const (
	// lookEvery is the time between two looks at the heartbeat.
	lookEvery = 100 * time.Millisecond
	// patienceLooks is after how many looks without a beat the agent counts as gone: two seconds.
	patienceLooks = 20
	// againLooks is after how many further looks what holds is compared again while the agent is gone: the
	// agent may be half alive, and others write too.
	againLooks = 10
)

// Options say where things are, as the agent's do.
type Options struct {
	NodeName                                string
	ProcRoot, CgroupRoot, KubeletCgroupRoot string
	// StateDir is the agent's: its journal is read there, and the guard's audit log is kept in it.
	StateDir string
	// HeartbeatFile is where the agent's loop beats.
	HeartbeatFile string
	Config        *v1alpha1.AgentConfiguration
	Log           *slog.Logger
}

func (o Options) validate() error {
	var errs []error
	for flag, value := range map[string]string{"--node-name": o.NodeName, "--state-dir": o.StateDir, "--heartbeat": o.HeartbeatFile} {
		if value == "" {
			errs = append(errs, fmt.Errorf("%s is empty: give what the agent was given", flag))
		}
	}
	return errors.Join(errs...)
}

// AuditDir is where the guard keeps its audit log, beside the agent's: one process writes to one log.
func AuditDir(stateDir string) string { return filepath.Join(stateDir, "audit-guard") }

// Run looks at the heartbeat until ctx ends. Then it waits until the agent, which was most likely told to
// end too, has stopped beating, and applies the plan once more: nothing renews what was lent after that.
func Run(ctx context.Context, o Options) error {
	if err := o.validate(); err != nil {
		return err
	}
	strategies, err := enforced(o.Config)
	if err != nil {
		return err
	}
	if len(strategies) == 0 {
		o.Log.Info("no strategy enforces: there is nothing to guard")
		<-ctx.Done()
		return nil
	}
	hash, err := o.Config.Hash()
	if err != nil {
		return err
	}
	log, err := audit.Open(audit.Options{
		Dir: AuditDir(o.StateDir), MaxFileBytes: o.Config.Audit.MaxFileBytes, MaxFiles: int(o.Config.Audit.MaxFiles), Now: time.Now,
	})
	if err != nil {
		return err
	}
	defer func() {
		if err := log.Close(); err != nil {
			o.Log.Error("closing the audit log", "error", err)
		}
	}()
	w := &watch{Options: o, pulse: pulse{name: o.HeartbeatFile}, strategies: strategies, audit: log, configHash: hash}
	looks := time.NewTicker(lookEvery)
	defer looks.Stop()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case now := <-looks.C:
			w.look(now)
		}
	}
	// The agent's last beat may come after this: at most so many looks more.
	for range 2 * patienceLooks {
		if w.look(<-looks.C); w.pulse.still >= patienceLooks {
			break
		}
	}
	return nil
}

// enforced is the strategies of a configuration that may write. The others write nothing here either.
func enforced(c *v1alpha1.AgentConfiguration) ([]qos.Strategy, error) {
	var wants []all.Want
	for _, s := range c.Strategies {
		if s.Mode == v1alpha1.ModeEnforce {
			wants = append(wants, all.Want{Name: s.Name, Args: s.Args})
		}
	}
	return all.Build(wants)
}

// watch is what the guard knows from one look to the next.
type watch struct {
	Options
	pulse      pulse
	strategies []qos.Strategy
	audit      *audit.Log
	configHash string
	// problem is what went wrong at the last look: it is told of once.
	problem string
}

// look acts when the agent has stopped beating.
func (w *watch) look(now time.Time) {
	before := w.pulse.still
	still, err := w.pulse.look()
	switch {
	case still == 0 && before >= patienceLooks:
		w.Log.Info("the agent is back")
	case still == patienceLooks:
		w.Log.Warn("the agent has stopped: applying the plan that protects the online side", "lastBeat", (patienceLooks*lookEvery).String()+" ago")
	}
	if err != nil && still < patienceLooks {
		w.tell(err)
	}
	if still >= patienceLooks && (still-patienceLooks)%againLooks == 0 {
		w.tell(errors.Join(err, w.protect(now), w.audit.Sync()))
	}
}

// tell logs an error once.
func (w *watch) tell(err error) {
	was := w.problem
	w.problem = fmt.Sprint(err)
	if err != nil && w.problem != was {
		w.Log.Error("guarding", "error", err)
	}
}

// protect applies each strategy's blind plan to what the agent has written before.
func (w *watch) protect(now time.Time) error {
	host, err := cgroup.Detect(w.ProcRoot, w.CgroupRoot, w.KubeletCgroupRoot)
	if errors.Is(err, cgroup.ErrNoKubepods) {
		return nil // no pod, no batch
	}
	if err != nil {
		return err
	}
	boot, err := actuate.BootID(w.ProcRoot)
	if err != nil {
		return err
	}
	journal, err := actuate.ReadJournal(w.StateDir, boot)
	if err != nil {
		return err
	}
	state, err := blindState(host, now, w.strategies)
	if err != nil {
		return err
	}
	actuator := actuate.New(host, journal)
	var errs []error
	for _, s := range w.strategies {
		var changes []qos.Change
		for _, c := range qos.Diff(state, s.Step(state)) {
			if actuator.Journaled(c) {
				changes = append(changes, c)
			}
		}
		for _, r := range actuator.Apply(changes) {
			errs = append(errs, r.Err)
			w.record(now, s.Name, r)
		}
	}
	results, err := actuator.Close(patienceLooks * lookEvery)
	for _, r := range results {
		errs = append(errs, r.Err)
		w.record(now, "", r)
	}
	return errors.Join(append(errs, err)...)
}

// blindState is what a strategy may know of a node that is not measured: how many CPUs it has, the batch branch,
// what is in it, and the settings of those.
func blindState(host cgroup.Host, now time.Time, strategies []qos.Strategy) (qos.State, error) {
	groups, err := host.Scan()
	if err != nil {
		return qos.State{}, err
	}
	s := qos.State{Now: now, Blind: true}
	_, capacity, err := host.ReadNode()
	if err != nil {
		return qos.State{}, fmt.Errorf("reading how many CPUs the node has: %w", err)
	}
	s.CPU.CapacityMilliCPU = capacity.MilliCPU
	add := func(path string, kind qos.Kind) {
		g := qos.Group{Path: path, Kind: kind, Settings: map[qos.Knob]qos.Setting{}}
		for _, strategy := range strategies {
			for _, k := range strategy.Knobs {
				g.Settings[k], _ = host.ReadSetting(path, k) // one that cannot be read is not OK, and is written
			}
		}
		s.Groups = append(s.Groups, g)
	}
	if groups.BatchBranch != "" {
		add(groups.BatchBranch, qos.KindBatchBranch)
	}
	for _, c := range groups.BatchContainers {
		add(c.Path, qos.KindBatchContainer)
	}
	return s, nil
}

// record says in the guard's audit log what became of a change.
func (w *watch) record(now time.Time, strategy string, r actuate.Result) {
	if !r.Written && r.Err == nil {
		return
	}
	e := r.AuditEntry(now)
	e.Node, e.Strategy, e.ConfigHash = w.NodeName, strategy, w.configHash
	e.Why, e.Inputs = "the agent has stopped: "+e.Why, map[string]string{"blind": "true"}
	w.audit.Append(e)
	w.Log.Warn("change", "strategy", strategy, "group", r.Change.Group, "knob", r.Change.Knob, "from", r.Before, "to", r.Change.Value, "error", r.Err)
}
