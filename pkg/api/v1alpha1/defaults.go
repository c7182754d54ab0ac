package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// The kinds that people write.
const (
	KindAgentConfiguration = "AgentConfiguration"
	KindLoadAwareArgs      = "LoadAwareArgs"
	KindNodeUtilization    = "NodeUtilization"
)

// DefaultAgentConfiguration is what an AgentConfiguration that names no field means.
func DefaultAgentConfiguration() *AgentConfiguration {
	return &AgentConfiguration{
		TypeMeta:           metav1.TypeMeta{APIVersion: APIVersion, Kind: KindAgentConfiguration},
		TickMilliseconds:   1000,
		WindowMilliseconds: 10_000,
		Publish: PublishConfiguration{
			MinIntervalMilliseconds:     1000,
			AverageIntervalMilliseconds: 65_000,
			HeartbeatMilliseconds:       120_000,
			ChangePermille:              5,
			JumpPermille:                100,
			ErrorBudgetPermilleSeconds:  100,
		},
		BlindAfterFailures: 5,
		RuntimeHook: RuntimeHookConfiguration{
			Mode: ModeObserve, TimeoutMilliseconds: 200, MaxPIDs: 4096,
			Fallback: FallbackConfiguration{MemoryBytes: 1 << 30},
		},
		Audit: AuditConfiguration{MaxFileBytes: 16 << 20, MaxFiles: 32},
		Lending: LendingConfiguration{
			Mode:           ModeObserve,
			CPU:            LendingResource{SafeLinePermille: 800, MarginPermille: 20, ColdMarginPermille: 100},
			Memory:         LendingResource{SafeLinePermille: 850, MarginPermille: 20, ColdMarginPermille: 100},
			HorizonSeconds: 3600, QuantilePermille: 990, RaiseAfterSeconds: 600, DeadBandPermille: 10,
		},
		Strategies: []StrategyConfiguration{{Name: "batchidle", Mode: ModeObserve}, {Name: "batchbound", Mode: ModeObserve}, {Name: "batchcap", Mode: ModeObserve}},
	}
}

// DefaultLoadAwareArgs is what LoadAwareArgs that name no field mean.
func DefaultLoadAwareArgs() *LoadAwareArgs {
	return &LoadAwareArgs{
		TypeMeta:               metav1.TypeMeta{APIVersion: APIVersion, Kind: KindLoadAwareArgs},
		Mode:                   ModeEnforce,
		ScoringStrategy:        LeastRisk,
		SafeCPUPercent:         80,
		MaxCPUPercent:          95,
		MaxMemoryPercent:       95,
		HorizonSeconds:         86_400,
		FreshSeconds:           150,
		StaleAfterSeconds:      300,
		BatchMaxAgeSeconds:     240,
		MaturityMilliseconds:   60_000,
		DefaultDurationSeconds: 3600,
		Estimates: Estimates{
			LatencySensitive: Estimate{RequestPercent: 100},
			Batch:            Estimate{RequestPercent: 100},
		},
	}
}
