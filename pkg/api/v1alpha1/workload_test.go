package v1alpha1

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestAWorkloadHasOneNameWhetherOwnersOrLabelsTellIt(t *testing.T) {
	yes := true
	owner := func(kind, name string) []metav1.OwnerReference {
		return []metav1.OwnerReference{{Kind: "Other", Name: "other"}, {Kind: kind, Name: name, Controller: &yes}}
	}
	tests := map[string]struct {
		pod    string
		labels map[string]string
		owners []metav1.OwnerReference
		want   string
	}{
		"a Deployment":                     {"api-5d4f8c7b9-x2x4z", map[string]string{"pod-template-hash": "5d4f8c7b9"}, owner("ReplicaSet", "api-5d4f8c7b9"), "pay/Deployment/api"},
		"a StatefulSet":                    {"db-0", map[string]string{"statefulset.kubernetes.io/pod-name": "db-0", "controller-revision-hash": "db-7"}, owner("StatefulSet", "db"), "pay/StatefulSet/db"},
		"a DaemonSet":                      {"logs-abcde", map[string]string{"controller-revision-hash": "6f"}, owner("DaemonSet", "logs"), "pay/DaemonSet/logs"},
		"a Job":                            {"load-7-abcde", map[string]string{"batch.kubernetes.io/job-name": "load-7"}, owner("Job", "load-7"), "pay/Job/load-7"},
		"a CronJob":                        {"report-29384756-abcde", map[string]string{"batch.kubernetes.io/job-name": "report-29384756"}, owner("Job", "report-29384756"), "pay/CronJob/report"},
		"a pod of its own":                 {"shell-1", nil, nil, "pay/Pod/shell-1"},
		"a pod without a dash in its name": {"shell", map[string]string{"pod-template-hash": "5d"}, nil, "pay/Pod/shell"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := WorkloadOf("pay", tt.pod, tt.labels, tt.owners); got != tt.want {
				t.Errorf("by owners it is %q, want %q", got, tt.want)
			}
			if got := WorkloadOf("pay", tt.pod, tt.labels, nil); got != tt.want {
				t.Errorf("by labels it is %q, want %q", got, tt.want)
			}
		})
	}
	if got, want := WorkloadOf("pay", "x-1", nil, owner("Queue", "x")), "pay/Queue/x"; got != want {
		t.Errorf("a controller of another kind: %q, want %q", got, want)
	}
	if got, want := WorkloadOf("pay", "x-1", nil, owner("ReplicaSet", "bare")), "pay/ReplicaSet/bare"; got != want {
		t.Errorf("a ReplicaSet without a Deployment: %q, want %q", got, want)
	}
}
