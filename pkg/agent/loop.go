package agent

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/plimsoll/plimsoll/pkg/actuate"
	"github.com/plimsoll/plimsoll/pkg/api/v1alpha1"
	"github.com/plimsoll/plimsoll/pkg/cgroup"
	"github.com/plimsoll/plimsoll/pkg/freeze"
	"github.com/plimsoll/plimsoll/pkg/guard"
	"github.com/plimsoll/plimsoll/pkg/qos"
	"github.com/plimsoll/plimsoll/pkg/qos/batchbound"
	"github.com/plimsoll/plimsoll/pkg/qos/batchidle"
	"github.com/plimsoll/plimsoll/pkg/runtimehook"
	"github.com/plimsoll/plimsoll/pkg/usage"
)

// loop is sense, decide, act, publish.
type loop struct {
	config   *v1alpha1.AgentConfiguration
	sensor   *sensor
	meter    *usage.Meter
	actor    *actor
	actuator *actuate.Actuator
	enforces bool
	hook     *runtimehook.Hook
	pub      *publisher
	metrics  *metrics
	health   *health
	log      *slog.Logger

	windows   *classWindows
	pods      *podWindows
	workloads *workloads
	lending   *lending
	saver     *saver

	// fixed is the part of the published status that never changes; the rest is built anew each tick.
	fixed v1alpha1.NodeUtilizationStatus
	// capabilities is what the probe found, nil until it has.
	capabilities atomic.Pointer[[]v1alpha1.Capability]
	pressure     pressureWatch
	newcomers    newcomers
	harm         harmWatch
	punctuality  punctuality
	freezes      freezes

	conditions []metav1.Condition
	// offered is the status that readers have or are about to get.
	offered     *v1alpha1.NodeUtilizationStatus
	publishing  usage.Publishing
	publishRule usage.PublishRule
	last        reading
	lastState   qos.State
	failures    int

	heart *guard.Heart
	// heartProblem is why the last beat failed, so that it is told of once.
	heartProblem string

	// stateDir is where somebody asks for the State that the strategies see next, and gets it.
	stateDir, nodeName string

	branch *branchKeeper
}

func newLoop(o Options, host cgroup.Host, strategies []running, actuator *actuate.Actuator, audit *auditor, hook *runtimehook.Hook,
	keeper *branchKeeper, watch *podWatch, pub *publisher, node *nodeStatus, m *metrics, alive *health,
) (*loop, error) {
	kernel, err := host.KernelVersion()
	if err != nil {
		return nil, err
	}
	heart, err := guard.NewHeart(o.HeartbeatFile, time.Now())
	if err != nil {
		return nil, err
	}
	l := &loop{
		config: o.Config,
		sensor: newSensor(host, strategies, lookup{watch, hook}),
		meter:  usage.NewMeter(time.Duration(o.Config.WindowMilliseconds) * time.Millisecond),
		actor:  newActor(strategies, actuator, m, audit, o.Log), actuator: actuator, enforces: o.enforcesBatch(),
		windows: newClassWindows(time.Duration(o.Config.TickMilliseconds) * time.Millisecond),
		pods:    newPodWindows(), workloads: newWorkloads(), lending: newLending(o.Config.Lending, patienceOf(o.Config), node), saver: newSaver(o.StateDir),
		publishRule: PublishRule(o.Config.Publish), hook: hook, pub: pub, metrics: m, health: alive, log: o.Log, heart: heart,
		fixed:    v1alpha1.NodeUtilizationStatus{CgroupMode: string(host.Mode), KernelVersion: kernel},
		stateDir: o.StateDir, nodeName: o.NodeName, branch: keeper,
	}
	l.sensor.hadRealtime = realtimePods(actuator.Originals())
	l.sensor.cookied = actuator.CookiedGroups
	l.sensor.reduced = hook.Reduced
	l.sensor.placing = func() bool { return hook.Connected() && o.Config.RuntimeHook.Mode == v1alpha1.ModeEnforce }
	for _, s := range o.Config.Strategies {
		l.fixed.Strategies = append(l.fixed.Strategies, v1alpha1.StrategyStatus{Name: s.Name, Mode: s.Mode})
	}
	calendar, errs := freeze.Parse(o.Config.Lending.FreezeWindows, freezeWindowsPath())
	if len(errs) > 0 {
		return nil, errs.ToAggregate()
	}
	l.freezes = freezes{calendar: calendar, byHand: node.freezeUntil, log: o.Log}
	return l, nil
}

