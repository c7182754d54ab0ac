package agent

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/plimsoll/plimsoll/pkg/actuate"
	"github.com/plimsoll/plimsoll/pkg/api/v1alpha1"
	"github.com/plimsoll/plimsoll/pkg/audit"
	"github.com/plimsoll/plimsoll/pkg/qos"
	"github.com/plimsoll/plimsoll/pkg/usage"
)

// auditor says in the audit log what the agent does.
type auditor struct {
	log        *audit.Log
	node       string
	configHash string
}

// openAudit opens the audit log. In a configuration without a file, as for a release, the defaults hold.
func openAudit(o Options) (*auditor, error) {
	config := o.Config
	if config == nil {
		config = v1alpha1.DefaultAgentConfiguration()
	}
	hash, err := config.Hash()
	if err != nil {
		return nil, err
	}
	dir := o.AuditDir
	if dir == "" {
		dir = filepath.Join(o.StateDir, "audit")
	}
	l, err := audit.Open(audit.Options{
		Dir: dir, MaxFileBytes: config.Audit.MaxFileBytes, MaxFiles: int(config.Audit.MaxFiles), Now: time.Now,
	})
	if err != nil {
		return nil, err
	}
	return &auditor{log: l, node: o.NodeName, configHash: hash}, nil
}

// run brings what was appended to the disk, once a second, until ctx ends. It logs the last record at
// the start, each hour and at the end: a log that is kept elsewhere holds the audit log to it.
func (a *auditor) run(ctx context.Context, log *slog.Logger) {
	anchor := func() { log.Info("audit log", "lastRecord", a.log.Last().String()) }
	anchor()
	defer anchor()
	var lostBefore int64
	tick, hour := time.NewTicker(time.Second), time.NewTicker(time.Hour)
	defer tick.Stop()
	defer hour.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-hour.C:
			anchor()
		case <-tick.C:
			if err := a.log.Sync(); err != nil {
				log.Error("keeping the audit log", "error", err)
			}
			if lost, why := a.log.Lost(); lost > lostBefore {
				log.Error("audit records are lost: the kernel was written all the same", "lost", lost, "error", why)
				lostBefore = lost
			}
		}
	}
}

// closePatience is how long the agent waits, when it ends, for kernel writes that block.
const closePatience = 2 * time.Second

// finish records what becomes of the writes that are under way when the agent ends.
func (a *auditor) finish(actuator *actuate.Actuator, log *slog.Logger) {
	results, err := actuator.Close(closePatience)
	for _, r := range results {
		a.change(time.Now(), "", r, "", nil)
	}
	if err != nil {
		log.Warn("ending with a kernel write under way", "error", err)
	}
}

func (a *auditor) close(log *slog.Logger) {
	if err := a.log.Close(); err != nil {
		log.Error("closing the audit log", "error", err)
	}
}

// change records one change that was written, or that was refused.
func (a *auditor) change(at time.Time, strategy string, r actuate.Result, pod string, inputs map[string]string) {
	e := r.AuditEntry(at)
	e.Node, e.Pod, e.Strategy, e.Inputs, e.ConfigHash = a.node, pod, strategy, inputs, a.configHash
	a.log.Append(e)
}

// inputsOf is what a change rested on: the rates of the node and of the group, the group's settings, and
// what the strategy adds. What was not measured is not there.
func inputsOf(s qos.State, c qos.Change) map[string]string {
	inputs := map[string]string{}
	if s.Blind {
		inputs["blind"] = "true"
	}
	addRates(inputs, "node.", s.Node)
	for _, g := range s.Groups {
		if g.Path != c.Group {
			continue
		}
		addRates(inputs, "group.", g.Rates)
		for knob, setting := range g.Settings {
			if setting.OK {
				inputs["setting."+string(knob)] = setting.Value
			}
		}
	}
	for field := range strings.FieldsSeq(c.Inputs) {
		name, value, _ := strings.Cut(field, "=")
		inputs[name] = value
	}
	return inputs
}

func addRates(inputs map[string]string, prefix string, r usage.Rates) {
	for name, reading := range map[string]usage.Reading{
		"milliCPU": r.MilliCPU, "memoryBytes": r.MemoryBytes, "cpuSomePermille": r.CPUSomePermille,
		"memorySomePermille": r.MemorySomePermille, "ioSomePermille": r.IOSomePermille,
		"runDelayPermille": r.RunDelayPermille,
	} {
		if reading.OK {
			inputs[prefix+name] = strconv.FormatInt(reading.Value, 10)
		}
	}
}

// podName names the pod of a group as the audit log does; empty where the group is of none.
func (r reading) podName(group string) string {
	within := func(path string) bool { return group == path || strings.HasPrefix(group, path+"/") }
	for _, p := range r.Pods {
		of := within(p.Key.Path)
		for _, c := range p.BatchContainers {
			of = of || within(c.Path)
		}
		switch {
		case of && p.Info.Name == "": // the API server has not told yet
			return "(" + p.UID + ")"
		case of:
			return fmt.Sprintf("%s/%s (%s)", p.Info.Namespace, p.Info.Name, p.UID)
		}
	}
	return ""
}
