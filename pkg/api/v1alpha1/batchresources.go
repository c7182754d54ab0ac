package v1alpha1

import (
	"encoding/json"
	"fmt"
)

// BatchResources is what one container of a batch pod is scheduled with and held to, in the value of
// BatchResourcesAnnotation, which is a JSON object with one entry a container.
//
// +k8s:deepcopy-gen=false
type BatchResources struct {
	// milliCPU is what the container is scheduled with, in thousandths of a core, and its weight beside
	// other batch containers; 0 for a container that shares the pod's amount.
	MilliCPU int64 `json:"milliCPU"`
	// memoryBytes is the most that the container may use.
	MemoryBytes int64 `json:"memoryBytes"`
	// limitMilliCPU is the most that the container may use, in thousandths of a core.
	LimitMilliCPU int64 `json:"limitMilliCPU"`
}

// ParseBatchResources reads the value of BatchResourcesAnnotation: the amounts of each container by name.
// An amount that cannot be held to is an error that names the container.
func ParseBatchResources(annotation string) (map[string]BatchResources, error) {
	var all map[string]BatchResources
	if err := json.Unmarshal([]byte(annotation), &all); err != nil {
		return nil, fmt.Errorf("decoding %s: %w", BatchResourcesAnnotation, err)
	}
	for name, r := range all {
		if r.MilliCPU < 0 || r.MemoryBytes <= 0 || r.LimitMilliCPU <= 0 {
			return nil, fmt.Errorf("%s of container %s: milliCPU %d must be at least 0, memoryBytes %d and limitMilliCPU %d at least 1",
				BatchResourcesAnnotation, name, r.MilliCPU, r.MemoryBytes, r.LimitMilliCPU)
		}
	}
	return all, nil
}
