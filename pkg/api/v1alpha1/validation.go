package v1alpha1

import (
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// ValidateAgentConfiguration returns every fault of c with its path, value and allowed range.
func ValidateAgentConfiguration(c *AgentConfiguration) field.ErrorList {
	errs := validateTypeMeta(c.TypeMeta, KindAgentConfiguration, nil)
	errs = append(errs, between(field.NewPath("tickMilliseconds"), c.TickMilliseconds, 100, 60_000)...)
	errs = append(errs, between(field.NewPath("windowMilliseconds"), c.WindowMilliseconds, c.TickMilliseconds, 3_600_000)...)
	errs = append(errs, between(field.NewPath("blindAfterFailures"), int64(c.BlindAfterFailures), 1, 1000)...)

	publish := field.NewPath("publish")
	errs = append(errs, between(publish.Child("minIntervalMilliseconds"), c.Publish.MinIntervalMilliseconds, 100, 600_000)...)
	errs = append(errs, between(publish.Child("heartbeatMilliseconds"), c.Publish.HeartbeatMilliseconds, c.Publish.MinIntervalMilliseconds, 3_600_000)...)
	errs = append(errs, between(publish.Child("averageIntervalMilliseconds"), c.Publish.AverageIntervalMilliseconds, c.Publish.MinIntervalMilliseconds, 3_600_000)...)
	errs = append(errs, between(publish.Child("changePermille"), c.Publish.ChangePermille, 0, 1000)...)
	errs = append(errs, between(publish.Child("jumpPermille"), c.Publish.JumpPermille, min(c.Publish.ChangePermille, 1000), 1000)...)
	errs = append(errs, between(publish.Child("errorBudgetPermilleSeconds"), c.Publish.ErrorBudgetPermilleSeconds, 0, 100_000)...)

	hook := field.NewPath("runtimeHook")
	errs = append(errs, validateMode(hook.Child("mode"), c.RuntimeHook.Mode)...)
	errs = append(errs, between(hook.Child("timeoutMilliseconds"), c.RuntimeHook.TimeoutMilliseconds, 10, 1500)...)
	errs = append(errs, between(hook.Child("maxPIDs"), c.RuntimeHook.MaxPIDs, 64, 4_194_304)...)
	errs = append(errs, between(hook.Child("fallback", "milliCPU"), c.RuntimeHook.Fallback.MilliCPU, 0, 1_000_000)...)
	errs = append(errs, between(hook.Child("fallback", "memoryBytes"), c.RuntimeHook.Fallback.MemoryBytes, 16<<20, 16<<40)...)
	errs = append(errs, between(field.NewPath("audit", "maxFileBytes"), c.Audit.MaxFileBytes, 64<<10, 1<<30)...)
	errs = append(errs, between(field.NewPath("audit", "maxFiles"), c.Audit.MaxFiles, 0, 10_000)...)
	errs = append(errs, validateLending(c.Lending, field.NewPath("lending"))...)

	seen := map[string]bool{}
	for i, s := range c.Strategies {
		path := field.NewPath("strategies").Index(i)
		switch {
		case s.Name == "":
			errs = append(errs, field.Required(path.Child("name"), "the name of a strategy"))
		case seen[s.Name]:
			errs = append(errs, field.Duplicate(path.Child("name"), s.Name))
		}
		seen[s.Name] = true
		errs = append(errs, validateMode(path.Child("mode"), s.Mode)...)
	}
	return errs
}

func validateLending(l LendingConfiguration, path *field.Path) field.ErrorList {
	errs := validateMode(path.Child("mode"), l.Mode)
	errs = append(errs, validateLendingResource(l.CPU, path.Child("cpu"))...)
	errs = append(errs, validateLendingResource(l.Memory, path.Child("memory"))...)
	errs = append(errs, between(path.Child("horizonSeconds"), l.HorizonSeconds, 300, 86_400)...)
	errs = append(errs, between(path.Child("quantilePermille"), l.QuantilePermille, 500, 999)...)
	errs = append(errs, between(path.Child("raiseAfterSeconds"), l.RaiseAfterSeconds, 10, 86_400)...)
	errs = append(errs, between(path.Child("deadBandPermille"), l.DeadBandPermille, 0, 200)...)
	return append(errs, validateFreezeWindows(l.FreezeWindows, path.Child("freezeWindows"))...)
}

// validateFreezeWindows leaves schedules and time zones to package freeze.
func validateFreezeWindows(windows []FreezeWindow, path *field.Path) field.ErrorList {
	const most = 64
	var errs field.ErrorList
	if len(windows) > most {
		errs = append(errs, field.TooMany(path, len(windows), most))
	}
	seen := map[string]bool{}
	for i, w := range windows {
		at := path.Index(i)
		switch {
		case w.Name == "" || len(w.Name) > 64:
			errs = append(errs, field.Invalid(at.Child("name"), w.Name, "must have 1 to 64 characters"))
		case seen[w.Name]:
			errs = append(errs, field.Duplicate(at.Child("name"), w.Name))
		}
		seen[w.Name] = true
		errs = append(errs, between(at.Child("durationSeconds"), w.DurationSeconds, 60, 2_678_400)...)
		errs = append(errs, between(at.Child("lendPermille"), w.LendPermille, 0, 999)...)
		errs = append(errs, between(at.Child("rampSeconds"), w.RampSeconds, 0, 86_400)...)
	}
	return errs
}

func validateLendingResource(r LendingResource, path *field.Path) field.ErrorList {
	errs := between(path.Child("safeLinePermille"), r.SafeLinePermille, 1, 1000)
	errs = append(errs, between(path.Child("marginPermille"), r.MarginPermille, 0, 1000)...)
	return append(errs, between(path.Child("coldMarginPermille"), r.ColdMarginPermille, min(r.MarginPermille, 1000), 1000)...)
}

// ValidateLoadAwareArgs returns every fault of a with its path below root, value and allowed range.
func ValidateLoadAwareArgs(a *LoadAwareArgs, root *field.Path) field.ErrorList {
	errs := validateTypeMeta(a.TypeMeta, KindLoadAwareArgs, root)
	if a.Mode != ModeEnforce && a.Mode != ModeObserve {
		errs = append(errs, field.NotSupported(root.Child("mode"), a.Mode, []Mode{ModeObserve, ModeEnforce}))
	}
	if a.ScoringStrategy != LeastRisk && a.ScoringStrategy != MostUsed {
		errs = append(errs, field.NotSupported(root.Child("scoringStrategy"), a.ScoringStrategy, []ScoringStrategy{LeastRisk, MostUsed}))
	}
	errs = append(errs, between(root.Child("safeCPUPercent"), a.SafeCPUPercent, 1, 100)...)
	errs = append(errs, between(root.Child("maxCPUPercent"), a.MaxCPUPercent, 0, 1000)...)
	errs = append(errs, between(root.Child("maxMemoryPercent"), a.MaxMemoryPercent, 0, 1000)...)
	errs = append(errs, between(root.Child("horizonSeconds"), a.HorizonSeconds, 0, 86_400)...)
	errs = append(errs, between(root.Child("staleAfterSeconds"), a.StaleAfterSeconds, 2, 3600)...)
	errs = append(errs, between(root.Child("freshSeconds"), a.FreshSeconds, 1, 3600)...)
	errs = append(errs, between(root.Child("batchMaxAgeSeconds"), a.BatchMaxAgeSeconds, 1, 3600)...)
	errs = append(errs, between(root.Child("maturityMilliseconds"), a.MaturityMilliseconds, 0, 3_600_000)...)
	errs = append(errs, between(root.Child("defaultDurationSeconds"), a.DefaultDurationSeconds, 1, 604_800)...)
	for _, e := range []struct {
		name  string
		value Estimate
	}{{"latencySensitive", a.Estimates.LatencySensitive}, {"batch", a.Estimates.Batch}} {
		path := root.Child("estimates", e.name)
		errs = append(errs, between(path.Child("requestPercent"), e.value.RequestPercent, 0, 1000)...)
		errs = append(errs, between(path.Child("burstPercent"), e.value.BurstPercent, 0, 100)...)
	}
	return errs
}

func validateTypeMeta(t metav1.TypeMeta, wantKind string, root *field.Path) field.ErrorList {
	var errs field.ErrorList
	if t.APIVersion != APIVersion {
		errs = append(errs, field.NotSupported(root.Child("apiVersion"), t.APIVersion, []string{APIVersion}))
	}
	if t.Kind != wantKind {
		errs = append(errs, field.NotSupported(root.Child("kind"), t.Kind, []string{wantKind}))
	}
	return errs
}

func validateMode(path *field.Path, m Mode) field.ErrorList {
	switch m {
	case ModeOff, ModeObserve, ModeEnforce:
		return nil
	default:
		return field.ErrorList{field.NotSupported(path, m, []Mode{ModeOff, ModeObserve, ModeEnforce})}
	}
}

func between(path *field.Path, value, low, high int64) field.ErrorList {
	if value >= low && value <= high {
		return nil
	}
	return field.ErrorList{field.Invalid(path, value, fmt.Sprintf("must be from %d to %d", low, high))}
}