// patienceOf is how long measurements may be missing before the agent counts as blind.
func patienceOf(c *v1alpha1.AgentConfiguration) time.Duration {
	return time.Duration(c.BlindAfterFailures) * time.Duration(c.TickMilliseconds) * time.Millisecond
}

func (l *loop) close() {
	l.sensor.close()
	if err := l.heart.Close(); err != nil {
		l.log.Error("ending", "error", err)
	}
}

// beat tells the guard that the loop goes round.
func (l *loop) beat() {
	was := l.heartProblem
	l.heartProblem = ""
	if err := l.heart.Beat(); err != nil {
		if l.heartProblem = err.Error(); l.heartProblem != was {
			l.log.Error("the guard does not hear the agent, and will hold batch back", "error", err)
		}
	}
}

// run ticks until ctx ends. A tick that takes longer than the interval delays the next; none is made up for.
// Where there is room between two ticks, fast ticks look for harm.
func (l *loop) run(ctx context.Context, interval time.Duration) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	var fast, newcomers <-chan time.Time
	var newGroups <-chan struct{}
	if interval >= 2*fastTick {
		fastTicker, newcomersTicker := time.NewTicker(fastTick), time.NewTicker(newcomersTick)
		l.punctuality.start(time.Now())
		defer fastTicker.Stop()
		defer newcomersTicker.Stop()
		fast, newcomers = fastTicker.C, newcomersTicker.C
		newGroups = l.sensor.tracker.Changes(ctx, newGroupsPause)
	}
	for {
		var waits chan struct{}
		changes := newGroups
		if !l.boundsNewcomers() {
			changes = nil // the next tick takes them
		}
		select {
		case <-ctx.Done():
			return
		case now := <-ticker.C:
			l.tick(now)
		case waits = <-l.branch.asked:
			l.tick(time.Now())
		case now := <-newcomers:
			l.boundNewcomers(now)
		case <-changes:
			l.boundNewcomers(time.Now())
		case now := <-fast:
			l.punctuality.came(time.Now(), l.metrics.lateSeconds.Observe)
			l.actFast(now)
			if l.fast(now) {
				l.metrics.ticks.WithLabelValues("early").Inc()
				l.tick(now)
			}
		}
		l.branch.settle(&l.last)
		if waits != nil {
			close(waits)
		}
		l.beat()
	}
}

// tick goes round once. When sensing fails no strategy runs and the last settings hold; after
// blindAfterFailures failures in a row the strategies are asked for the plan that protects the online
// side without measurements.
func (l *loop) tick(now time.Time) {
	defer func() {
		l.health.lastTick.Store(time.Now().UnixNano())
		l.metrics.tickSeconds.Observe(time.Since(now).Seconds())
	}()
	l.metrics.hookConnected.Set(boolValue(l.hook.Connected()))
	r, err := l.sensor.sense(now)
	if err != nil {
		l.failures++
		l.log.Error("reading the node: the last settings hold", "error", err, "failuresInARow", l.failures)
		if l.failures >= l.config.BlindAfterFailures {
			l.metrics.ticks.WithLabelValues("blind").Inc()
			l.actBlind(now)
			return
		}
		l.metrics.ticks.WithLabelValues("error").Inc()
		return
	}
	l.failures, l.last = 0, r
	l.metrics.ticks.WithLabelValues("ok").Inc()
	l.metrics.skippedGroups.Add(float64(r.Skipped))
	l.health.sensed.Store(true)

	u := l.meter.Add(r.Sample)
	if l.enforces && r.Branch.Path == "" {
		if err := l.actuator.EnsureBatchBranch(); err != nil { // somebody removed it; the next tick sets its knobs
			l.log.Error("restoring the batch branch", "error", err)
		}
	}
	classes := l.windows.add(r)
	l.lastState = l.freezes.into(now, l.harm.full(now, &r, classes, r.state(now, u, false)))
	l.lastState.BatchPods = r.batchPods(u)
	l.recordState(l.lastState)
	l.actor.act(l.lastState, r.podName, l.wrote)
	l.actor.forget(l.lastState)
	l.publish(now, r, u, classes)
	l.save(now)
}

