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
			MinIntervalMilliseconds: 1000,
			HeartbeatMilliseconds:   30_000,
			ChangePermille:          10,
		},
		BlindAfterFailures: 5,
		RuntimeHook:        RuntimeHookConfiguration{Mode: ModeObserve},
		Strategies:         []StrategyConfiguration{{Name: "batchidle", Mode: ModeObserve}},
	}
}

// DefaultLoadAwareArgs is what LoadAwareArgs that name no field mean.
func DefaultLoadAwareArgs() *LoadAwareArgs {
	return &LoadAwareArgs{
		TypeMeta:             metav1.TypeMeta{APIVersion: APIVersion, Kind: KindLoadAwareArgs},
		SafeCPUPercent:       80,
		StaleAfterSeconds:    90,
		MaturityMilliseconds: 10_000,
	}
}
