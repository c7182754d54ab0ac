package agent

import (
	"github.com/plimsoll/plimsoll/pkg/api/v1alpha1"
	"github.com/plimsoll/plimsoll/pkg/cgroup"
	"github.com/plimsoll/plimsoll/pkg/usage"
)

// readRunDelays adds how long the tasks of latency-sensitive pods waited for a CPU to their samples. So many
// tasks are read in a tick; where there are more, pods take turns. Where it cannot be read it stays absent.
func (s *sensor) readRunDelays(r *reading, groups []cgroup.Pod) {
	if s.delays == nil {
		var err error
		if s.delays, err = cgroup.NewRunDelays(s.host, cgroup.DefaultMostTasks); err != nil {
			return // the node's own files are in procfs too: their reading tells what is wrong
		}
	}
	if !s.delays.Supported() {
		return
	}
	online := make(map[usage.GroupKey]bool, len(r.Pods))
	for i := range r.Pods {
		if r.Pods[i].Info.Class == v1alpha1.ClassLatencySensitive {
			online[r.Pods[i].Key] = true
		}
	}
	pods := make([]cgroup.Pod, 0, len(online))
	for _, p := range groups {
		if online[usage.GroupKey{Path: p.Path, ID: p.GroupID}] {
			pods = append(pods, p)
		}
	}
	delays := map[string]usage.Reading{}
	for _, d := range s.delays.Read(r.Sample.At, pods) {
		delays[pods[d.Pod].Path] = d.Micros
	}
	for i := range r.Sample.Groups {
		if d, ok := delays[r.Sample.Groups[i].Key.Path]; ok {
			r.Sample.Groups[i].RunDelayMicros = d
		}
	}
}