// actBlind asks for the protecting plan for the groups that were there last. Only their settings are
// read again, so that what holds already is not written again.
func (l *loop) actBlind(now time.Time) {
	if branch := l.last.Branch.Path; branch != "" {
		if err := l.sensor.readSettings(&l.last, branch); err != nil {
			l.log.Error("reading settings while blind: they are written again", "error", err)
		}
	}
	l.lending.stop(l.sensor.pods.loans())
	state := l.last.state(now, usage.Usage{}, true)
	state.CPU.CapacityMilliCPU = l.last.Capacity.MilliCPU
	l.recordState(state)
	l.actor.act(state, l.last.podName, l.wrote)
}

// wrote keeps what a knob is after a write, so that fast ticks decide on what is so.
func (l *loop) wrote(r actuate.Result) {
	settings := l.last.Settings[r.Change.Group]
	if settings != nil && r.ReadBack != "" {
		settings[r.Change.Knob] = qos.Setting{Value: r.ReadBack, OK: true}
	}
}

// publish offers a status when it tells readers something new or the heartbeat is due.
func (l *loop) publish(now time.Time, r reading, u usage.Usage, tick []v1alpha1.ClassUtilization) {
	status := l.fixed
	if found := l.capabilities.Load(); found != nil {
		status.Capabilities = *found
	}
	if !measure(&status, r, u) {
		return
	}
	l.learn(now, r, &status, tick)
	at := metav1.NewTime(now)
	for _, c := range []metav1.Condition{
		batchProtected(r, modeOf(l.config, batchidle.Name)),
		runtimeHookReady(l.hook.Connected(), l.hook.Conflict(), l.config.RuntimeHook.Mode, modeOf(l.config, batchbound.Name)),
		settingsHold(l.actor.contests.describe(now)),
		batchPodsConverted(r.Pods),
		strategiesAble(l.actor.hindered),
		l.punctuality.condition(),
	} {
		l.conditions = setCondition(l.conditions, c, at)
	}
	status.Conditions, status.Changes = l.conditions, l.actor.changes
	status.Harm = l.sensor.throttles.totals(l.actor.evicted)
	l.metrics.show(&status)

	if l.worthPublishing(now, &status) {
		l.windows.report(now, status.Classes)
		l.pods.report(status.Pods)
		status.Workloads = l.workloads.report()
		l.publishing.Wrote(now)
		l.pub.offer(&status)
	}
}

// learn takes what was measured into what is remembered, and works out what can be lent.
func (l *loop) learn(now time.Time, r reading, status *v1alpha1.NodeUtilizationStatus, tick []v1alpha1.ClassUtilization) {
	l.pods.add(r)
	l.workloads.add(now, r, status.Pods)
	in := lendInputs{now: now, held: l.freezes.held, capacity: status.Capacity, loans: l.sensor.pods.loans(), pods: status.Pods}
	in.onlineCPU, in.onlineMemory = useOf(status.Classes, v1alpha1.ClassLatencySensitive)
	in.onlineNow, _ = useOf(tick, v1alpha1.ClassLatencySensitive)
	in.systemCPU, in.systemMemory = useOf(status.Classes, v1alpha1.ClassSystem)
	status.Lendable = l.lending.step(in)
	status.Forecast = l.lending.profile(now)
}

// worthPublishing reports whether readers are to be told. What was offered counts as told: while the API
// server is away the publisher writes the newest offer when it is back.
func (l *loop) worthPublishing(now time.Time, status *v1alpha1.NodeUtilizationStatus) bool {
	errorPermille, news := told(l.offered, status)
	due := l.publishing.Due(l.publishRule, now, errorPermille)
	if !due && (!news || !l.publishing.MayWrite(l.publishRule, now)) {
		return false
	}
	l.offered = status
	return true
}

// lookup asks the container runtime first, which knows of a container before the API server does.
type lookup struct {
	*podWatch
	hook *runtimehook.Hook
}

func (l lookup) podOfContainer(id string) (string, bool) {
	if p, ok := l.hook.PodOf(id); ok {
		return p.UID, true
	}
	return l.podWatch.podOfContainer(id)
}

// placed counts a batch container that the hook saw.
func (m *metrics) placed(enforced bool) {
	outcome := "observed"
	if enforced {
		outcome = "placed"
	}
	m.placements.WithLabelValues(outcome).Inc()
}

func boolValue(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
